"""Patches that cover an image one after the other, and what they show together."""

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alexnet_jax.errors import InputError

_WINDOW = 0.2  # of an image's height and width


class Patch(NamedTuple):
    """A rectangle of an image, in its pixels, counted from 0.

    Attributes:
      top: Its first row.
      left: Its first column.
      height: Its rows.
      width: Its columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts it out of `(h, w, ...)`."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)


def create_patches(
    sides: Sequence[int], window: int | None = None, stride: int | None = None
) -> list[Patch]:
    """Returns patches that cover every pixel of an image, row by row.

    Args:
      sides: Height and width of the image.
      window: Height and width of a patch; a fifth of the image's if not given.
      stride: Pixels from one patch to the next; half of a patch if not given. The last
        one ends with the image.

    Raises:
      InputError: The window does not fit in the image, or the stride leaves gaps; or
        one is no whole number.
    """
    window, stride = whole(window, "window"), whole(stride, "stride")
    if window is not None and not 1 <= window <= min(sides):
        raise InputError(
            f"window must be from 1 to {min(sides)}, as the images are "
            f"{sides[0]}×{sides[1]}; got {window}"
        )
    lengths = [window or max(1, round(_WINDOW * side)) for side in sides]
    if stride is not None and not 1 <= stride <= min(lengths):
        raise InputError(
            f"stride must be from 1 to {min(lengths)}, a window, so that every "
            f"pixel is covered; got {stride}"
        )
    firsts = []
    for side, length in zip(sides, lengths, strict=True):
        step = stride or max(1, length // 2)
        steps = math.ceil((side - length) / step)
        firsts.append([min(i * step, side - length) for i in range(steps + 1)])
    return [Patch(top, left, *lengths) for top in firsts[0] for left in firsts[1]]


def whole(value: Any, name: str) -> int | None:
    """Returns a whole number of any library as Python's; None as it is.

    Args:
      value: The number.
      name: What an error calls it.

    Raises:
      InputError: It is none, or a truth value.
    """
    if value is None:
        return None
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise InputError(f"{name} must be a whole number; got {value!r}") from error


def cover(image: np.ndarray, patches: Sequence[Patch], color: np.ndarray) -> np.ndarray:
    """Returns copies of an image, each with one patch in one color.

    Args:
      image: `(h, w, C) uint8`.
      patches: N of them.
      color: `(C,) uint8`.

    Returns:
      `(N, h, w, C) uint8`.
    """
    covered = np.repeat(image[None], len(patches), axis=0)
    for one, patch in zip(covered, patches, strict=True):
        one[patch.slices] = color
    return covered


def average(
    sides: Sequence[int], patches: Sequence[Patch], values: np.ndarray
) -> np.ndarray:
    """Returns for each pixel the mean value of the patches that cover it.

    Args:
      sides: Height and width of the image.
      patches: N that leave no pixel out.
      values: `(N,) float64`.

    Returns:
      `(h, w) float64`: probabilities near 1 differ by less than float32 can tell.
    """
    total, count = np.zeros((2, *sides))
    for patch, value in zip(patches, values, strict=True):
        total[patch.slices] += value
        count[patch.slices] += 1
    return total / count
