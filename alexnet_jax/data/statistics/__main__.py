"""Measures a data set's training images in one pass and keeps the figures beside it.

python -m alexnet_jax.data.statistics NAME [--data-dir=DIR] [--manual-dir=DIR]
"""

import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from alexnet_jax.config import default_config
from alexnet_jax.data import DATA_SETS, Split, create_data
from alexnet_jax.data.statistics import FILE_NAME, Statistics, measure
from alexnet_jax.errors import InputError, Parser

_BATCH_SIZE = 256


def _images(split: Split) -> Iterator[np.ndarray]:
    """Yields every image of a split once, in batches."""
    for step in tqdm(range(len(split)), unit="batch", disable=None, leave=False):
        batch = split.batch(step)
        yield batch["image"][batch["mask"]]


def describe(statistics: Statistics) -> str:
    """Formats the figures for reading, in grey levels of 0 to 255."""
    height, width, channels = statistics.mean_image.shape
    rows = {
        "mean": statistics.mean,
        "deviation": statistics.deviation,
        "colours": statistics.color_deviations,
    } | {
        f"direction {number}": direction
        for number, direction in enumerate(statistics.color_directions.T, start=1)
    }
    lines = [f"{'image':12}{height}×{width}×{channels}, its mean kept by pixel"]
    for name, values in rows.items():
        lines.append(f"{name:12}" + " ".join(f"{value:10.4f}" for value in values))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the data set that the arguments name."""
    parser = Parser(
        prog="python -m alexnet_jax.data.statistics",
        description="Measures a data set's training images, once.",
    )
    parser.add_argument("name", metavar="NAME", help=f"of {', '.join(DATA_SETS)}")
    parser.add_argument("--data-dir", metavar="DIR", help="see data.data_dir")
    parser.add_argument("--manual-dir", metavar="DIR", help="see data.manual_dir")
    options = parser.parse_args(argv)
    config = default_config().data
    config.name, config.data_dir = options.name, options.data_dir
    config.manual_dir = options.manual_dir
    try:
        data = create_data(
            config, batch_size=_BATCH_SIZE, eval_batch_size=_BATCH_SIZE, seed=0
        )
        start = time.perf_counter()
        statistics = measure(_images(data.train))
        seconds = time.perf_counter() - start
        statistics.save(data.folder / FILE_NAME)
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {data.folder} cannot be written ({error.strerror or error})")
    print(describe(statistics))
    print(f"{'measured':12}{data.train.num_examples:,} images in {seconds:.1f} s")
    print(f"{'kept':12}{data.folder / FILE_NAME}")


if __name__ == "__main__":
    main()
