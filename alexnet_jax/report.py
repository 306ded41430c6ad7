"""Writes a report of runs: one self-contained page.

  python -m alexnet_jax.report runs/digits
  python -m alexnet_jax.report runs/digits runs/mine --output=both.html

The page shows the result and the command that repeats the run, learning
curves, first-layer filters, the confusion matrix, a table of classes,
calibration, the most confident errors, predictions, explanations of a few,
feature maps, layers and config. With --output=FOLDER the figures are written
as PNG files, too.
"""

from collections.abc import Sequence
from pathlib import Path

from alexnet_jax import cli
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import check_output, expand_home, is_same_file


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.report", __doc__)
    add = parser.add_argument
    add(
        "workdirs",
        nargs="+",
        type=cli.path,
        metavar="WORKDIR",
        help="a run's folder; one with seed-0, seed-1, ... in it is shown as one run "
        "with the spread over its seeds, that of a sweep as one for each setting",
    )
    add(
        "--output",
        type=cli.path,
        metavar="FOLDER|FILE.html",
        help="where to write; in a FOLDER, the figures as PNG files, too (default for "
        "one run: WORKDIR/report.html)",
    )
    add(
        "--examples",
        type=cli.positive_int,
        default=1000,
        metavar="N",
        help="number of test images to predict, from the first on (default: 1000)",
    )
    cli.add_data_arguments(parser)
    return parser


def _page(output: Path | None, workdirs: Sequence[Path]) -> Path:
    """Returns the path of the page."""
    if output is None:
        if len(workdirs) > 1:
            raise InputError("--output is required for more than one run")
        return workdirs[0] / "report.html"
    if output.suffix.lower() in (".html", ".htm"):
        return output
    if output.suffix.lower() in (".png", ".pdf", ".svg"):
        raise InputError(
            f"--output must be a folder or FILE.html; got {output}; in a folder, the "
            "learning curves are written as curves.png"
        )
    own = len(workdirs) == 1 and is_same_file(output, workdirs[0])
    if (output / "metrics.jsonl").exists() and not own:
        raise InputError(
            f"--output: {output} is a run's folder, whose curves.png would be "
            "replaced; choose another folder"
        )
    return output / "report.html"


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Writes the report that the arguments ask for."""
    options = make_parser().parse_args(argv)
    workdirs = [expand_home(path, "WORKDIR") for path in options.workdirs]
    output = options.output and expand_home(options.output, "--output")
    page = _page(output, workdirs)
    check_output(page, (".html", ".htm"), "--output" if output else "WORKDIR")
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.reporting.report import write_report
    from alexnet_jax.terminal.bar import spinner

    with spinner("drawing"):
        images = write_report(
            workdirs,
            page,
            is_named=page == output,
            images_too=output is not None and page != output,
            examples=options.examples,
            data_dir=options.data_dir,
            manual_dir=options.manual_dir,
        )
    print(f"page      {page}")
    if images:
        print(f"figures   {', '.join(image.name for image in images)}")


if __name__ == "__main__":
    main()
