"""Drawn shapes: a few JPEG files to try on any machine what ImageNet needs.

They are files of many sizes in class folders, and are prepared, streamed, cropped and
classified like photographs; only their number is small.
"""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.atomic import atomic_folder, remove_unfinished
from alexnet_jax.data.image_folder import load as load_folder
from alexnet_jax.data.preparation.damage import NotPrepared
from alexnet_jax.data.preparation.lock import preparation_lock, unwritable
from alexnet_jax.data.preparation.prepared import may_write

_PER_CLASS = {"train": 64, "val": 16}
_SIDES = 64, 160  # pixels; height and width are drawn independently

# Where a shape is, by distances from its center in halves of its size.
_SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "checks": lambda x, y: (np.floor(3 * x) + np.floor(3 * y)) % 2 == 0,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.2) & (abs(x + y) < 1.2),
    "disk": lambda x, y: np.hypot(x, y) < 0.8,
    "stripes": lambda x, y: np.floor(4 * x) % 2 == 0,
}


def load(data_dir: Path, on_broken: str) -> tfds.core.DatasetBuilder:
    """Returns the builder of the shapes, drawn and prepared; both happen once.

    Args:
      data_dir: Folder of prepared data sets; the files are drawn into `shapes/` there.
      on_broken: What to do with a file that is not an image, `fail` or `skip`.

    Raises:
      InputError: `data_dir` cannot be written.
    """
    folder = data_dir / "shapes"
    if not os.path.exists(folder):
        if not may_write():
            raise NotPrepared(f"data.data_dir: {folder} is not drawn")
        with preparation_lock(folder):
            if not folder.exists():  # another process may have drawn them
                _draw_all(folder)
    return load_folder(data_dir, str(folder), on_broken)


def _draw_all(folder: Path) -> None:
    print(f"drawing   shapes as JPEG files, once, in {folder}", flush=True)
    generator = np.random.default_rng(0)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.parent, of=folder.name)  # what a kill left
        part = folder.with_name(f"{folder.name}.part")  # of an earlier version
        shutil.rmtree(part, ignore_errors=True)
        with atomic_folder(folder) as part:
            for split, number in _PER_CLASS.items():
                for name in _SHAPES:
                    place = part / split / name
                    place.mkdir(parents=True)
                    for index in range(number):
                        image = Image.fromarray(draw(name, generator))
                        image.save(place / f"{index:03}.jpg", quality=90)
    except OSError as error:
        raise unwritable(folder, error) from error


def draw(name: str, generator: np.random.Generator) -> np.ndarray:
    """Draws a shape at a random place and angle, in one color on another.

    Args:
      name: Of the shape.
      generator: Makes all choices.

    Returns:
      `(h, w, 3) uint8`.
    """
    height, width = generator.integers(*_SIDES, 2, endpoint=True)
    half = min(height, width) / 2 * generator.uniform(0.6, 1.0)
    down, right = np.indices((height, width)).astype(np.float64)
    down -= height * generator.uniform(0.4, 0.6)
    right -= width * generator.uniform(0.4, 0.6)
    angle = generator.uniform(0, 2 * math.pi)
    x = (math.cos(angle) * right + math.sin(angle) * down) / half
    y = (math.cos(angle) * down - math.sin(angle) * right) / half
    inside = _SHAPES[name](x, y) & (np.maximum(abs(x), abs(y)) < 1)
    color, background = generator.uniform(0, 110, 3), generator.uniform(145, 255, 3)
    if generator.integers(2):
        color, background = background, color
    image = np.where(inside[..., None], color, background)
    image += generator.normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
