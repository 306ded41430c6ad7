"""Times reading images: our stream beside PyTorch's DataLoader, and what a GPU needs.

  .venv/bin/python -m benchmarks.input

Makes JPEGs with a short side of 256 pixels and about the content of photographs; both
sides decode them with Pillow, by as many processes, shuffled, to batches of 256×256
uint8, and take turns. All is in the disk's cache: this is about cores, not disks.
"""

import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_jax import cli
from alexnet_jax.errors import InputError
from benchmarks.arguments import add_counts, check_modules

SIZE = 256
BATCH_SIZE = 128
READ_AHEAD = 6  # batches that a side may hold when its turn begins, and a few more

# AlexNet of the paper, a forward pass and two as long backwards, two FLOP each.
FLOP_PER_IMAGE = 3 * 2 * 724_406_816
GPU_FLOP_PER_S = 0.4 * 790e12  # of an H200's rate of bfloat16 products


def make_images(folder: Path, count: int) -> float:
    """Writes JPEGs whose amplitudes fall as 1/f^1.4; returns their mean size in kB."""
    generator = np.random.default_rng(0)
    side, sizes = 1024, []
    fields = []
    distance = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side)] * 2))
    distance[0, 0] = 1 / side
    for _ in range(2):
        noise = np.fft.fft2(generator.standard_normal((3, side, side)))
        gray, *color = np.fft.ifft2(noise / distance**1.4).real
        gray, *color = (part / part.std() for part in (gray, *color))
        field = np.stack([gray + 0.2 * part for part in (gray, *color)], axis=-1)
        fields.append(np.clip(118 + 50 * field, 0, 255).astype(np.uint8))
    for index in range(count):
        split = "val" if index % 50 == 0 else "train"
        place = folder / split / str(index % 10)
        place.mkdir(parents=True, exist_ok=True)
        height, width = (SIZE, 341) if index % 4 else (341, SIZE)
        top, left = generator.integers(0, side - 341, 2)
        part = fields[index % 2][top : top + height, left : left + width]
        path = place / f"{index}.jpg"
        Image.fromarray(part).save(path, quality=85)
        sizes.append(path.stat().st_size)
    return float(np.mean(sizes)) / 1e3


def ours(folder: Path, workers: int) -> Iterator[Any]:
    """Yields our batches, of so many processes."""
    from alexnet_jax.config import default_config
    from alexnet_jax.data import create_data

    data = default_config().data
    data.name, data.manual_dir = "image_folder", str(folder)
    data.data_dir, data.workers = str(folder / "prepared"), workers
    with contextlib.redirect_stdout(sys.stderr):
        train = create_data(
            data, batch_size=BATCH_SIZE, eval_batch_size=BATCH_SIZE, seed=0
        ).train
    step = 0
    while True:
        yield train.batch(step)
        step += 1


class _TorchFolder:
    """The same images as a data set of PyTorch's, read with Pillow."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted((folder / "train").rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = self.paths[index]
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        image = image.crop((left, top, left + SIZE, top + SIZE))
        return np.asarray(image), int(path.parent.name)


def torchs(folder: Path, workers: int) -> Iterator[Any]:
    """Yields the batches of PyTorch's DataLoader."""
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _TorchFolder(folder),  # type: ignore[arg-type]
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context="spawn",  # a fork of JAX's threads may never end
    )
    while True:
        yield from loader


def cpu_seconds() -> float:
    """Returns what this process and its children have computed so far."""
    ticks = 0
    for pid in (os.getpid(), *(p.pid for p in multiprocessing.active_children())):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def take_turns(
    sides: Sequence[Iterator[Any]], repeats: int, batches: int
) -> list[list[tuple[float, float]]]:
    """Returns images a second, and a second of a core, by side and repeat."""
    rates: list[list[tuple[float, float]]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, found in zip(sides, rates, strict=True):
            for _ in range(READ_AHEAD):  # now its processes are at work
                next(side)
            start, computed = time.perf_counter(), cpu_seconds()
            for _ in range(batches):
                next(side)
            seconds = time.perf_counter() - start
            images = batches * BATCH_SIZE
            found.append((images / seconds, images / (cpu_seconds() - computed)))
    return rates


def measure(
    images: int = 2_000, workers: int = 2, repeats: int = 5, batches: int = 8
) -> dict[str, Any]:
    """Returns the rates of all sides, their ratios, and what a GPU needs.

    Args:
      images: JPEG files to make.
      workers: Processes that decode.
      repeats: Measurements of each side.
      batches: Per measurement.

    Raises:
      InputError: The images are no whole batch, of which PyTorch would read none.
    """
    least = BATCH_SIZE + BATCH_SIZE // 49 + 1  # one of fifty is no training image
    if images < least:
        raise InputError(f"--images must be at least {least}; got {images}")
    check_modules("bench", "torch")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mean_kb = make_images(folder, images)
        make: dict[str, Callable[[], Iterator[Any]]] = {
            "ours": lambda: ours(folder, workers),
            "ours_threads": lambda: ours(folder, 0),
            "torch": lambda: torchs(folder, workers),
        }
        sides = [side() for side in make.values()]
        rates = take_turns(sides, repeats, batches)
        for side in sides:
            side.close()  # type: ignore[attr-defined]
    found: dict[str, Any] = {"images": images, "mean_kb": round(mean_kb, 1)}
    medians = {}
    for side, pairs in zip(make, rates, strict=True):
        medians[side] = [
            statistics.median(column) for column in zip(*pairs, strict=True)
        ]
        found[f"{side}_images_per_s"] = [round(rate) for rate, _ in pairs]
        found[f"{side}_images_per_core_s"] = [round(rate) for _, rate in pairs]
    for index, what in enumerate(("wall", "core")):
        ratios = [a[index] / b[index] for a, b in zip(rates[0], rates[2], strict=True)]
        found[f"ours_to_torch_by_{what}"] = [round(ratio, 3) for ratio in ratios]
        found[f"ours_to_torch_by_{what}_median"] = round(statistics.median(ratios), 3)
    needed = GPU_FLOP_PER_S / FLOP_PER_IMAGE
    found["h200_images_per_s"] = round(needed)
    found["cores_to_feed_an_h200"] = round(needed / medians["ours"][1], 1)
    return found


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints an object."""
    parser = cli.Parser("benchmarks.input", __doc__)
    add_counts(
        parser,
        {
            "--images": (2000, "JPEG files to make"),
            "--workers": (2, "processes that decode"),
            "--repeats": (5, "measurements of each"),
            "--batches": (8, "batches per measurement"),
        },
    )
    found = measure(**vars(parser.parse_args(argv)))
    lines = [
        f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()
    ]
    print("{", ",\n".join(lines), "}", sep="\n")


if __name__ == "__main__":
    main()
