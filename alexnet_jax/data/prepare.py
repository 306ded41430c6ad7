"""Prepares a data set on all cores, ahead of runs.

  python -m alexnet_jax.data.prepare digits
  python -m alexnet_jax.data.prepare image_folder --manual-dir=photos

NAME is one of:

  imagenet2012     as in TFDS, from ILSVRC2012_img_train.tar and
                   ILSVRC2012_img_val.tar in --manual-dir; as large as the tars
  imagenet2012_256 the same with a short side of 256 pixels, from a prepared
                   imagenet2012 or from the tars; for training. About 22 kB
                   per image, as estimated from a few photographs
  image_folder     from train/CLASS/*.jpg and val/CLASS/*.jpg in --manual-dir,
                   or CLASS/*.jpg with --val-share, or a table (CSV or
                   Parquet) with the columns path and label, and split if it
                   has one
  fashion_mnist    from the four original files in --manual-dir, or downloaded
  digits           UCI's, bundled; needs no files
  shapes           drawn shapes, as JPEG files in class folders; needs no files
  tfds/NAME        of TFDS (tfds/emnist/letters, tfds/cifar10:3.0.2), if it
                   can be prepared without TensorFlow
  MODULE:BUILDER   your own, in a module that can be imported

The tars are read in place and never unpacked. If the preparation is
interrupted, run the same command to continue. A run finds the data set with
--config.data.name=NAME (and --config.data.data_dir=DIR). To use fewer cores,
put `taskset --cpu-list 0-3` before the command.
"""

from collections.abc import Iterator, Sequence

from alexnet_jax import cli
from alexnet_jax.config import default_config, validate
from alexnet_jax.data import DATA_SETS, check_manual_dir, is_name, open_data_set
from alexnet_jax.terminal.bar import spinner


class _Names:
    """All names that a data set may have."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and is_name(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*sorted(DATA_SETS), "tfds/NAME", "MODULE:BUILDER"))


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser(
        "alexnet_jax.data.prepare",
        __doc__,
    )
    add = parser.add_argument
    add("name", metavar="NAME", choices=_Names(), help="see above")
    add("--manual-dir", metavar="DIR", help="folder of the original files, or a table")
    add(
        "--val-share",
        metavar="SHARE",
        type=float,
        help="share of the training images that runs will validate on, such as 0.2, "
        "where there is no part for it",
    )
    add(
        "--data-dir",
        metavar="DIR",
        help="folder of the prepared data sets (default: TFDS_DATA_DIR, or "
        "~/tensorflow_datasets)",
    )
    add(
        "--on-broken",
        choices=("fail", "skip"),
        default="fail",
        help="stop at a broken image, or report it and leave it out (default: fail)",
    )
    return parser


@cli.one_line_errors("; run the same command to continue")
def main(argv: Sequence[str] | None = None) -> None:
    """Prepares the data set that the arguments name."""
    options = make_parser().parse_args(argv)
    check_manual_dir(options.name, options.manual_dir)
    config = default_config()
    config.data.update(vars(options))
    validate(config)
    with spinner("preparing"):
        builder = open_data_set(config.data)
    splits = builder.info.splits
    counts = ", ".join(f"{splits[name].num_examples:,} {name}" for name in splits)
    print(
        f"ready     {builder.name} {builder.version}, {counts} images, "
        f"{builder.info.dataset_size / 1e6:,.1f} MB in {builder.data_path}"
    )


if __name__ == "__main__":
    main()
