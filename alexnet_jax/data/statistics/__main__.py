"""Measures a data set's training images.

  python -m alexnet_jax.data.statistics digits
  python -m alexnet_jax.data.statistics image_folder --manual-dir=photos

They are stored beside the prepared data set, where runs read them: of images
of several sizes those of runs with the same size, fit and filter.
"""

import argparse
import time
from collections.abc import Sequence

from alexnet_jax import cli
from alexnet_jax.config import default_config, validate
from alexnet_jax.data import DATA_SETS, check_manual_dir, create_data
from alexnet_jax.data.batches import all_images
from alexnet_jax.data.statistics import Statistics, measure
from alexnet_jax.data.stream import Stream
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.bar import spinner
from alexnet_jax.terminal.text import counted

_BATCH_SIZE = 256


def describe(statistics: Statistics) -> str:
    """Formats the statistics as lines; values are pixel values of 0 to 255."""
    height, width, channels = statistics.mean_image.shape
    rows = {
        "mean": statistics.mean,
        "deviation": statistics.deviation,
        "colors": statistics.color_deviations,
    } | {
        f"direction {number}": direction
        for number, direction in enumerate(statistics.color_directions.T, start=1)
    }
    lines = [f"{'image':12}{height}×{width}×{channels}, with a mean per pixel"]
    for name, values in rows.items():
        lines.append(f"{name:12}" + " ".join(f"{value:10.4f}" for value in values))
    return "\n".join(lines)


def _sides(text: str) -> int | tuple[int, ...]:
    try:
        height, *width = map(int, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be a side in pixels, or height,width; got {text!r}"
        ) from error
    return (height, *width) if width else height


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.data.statistics", __doc__)
    add = parser.add_argument
    names = ", ".join(DATA_SETS)
    add("name", metavar="NAME", help=f"one of {names}, tfds/NAME or MODULE:BUILDER")
    add("--data-dir", metavar="DIR", help="folder of the prepared data sets")
    add("--manual-dir", metavar="DIR", help="folder of the original files")
    add(
        "--on-broken",
        choices=("fail", "skip"),
        default="fail",
        help="as config.data.on_broken (default: fail)",
    )
    add(
        "--stored-size",
        type=_sides,
        metavar="SIZE",
        help="as config.data.stored_size, 128 or 96,128",
    )
    add(
        "--fit",
        choices=("crop", "warp"),
        default="crop",
        help="as config.data.fit (default: crop)",
    )
    add(
        "--resize",
        choices=("bicubic", "bilinear", "opencv"),
        default="bicubic",
        help="as config.data.resize (default: bicubic)",
    )
    add("--val-share", metavar="SHARE", type=float, help="as config.data.val_share")
    add("--seed", type=int, default=0, help="of the run, which draws that share")
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Measures the data set that the arguments name."""
    options = vars(make_parser().parse_args(argv))
    check_manual_dir(options["name"], options["manual_dir"])
    config = default_config()
    config.seed = options.pop("seed")
    config.data.update(options)
    validate(config)
    with spinner("opening the data"):
        data = create_data(
            config.data,
            batch_size=_BATCH_SIZE,
            eval_batch_size=_BATCH_SIZE,
            seed=config.seed,
        )
    start = time.perf_counter()
    statistics = measure(all_images(data.train))
    seconds = time.perf_counter() - start
    try:
        data.statistics_file.parent.mkdir(parents=True, exist_ok=True)
        statistics.save(data.statistics_file)
    except OSError as error:
        raise InputError(
            f"--data-dir: {data.statistics_file.parent} cannot be written "
            f"({error.strerror or error}); make room, or choose another --data-dir"
        ) from error
    broken = data.train.broken if isinstance(data.train, Stream) else ()
    images = counted(data.train.num_examples - len(broken), "image")
    print(describe(statistics))
    print(f"{'measured':12}{images} in {seconds:.1f} s")
    print(f"{'written':12}{data.statistics_file}")


if __name__ == "__main__":
    main()
