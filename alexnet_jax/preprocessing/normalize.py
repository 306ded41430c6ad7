"""Input scales: the numbers that stand for the pixels of an image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alexnet_jax.data.statistics import (
    TORCHVISION_DEVIATION,
    TORCHVISION_MEAN,
    Statistics,
)
from alexnet_jax.errors import InputError

SCALES = {
    "unit": "in [0, 1]",
    "pixels": "0 to 255 minus the training set's mean image, as in 2012",
    "standard": "mean 0 and deviation 1 by channel over the training set",
    "caffe": "as pixels, the mean image moving with the crop; blue, green, red",
    "torchvision": "ImageNet's published mean and deviation by channel",
}
# Those that need the statistics of the training images.
MEASURED = ("pixels", "standard", "caffe")


@dataclass(frozen=True)
class Scale:
    """Maps images in [0, 1] to `(image - mean) * factor`.

    Attributes:
      mean: `(1, h, w, C)` or `(1, 1, 1, C) float32`; None subtracts nothing.
      factor: `()` or `(1, 1, 1, C) float32`.
      moves: Whether the mean image is cropped and mirrored with the image. In 2012 it
        was not: its central window was subtracted from every crop.
      centered: Whether the mean is the training images', so that these vary about 0.
        Color noise makes them vary more; as in 2012 they are then divided, which about
        any other mean would make them darker than test images.
      reversed: Whether blue comes first in what the network sees.
    """

    mean: np.ndarray | None
    factor: np.ndarray
    moves: bool = False
    centered: bool = False
    reversed: bool = False


def check_scale(name: str) -> None:
    """Checks the value of `config.data.scale`.

    Raises:
      InputError: It is neither a key of `SCALES` nor `author`.
    """
    if name not in ("author", *SCALES):
        raise InputError(
            f"data.scale must be one of {('author', *SCALES)}; got {name!r}"
        )


def create_scale(name: str, statistics: Callable[[], Statistics]) -> Scale:
    """Returns a scale by its name.

    Args:
      name: A key of `SCALES`.
      statistics: Returns the training set's, where they are needed.

    Raises:
      InputError: `name` is unknown.
    """
    check_scale(name)
    if name == "unit":
        return Scale(None, np.array(1.0, np.float32))
    if name in ("pixels", "caffe"):
        mean = (statistics().mean_image[None] / 255.0).astype(np.float32)
        caffe = name == "caffe"
        return Scale(
            mean,
            np.array(255.0, np.float32),
            moves=caffe,
            centered=True,
            reversed=caffe,
        )
    mean, deviation = TORCHVISION_MEAN, TORCHVISION_DEVIATION
    if name == "standard":
        found = statistics()
        # A channel that never varies comes out as 0.
        varies = found.deviation > 1e-6 * 255
        mean, deviation = found.mean, np.where(varies, found.deviation, 255.0)
    mean, factor = (
        array.reshape(1, 1, 1, -1).astype(np.float32)
        for array in (mean / 255.0, 255.0 / deviation)
    )
    return Scale(mean, factor, centered=name == "standard")
