"""Makes a run of an AlexNet's weights, array by array.

  python -m alexnet_jax.convert alexnet-owt-7be5be79.pth --to=runs/torchvision
  python -m alexnet_jax.convert --check alexnet-owt-7be5be79.pth

The folder is one that `predict`, `evaluate` and `checkpoint.init_from` take.
The report says, array by array, what they are; with --check it is all that is
made.

SOURCE is one of
  torchvision's `alexnet`: a state dict (.pth or .safetensors), or ONNX
  Caffe's bvlc_alexnet or bvlc_reference_caffenet: .caffemodel, .npy, or ONNX
  what `export` wrote: model.safetensors, model.pth or model.onnx
  a run's folder, or WORKDIR/checkpoints/STEP of it

What it is is told from what it holds. No code that is in a file is run.
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet_jax import cli
from alexnet_jax.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from alexnet_jax.data.spec import DataSpec
    from alexnet_jax.run.imported import Imported
    from alexnet_jax.weights.mapping import Conversion
    from alexnet_jax.weights.own import Own
    from alexnet_jax.weights.source import Source
    from alexnet_jax.weights.verification import Verification


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.convert", __doc__)
    add = parser.add_argument
    add("source", type=cli.path, metavar="SOURCE", help="a file of weights, or a run")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--check", action="store_true", help="print the report and write nothing"
    )
    what.add_argument(
        "--to", type=cli.path, metavar="WORKDIR", help="folder of the run that is made"
    )
    add(
        "--mean",
        type=cli.path,
        metavar="FILE",
        help="Caffe's mean image, imagenet_mean.binaryproto or ilsvrc_2012_mean.npy "
        "(default: its average by channel)",
    )
    add(
        "--network",
        metavar="NAME",
        help="the network, for a file that does not say which: alexnet_caffe (the "
        "default) or caffenet, of Caffe's weights; any, of a state dict that `export` "
        "wrote",
    )
    add(
        "--ignore",
        action="store_true",
        help="leave out arrays that the network has no place for",
    )
    add("--json", action="store_true", help="print the report as an object")
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the verification report of the file that the arguments name."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.reporting.verification import print_verification
    from alexnet_jax.run.imported import new_run
    from alexnet_jax.terminal.bar import spinner
    from alexnet_jax.terminal.paths import expand_home, local_path
    from alexnet_jax.weights.verification import check_digest, verify

    path = expand_home(options.source, "SOURCE")
    workdir = options.to and local_path(options.to, "--to")
    mean = options.mean and expand_home(options.mean, "--mean")
    if workdir:
        _check_place(workdir, path)
    with spinner("reading"):
        own, conversion, note = _read(path, options, mean)
    if path.is_file() and (fault := check_digest(path)):
        cli.warn(fault)
    report = verify(conversion, own.config, own.spec)
    with contextlib.ExitStack() as stack:
        if workdir:
            # Arrays are taken out where they are compared, so it is written before.
            source = _imported(path, mean, report, assumed=bool(note))
            run = new_run(workdir, own.config, own.spec, **own.weights, imported=source)
            stack.enter_context(run)
        if not options.json:
            print_verification(path, report)
        _compare(path, report, conversion, own, as_json=options.json)
    if workdir and not options.json:
        print(f"workdir   {workdir}")
    if note:
        cli.warn(note)


def _compare(
    path: Path,
    report: "Verification",
    conversion: "Conversion",
    own: "Own",
    *,
    as_json: bool,
) -> None:
    """Prints how far our logits of a picture are from another tool's.

    Args:
      path: The file.
      report: What is printed with them, if `as_json`.
      conversion: As `peers.compare` takes it.
      own: The network; its arrays are taken out.
      as_json: Whether all is printed as one object.

    Raises:
      InputError: They are further from them than rounding is.
    """
    from alexnet_jax.terminal.bar import spinner
    from alexnet_jax.weights import peers

    found: peers.Comparison | None = None
    reason, is_broken = "", False
    try:  # last, as another framework takes seconds to be imported
        with spinner("comparing"):
            found = peers.compare(path, conversion, own)
    except peers.NotCompared as error:
        reason = str(error)
        is_broken = isinstance(error, peers.NotRun)
    if as_json:
        logits = found._asdict() if found else {"not_compared": reason}
        cli.print_json(report.to_dict() | {"logits": logits})
    elif found:
        print(
            f"logits    largest difference {found.difference:.1e} of the largest, "
            f"{found.largest:.3g} ({found.tool})"
        )
    else:
        print(f"logits    not compared: {reason}")
    if is_broken:
        cli.warn(f"{reason}; this project reads it, but may not as it was meant")
    if found:
        found.check(path)


def _imported(
    path: Path, mean: Path | None, report: "Verification", *, assumed: bool
) -> "Imported":
    """Returns what the run's folder says of its source."""
    from alexnet_jax.run.imported import Imported
    from alexnet_jax.weights.verification import digest

    return Imported(
        path.name,
        report.form,
        path.stat().st_size if path.is_file() else None,
        digest(path) if path.is_file() else None,
        mean.name if mean else None,
        {one.name: (one.source_name, one.changes) for one in report.arrays},
        tuple(report.left_over),
        assumed,
    )


