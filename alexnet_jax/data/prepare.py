"""Prepares a data set on all cores, ahead of the runs that read it.

  python -m alexnet_jax.data.prepare NAME [--manual-dir=DIR] [--data-dir=DIR]

NAME is one of:

  imagenet2012       as in TFDS, from ILSVRC2012_img_train.tar and
                     ILSVRC2012_img_val.tar in --manual-dir; as large as the tars
  imagenet2012_256   the same with a short side of 256 pixels, from a prepared
                     imagenet2012 or from the tars; for training. About 22 kB
                     per image, as estimated from a few photographs
  image_folder       from train/CLASS/*.jpg and val/CLASS/*.jpg in --manual-dir
  fashion_mnist      from the four original files in --manual-dir, or downloaded
  digits             scikit-learn's; needs no files
  shapes             drawn shapes, as JPEG files in class folders; needs no files

The tars are read in place and never unpacked. If the preparation is interrupted, run
the same command to continue. A run finds the data set with --config.data.name=NAME
(and --config.data.data_dir=DIR). To use fewer cores, put `taskset --cpu-list 0-3`
before the command.
"""

from collections.abc import Sequence

from alexnet_jax import cli
from alexnet_jax.config import default_config
from alexnet_jax.data import DATA_SETS, open_data_set


@cli.one_line_errors("; run the same command to continue")
def main(argv: Sequence[str] | None = None) -> None:
    """Prepares the data set that the arguments name."""
    parser = cli.Parser(
        "alexnet_jax.data.prepare",
        __doc__,
        usage="%(prog)s NAME [--manual-dir=DIR] [--data-dir=DIR] [--on-broken=skip]",
    )
    add = parser.add_argument
    add("name", metavar="NAME", choices=sorted(DATA_SETS), help="see above")
    add("--manual-dir", metavar="DIR", help="folder of the original files")
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
    options = parser.parse_args(argv)
    data = default_config().data
    data.update(vars(options))
    builder = open_data_set(data)
    splits = builder.info.splits
    counts = ", ".join(f"{splits[name].num_examples:,} {name}" for name in splits)
    print(
        f"ready     {builder.name} {builder.version}, {counts} images, "
        f"{builder.info.dataset_size / 1e6:,.1f} MB in {builder.data_path}"
    )


if __name__ == "__main__":
    main()
