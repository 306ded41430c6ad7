"""Lists the checkpoints of a run and checks them.

  python -m alexnet_jax.checkpoint runs/digits

One is intact if its files have the checksums that were kept with it.
"""

from collections.abc import Sequence

from alexnet_jax import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.checkpoint", __doc__)
    parser.add_argument(
        "workdir", type=cli.path, metavar="WORKDIR", help="a run's folder"
    )
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the checkpoints of the run that the arguments name."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.reporting.text import checkpoints_text
    from alexnet_jax.terminal.paths import expand

    print("\n".join(checkpoints_text(expand(options.workdir, "WORKDIR"))))


if __name__ == "__main__":
    main()
