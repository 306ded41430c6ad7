"""Classifies pictures with a trained network.

  python -m alexnet_jax.predict runs/digits seven.png photo.jpg
  python -m alexnet_jax.predict runs/digits photos --csv > predictions.csv

Each picture is preprocessed as the network's training images were. Files that
cannot be read are reported on stderr; the others are still classified.
"""

from collections.abc import Sequence

from alexnet_jax import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.predict", __doc__)
    cli.add_pictures(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects")
    form.add_argument("--csv", action="store_true", help="print one row per file")
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the classes of the pictures that the arguments name."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.data.pictures import list_files
    from alexnet_jax.reporting.predictions import (
        predict_files,
        predictions_csv,
        predictions_text,
    )
    from alexnet_jax.terminal.bar import track
    from alexnet_jax.trained import TrainedModel

    paths = list_files(options.images)
    network = TrainedModel(options.run)
    for line in network.skipped:
        cli.warn(f"{line}; skipped")
    predicted = predict_files(network, paths, options.invert)
    found = list(track(predicted, len(paths), "pictures", "compiling"))
    if options.json:
        cli.print_json(found)
    elif options.csv:
        print(predictions_csv(found), end="")
    else:
        print("\n".join(predictions_text(network, found)))
    cli.exit_on_errors([one["error"] for one in found if "error" in one])


if __name__ == "__main__":
    main()
