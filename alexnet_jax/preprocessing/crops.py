"""Crops: which part of an image the network sees; random in training, fixed in tests.

Functions of one image; `jax.vmap` makes them functions of many.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.config import side_pair

Sides = int | Sequence[int]

NUM_VIEWS = 10
_AREA = (0.08, 1.0)  # of the image
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))  # of width to height
_TRIES = 10


def draw_offset(key: jax.Array, margin: Sides) -> jax.Array:
    """Draws the upper left corner of a crop, uniformly.

    Args:
      key: Typed PRNG key, `()`.
      margin: By how many pixels the image is higher and wider than the crop; a number,
        if by as many.

    Returns:
      `(2,) int32`, row and column, 0 … margin inclusive: 33×33 offsets of 224
      pixels in 256. Source: cuda-convnet2, `convdata.py` (2012's text has 32×32).
    """
    largest = _per_axis(margin, jnp.int32)
    return jax.random.randint(key, (2,), 0, largest + 1, jnp.int32)


def _per_axis(sides: Sides, dtype: Any) -> jax.Array | int:
    """Returns `(2,)` of a type; one number, where the two are equal."""
    height, width = side_pair(sides)
    return height if height == width else jnp.array([height, width], dtype)


def cut(image: jax.Array, offset: jax.Array, size: Sides) -> jax.Array:
    """Cuts `(h', w', C)` of a size out of `(h, w, C)`; `offset` is row and column."""
    row, column = offset
    start = (row, column, jnp.zeros_like(row))
    return jax.lax.dynamic_slice(image, start, (*side_pair(size), image.shape[-1]))


def mirror(image: jax.Array, flag: jax.Array) -> jax.Array:
    """Exchanges left and right of `(h, w, C)` where `flag` is true."""
    return jnp.where(flag, image[:, ::-1], image)


def draw_box(key: jax.Array, height: int, width: int) -> jax.Array:
    """Draws a part of an image by its area and its ratio of sides.

    Area uniform in 8 to 100 %, ratio in 3/4 to 4/3, uniform in its logarithm, place
    uniform. What does not fit is drawn again, up to ten times; then the whole image
    is taken.

    Args:
      key: Typed PRNG key, `()`.
      height: The image's, in pixels.
      width: Likewise.

    Returns:
      `(4,) int32`: row, column, height, width.

    Source: torchvision, `transforms.RandomResizedCrop`.
    """
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    low, high = _AREA
    area = jax.random.uniform(area_key, (_TRIES,), jnp.float32, low, high)
    low, high = _LOG_RATIO
    ratio = jax.random.uniform(ratio_key, (_TRIES,), jnp.float32, low, high)
    ratio = jnp.exp(ratio)
    area = area * float(height * width)
    sides = jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)], axis=1)
    sides = jnp.round(sides).astype(jnp.int32)
    whole = jnp.array([height, width], jnp.int32)
    fits = ((sides > 0) & (sides <= whole[None])).all(axis=1)
    sides = jnp.where(fits.any(), sides[fits.argmax()], whole)
    corner = jax.random.randint(place_key, (2,), 0, whole - sides + 1, jnp.int32)
    return jnp.concatenate([corner, sides])


def resample(image: jax.Array, box: jax.Array, size: Sides) -> jax.Array:
    """Resizes a part of an image bilinearly, with antialiasing where it shrinks.

    At the part's border, pixels beyond it count where there are any; torchvision crops
    first.

    Args:
      image: `(h, w, C) float32`.
      box: `(4,) int32`, from `draw_box`.
      size: Height and width to come out; of a square, its side.
    """
    scale = _per_axis(size, jnp.float32) / box[2:].astype(jnp.float32)
    return jax.image.scale_and_translate(
        image,
        (*side_pair(size), image.shape[-1]),
        (0, 1),
        scale,
        -scale * box[:2].astype(jnp.float32),
        "bilinear",
    )


def fixed_views(margin: Sides) -> tuple[np.ndarray, np.ndarray]:
    """Returns 2012's ten views: four corners, the center, and the same mirrored.

    Args:
      margin: As in `draw_offset`.

    Returns:
      Offsets `(10, 2) int32` and whether each is mirrored, `(10,) bool`.
    """
    down, across = side_pair(margin)
    center = down // 2, across // 2
    five = [(0, 0), (0, across), center, (down, 0), (down, across)]
    return np.array(2 * five, np.int32), np.arange(NUM_VIEWS) >= len(five)
