"""What happens to images on the device, inside the jitted step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError

# (B, h, w, C) uint8, or floating in [0, 1] -> (B, size, size, C) float32
Prepare = Callable[[jax.Array], jax.Array]


def scale_and_resize(image: jax.Array, size: int) -> jax.Array:
    """Scales bytes to [0, 1] and resizes bilinearly; floats are taken as scaled.

    The host hands over the small images; an upsampled 224×224 batch exists on the
    device alone. Resizing follows TensorFlow and PyTorch (`align_corners=False`), with
    antialiasing where it shrinks.

    Args:
      image: `(B, h, w, C) uint8`, or floating in [0, 1].
      size: Height and width to come out, in pixels.

    Returns:
      `(B, size, size, C) float32` in [0, 1].
    """
    batch, height, width, channels = image.shape
    scaled = image.astype(jnp.float32)
    if image.dtype == jnp.uint8:
        scaled /= 255.0
    if (height, width) == (size, size):
        return scaled
    return jax.image.resize(scaled, (batch, size, size, channels), "bilinear")


SCALES = {
    "unit": "in [0, 1]",
    "pixels": "0 to 255 less the training set's mean image, as in 2012",
    "standard": "mean 0 and deviation 1 by channel over the training set",
}


def make_prepare(
    scale: str, statistics: Callable[[], Statistics], size: int
) -> Prepare:
    """Returns what makes a network's input of stored images, in float32.

    Args:
      scale: A key of `SCALES`.
      statistics: Gives those of the training set, where `scale` needs them.
      size: Height and width that the network sees, in pixels.

    Raises:
      InputError: `scale` is unknown.
    """
    if scale not in SCALES:
        raise InputError(
            f"data.scale must be one of {('author', *SCALES)}; got {scale!r}"
        )
    if scale == "unit":
        return lambda image: scale_and_resize(image, size)
    found = statistics()
    if scale == "pixels":
        mean, factor = found.mean_image, np.array(255.0)
    else:
        # A channel that never varies comes out as 0.
        varies = found.deviation > 1e-6 * 255
        mean = found.mean.reshape(1, 1, -1)
        factor = 255.0 / np.where(varies, found.deviation, 255.0)
        factor = factor.reshape(1, 1, 1, -1)
    mean, factor = (array.astype(np.float32) for array in (mean[None] / 255.0, factor))

    def prepare(image: jax.Array) -> jax.Array:
        centre = scale_and_resize(jnp.asarray(mean), size)  # a constant
        return (scale_and_resize(image, size) - centre) * factor

    return prepare