def _read(
    path: Path, options: argparse.Namespace, mean: Path | None
) -> tuple["Own", "Conversion", str]:
    """Returns what a run is made of, what was done to get it, and what to warn of.

    Raises:
      InputError: The source is of no kind that is read, damaged, or another network's.
    """
    from alexnet_jax.weights.conventions import TORCHVISION, TWIN
    from alexnet_jax.weights.mapping import convert
    from alexnet_jax.weights.own import Own, conversion_of, is_own, read_own
    from alexnet_jax.weights.preprocessing import (
        create_config,
        create_spec,
        describe_assumed,
        is_resized,
    )
    from alexnet_jax.weights.read import read_source

    if _is_run(path):
        from alexnet_jax.trained import TrainedModel

        _refuse_unread(path, options)
        net = TrainedModel(path)
        for line in net.skipped:
            cli.warn(f"{line}; skipped")
        own = Own(net.config, net.spec, net.weights)
        return own, conversion_of(own, f"checkpoint of step {net.step:,}", []), ""
    source, convention = read_source(path)
    if is_own(source):
        _refuse_unread(path, options)
        own, left_over = read_own(path, source, ignore=options.ignore)
        return own, conversion_of(own, source.form, left_over), ""
    stated = _stated(path, source)
    conversion = convert(
        path,
        source,
        convention,
        options.network,
        ignore=options.ignore,
        config=stated and stated[0],
    )
    is_assumed = stated is None and (
        convention is TWIN or (convention is TORCHVISION and is_resized(conversion))
    )
    if stated is None:
        stated = create_config(conversion), create_spec(conversion, mean)
    elif mean is not None:
        raise InputError(f"--mean: {path} comes with its own; leave it out")
    weights = {"params": conversion.params, "model_state": conversion.model_state}
    own = Own(*stated, weights)
    if source.attributes:
        _check_graph(path, source, own, conversion)
    note = ""
    if is_assumed:
        note = (
            f"{path} does not say what images {conversion.network} was trained on, "
            f"or how they were prepared; {describe_assumed(conversion)} assumed"
        )
    return own, conversion, note


def _check_graph(
    path: Path, source: "Source", own: "Own", conversion: "Conversion"
) -> None:
    """Checks that the layers of an ONNX graph do what the network's do.

    Raises:
      InputError: They do not.
    """
    from alexnet_jax.config import side_pair
    from alexnet_jax.exporting.graph_check import check_graph
    from alexnet_jax.weights.onnx_inputs import image_size
    from alexnet_jax.weights.source import Damaged

    nodes = zip(source.operations, source.attributes, strict=True)
    try:
        size = image_size(path) or side_pair(own.config.data.image_size)
    except Damaged as error:
        raise InputError(
            f"{path} is damaged, where it says what goes in ({error}); download it "
            "again"
        ) from error
    shape = (*size, conversion.image_shape[2])
    check_graph(path, nodes, own.config, own.variables, shape)


def _stated(path: Path, source: "Source") -> "tuple[ConfigDict, DataSpec] | None":
    """Returns the run that a file was exported from, if it or its folder says so.

    Raises:
      InputError: What they say is damaged.
    """
    from alexnet_jax.data.spec import DATA_FILE, DataSpec
    from alexnet_jax.run.read import read_config
    from alexnet_jax.weights.own import FORMAT, read_stated

    if source.metadata.get("format", "").startswith(FORMAT):  # of ONNX
        return read_stated(path, source)
    # A state dict has no room for it: `export` puts these beside.
    folder = path.parent
    if path.name != "model.pth" or not (folder / DATA_FILE).is_file():
        return None
    return read_config(folder), DataSpec.load(folder)


def _refuse_unread(path: Path, options: argparse.Namespace) -> None:
    """Checks that nothing is asked for that a source of this project says itself.

    Raises:
      InputError: It is.
    """
    for flag in ("network", "mean"):
        if getattr(options, flag) is not None:
            raise InputError(
                f"--{flag}: {path} is of this project and says so itself; leave it out"
            )


def _check_place(workdir: Path, source: Path) -> None:
    """Checks that a run is made in no other's folder.

    Raises:
      InputError: It is to lie in the source, or among a run's checkpoints.
    """
    from alexnet_jax.run.records import CONFIG_FILE

    place = workdir.resolve()
    if source.is_dir():
        run = source.resolve()
        run = run.parents[1] if run.parent.name == "checkpoints" else run
        if run in place.parents:
            raise InputError(
                f"--to: {workdir} is inside {run}, the run that is read; choose "
                "another folder"
            )
    for one in (place, *place.parents):
        if one.name == "checkpoints" and (one.parent / CONFIG_FILE).exists():
            raise InputError(
                f"--to: {workdir} is among the checkpoints of {one.parent}, which is a "
                "run; choose another folder"
            )


def _is_run(path: Path) -> bool:
    """Whether a folder looks like a run's, or like a checkpoint in one."""
    return (path / "checkpoints").is_dir() or (
        path.is_dir() and path.absolute().parent.name == "checkpoints"
    )


if __name__ == "__main__":
    main()
