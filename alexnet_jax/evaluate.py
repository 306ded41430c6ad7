"""Evaluates a checkpoint on its data set, in all and by class.

  python -m alexnet_jax.evaluate runs/digits
  python -m alexnet_jax.evaluate runs/digits/checkpoints/376 --split=train

Prints the metrics, and the accuracy of each class.
"""

from collections.abc import Sequence

from alexnet_jax import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.evaluate", __doc__)
    add = parser.add_argument
    add("run", type=cli.path, metavar="RUN", help=cli.CHECKPOINT_HELP)
    add(
        "--split",
        choices=("test", "train"),
        default="test",
        help="the images to evaluate on (default: test)",
    )
    add(
        "--views",
        type=int,
        choices=(1, 10),
        help="average over 1 or 10 views of each image (default: the run's own)",
    )
    add("--json", action="store_true", help="print an object")
    cli.add_data_arguments(parser)
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the evaluation that the arguments ask for."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.reporting.text import evaluation_text
    from alexnet_jax.trained import TrainedModel

    network = TrainedModel(options.run, options.views)
    for line in network.skipped:
        cli.warn(f"{line}; skipped")
    found = network.evaluate(options.split, options.data_dir, options.manual_dir)
    if options.json:
        cli.print_json(found)
    else:
        print("\n".join(evaluation_text(found)))


if __name__ == "__main__":
    main()
