"""Makes a run of published weights of an AlexNet; says, array by array, what they are.

  python -m alexnet_jax.convert alexnet-owt-7be5be79.pth --to=runs/torchvision
  python -m alexnet_jax.convert --check alexnet-owt-7be5be79.pth

The folder is one that `predict`, `evaluate` and `checkpoint.init_from` take. With
--check the report is all that is made.

SOURCE is a state dict of torchvision's `alexnet` (.pth or .safetensors), Caffe's
bvlc_alexnet or bvlc_reference_caffenet (.caffemodel, .onnx), or bvlc_alexnet.npy. What
it is is told from what it holds. No code that is in a file is run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_jax import cli

if TYPE_CHECKING:
    from alexnet_jax.weights.verification import Verification


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser("alexnet_jax.convert", __doc__)
    add = parser.add_argument
    add("source", type=cli.path, metavar="SOURCE", help="a file of weights")
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
        help="alexnet_caffe (the default) or caffenet, for a file of Caffe's weights "
        "that does not say which",
    )
    add(
        "--ignore",
        action="store_true",
        help="leave out arrays that the network has no place for",
    )
    add("--json", action="store_true", help="print the report as an object")
    return parser.parse_args(argv)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the verification report of the file that the arguments name."""
    options = _parse(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.run.imported import write_run
    from alexnet_jax.terminal.paths import expand_home, local_path
    from alexnet_jax.weights.mapping import convert
    from alexnet_jax.weights.preprocessing import create_config, create_spec
    from alexnet_jax.weights.read import read_source
    from alexnet_jax.weights.verification import check_digest, verify

    path = expand_home(options.source, "SOURCE")
    workdir = options.to and local_path(options.to, "--to")
    mean = options.mean and expand_home(options.mean, "--mean")
    source, convention = read_source(path)
    if fault := check_digest(path):
        cli.warn(fault)
    conversion = convert(
        path, source, convention, options.network, ignore=options.ignore
    )
    spec = create_spec(conversion, mean)
    report = verify(conversion)
    config = create_config(conversion)
    if workdir:
        write_run(workdir, config, spec, conversion.params)
    if not options.json:
        _print(path, report)
        if workdir:
            print(f"workdir   {workdir}")
    variables = {"params": conversion.params}
    _compare(path, report, conversion, variables, config, spec, as_json=options.json)


def _compare(path: Path, report: "Verification", *what: Any, as_json: bool) -> None:
    """Prints how far our logits of a picture are from another tool's.

    Args:
      path: The file.
      report: What is printed with them, if `as_json`.
      *what: As `peers.compare` takes it.
      as_json: Whether all is printed as one object.

    Raises:
      InputError: They are further from them than rounding is.
    """
    from alexnet_jax.weights import peers

    found: peers.Comparison | None = None
    reason = ""
    try:  # last, as another framework takes seconds to be imported
        found = peers.compare(path, *what)
    except peers.NotCompared as error:
        reason = str(error)
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
    if found:
        found.check(path)


def _print(source: Path, report: "Verification") -> None:
    """Prints a verification report as a table."""
    from alexnet_jax.inspection.tables import make_console, make_table, shape_text

    width = f" of width {report.width:g}" if report.width != 1 else ""
    print(
        f"{source}: {report.form}, {report.network}{width}, "
        f"{report.num_classes:,} classes, "
        f"{report.parameters:,} parameters"
    )
    numbers = ("parameters", "mean", "deviation", "MB")
    table = make_table("array", "in the file", "shape", "changed", *numbers,
                       numbers=numbers)  # fmt: skip
    for one in report.arrays:
        table.add_row(
            one.name,
            f"{one.source_name} {shape_text(one.source_shape)} {one.source_type}",
            shape_text(one.shape),
            one.changes,
            f"{one.parameters:,}",
            f"{one.mean:.3g}",
            f"{one.deviation:.3g}",
            f"{one.bytes / 1e6:.2f}",
        )
    make_console().print(table)
    for name in report.left_over:
        print(f"left out  {name}")


if __name__ == "__main__":
    main()
