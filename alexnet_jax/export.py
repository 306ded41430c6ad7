"""Writes a trained network for other tools.

  python -m alexnet_jax.export runs/mine --format=safetensors
  python -m alexnet_jax.export runs/mine --format=onnx --with-preprocessing

safetensors   this project's own layout, of which `convert` makes the run again
torch         a state dict, and the module that it fits (extra: `torch`)
onnx          a graph of plain operators (extra: `onnx`)
stablehlo     bytes in, probabilities out, for CPUs, GPUs, TPUs (`jax.export`)

Beside it lie config.json, preprocessing.json and a model card, README.md. What
was written is opened again and checked.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_jax import cli

_FORMATS = ("safetensors", "torch", "onnx", "stablehlo")


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.export", __doc__)
    add = parser.add_argument
    add("run", type=cli.path, metavar="RUN", help=cli.CHECKPOINT_HELP)
    add(
        "--format",
        required=True,
        choices=_FORMATS,
        metavar="FORMAT",
        help=f"one of {', '.join(_FORMATS)}",
    )
    add(
        "--to",
        type=cli.path,
        metavar="FOLDER",
        help="where to (default: export/FORMAT in the run's folder)",
    )
    add(
        "--with-preprocessing",
        action="store_true",
        help="put the preprocessing into an ONNX graph, so that it takes stored bytes",
    )
    add(
        "--license",
        default="unknown",
        metavar="NAME",
        help="license of the weights, as the model card has it, such as cc-by-4.0 "
        "(default: unknown)",
    )
    add("--json", action="store_true", help="print an object")
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Exports the run that the arguments name."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.exporting.folder import check_place
    from alexnet_jax.exporting.libraries import check_installed
    from alexnet_jax.exporting.model_card import check_license
    from alexnet_jax.terminal.bar import spinner
    from alexnet_jax.terminal.paths import expand
    from alexnet_jax.trained import TrainedModel

    check_license(options.license)
    check_installed(options.format)
    folder = options.to and expand(options.to, "--to")
    if folder:
        check_place(folder, options.format)
    net = TrainedModel(options.run)
    for line in net.skipped:
        cli.warn(f"{line}; skipped")
    folder = folder or net.workdir / "export" / options.format
    if options.with_preprocessing and options.format != "onnx":
        cli.warn(_PREPROCESSING[options.format])
    with spinner("writing and checking"):
        found = _export(net, folder, options)
    if options.json:
        cli.print_json(found)
    else:
        _print(found)


_PREPROCESSING = {
    "stablehlo": "--with-preprocessing: stablehlo always has it",
    "safetensors": "--with-preprocessing: safetensors holds arrays alone; "
    "preprocessing.json says what is done to an image",
    "torch": "--with-preprocessing is of onnx; preprocessing.json says what is done "
    "to an image",
}


def _export(net: Any, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes all files; returns what was written."""
    from alexnet_jax.atomic import read_regular, write_file
    from alexnet_jax.exporting.folder import CARD, export_folder
    from alexnet_jax.exporting.formats import Network, write_and_check
    from alexnet_jax.exporting.model_card import model_card
    from alexnet_jax.exporting.preprocessing_file import write_preprocessing
    from alexnet_jax.exporting.usage import notes_on_results, views_of

    form, inside = options.format, options.with_preprocessing
    network = Network(net, with_preprocessing=inside and form == "onnx")
    with export_folder(folder, form) as part:
        notes, check = write_and_check(form, part, network)
        notes += notes_on_results(net, form)
        views = views_of(net, form)
        write_preprocessing(part, net, network.pipeline, views=views)
        write_file(part / "config.json", read_regular(net.workdir / "config.json"))
        card = model_card(
            net,
            form,
            notes=notes,
            checked=check.text,
            with_preprocessing=network.with_preprocessing,
            license_name=options.license,
        )
        write_file(part / CARD, card)
        files = {one.name: one.stat().st_size for one in sorted(part.iterdir())}
    return {
        "workdir": str(net.workdir),
        "step": net.step,
        "format": form,
        "folder": str(folder),
        "files": files,
        "notes": [*notes, *_places(net)],
        "check": check.by,
        "difference": check.difference,
    }


def _places(net: Any) -> list[str]:
    """Returns a note if the config names places of this machine."""
    from alexnet_jax.config import flatten_config, is_cfg
    from alexnet_jax.exporting.model_card import PLACES

    config = flatten_config(net.config)
    named = ["model.name"] if is_cfg(config["model.name"]) else []
    named += [key for key in PLACES if config[key]]
    return [f"the config names folders: {', '.join(named)}"] if named else []


def _print(found: dict[str, Any]) -> None:
    print(f"run       {found['workdir']}, step {found['step']}")
    for name, size in found["files"].items():
        print(f"wrote     {name}, {size:,} bytes")
    for line in found["notes"]:
        print(f"note      {line}")
    share = found["difference"]
    if share is None:
        said = ""
    else:
        said = (
            f": largest difference {share:.1e} of the largest" if share else ": equal"
        )
    print(f"check     {found['check']}{said}")
    print(f"folder    {found['folder']}")


if __name__ == "__main__":
    main()
