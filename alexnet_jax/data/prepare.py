"""Prepares a data set ahead of the runs that read it, with all cores.

  python -m alexnet_jax.data.prepare NAME [--manual-dir=DIR] [--data-dir=DIR]

NAME is one of:

  imagenet2012       as TFDS has it, from ILSVRC2012_img_train.tar and
                     ILSVRC2012_img_val.tar in --manual-dir; takes as much again
  imagenet2012_256   the same with a short side of 256 pixels, from a prepared
                     imagenet2012 or from the tars. For training: about 22 kB
                     an image, as estimated from a few photographs
  image_folder       from train/CLASS/*.jpg and val/CLASS/*.jpg below --manual-dir
  fashion_mnist      from the four original files in --manual-dir, else downloaded
  digits             scikit-learn's; needs no files
  shapes             drawn ones, as JPEG files in class folders; needs no files

The tars are read in place and never unpacked; the room above is all that is taken. The
same command goes on where a killed one ended. --data-dir is TFDS_DATA_DIR or
~/tensorflow_datasets if not given; a run finds the data set there by
--config.data.name=NAME (and --config.data.data_dir=DIR).

A broken image ends it; with --on-broken=skip such images are named and left out. To use
fewer cores, put `taskset --cpu-list 0-3` before the command.
"""

import argparse
import sys

from absl import logging

from alexnet_jax.config import default_config
from alexnet_jax.data import DATA_SETS, open_data_set
from alexnet_jax.errors import InputError, Parser


def main() -> None:
    """Prepares what the command line names."""
    parser = Parser(
        prog="python -m alexnet_jax.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s NAME [--manual-dir=DIR] [--data-dir=DIR] [--on-broken=skip]",
    )
    parser.add_argument("name", metavar="NAME", choices=sorted(DATA_SETS))
    parser.add_argument("--manual-dir", metavar="DIR", help="of the original files")
    parser.add_argument("--data-dir", metavar="DIR", help="of prepared data sets")
    parser.add_argument("--on-broken", choices=("fail", "skip"), default="fail")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # TFDS tells each of its steps
    config = default_config().data
    config.update(vars(options))
    try:
        builder = open_data_set(config)
    except InputError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; the same command goes on with what lies there")
    splits = builder.info.splits
    counts = ", ".join(f"{splits[name].num_examples:,} {name}" for name in splits)
    print(
        f"ready     {builder.name} {builder.version}, {counts} images, "
        f"{builder.info.dataset_size / 1e6:,.1f} MB in {builder.data_path}"
    )


if __name__ == "__main__":
    main()
