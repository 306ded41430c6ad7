"""What happens to images on the device, inside the jitted step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

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


def make_prepare(scale: str, image: np.ndarray, size: int) -> Prepare:
    """Returns what makes a network's input of stored images, in float32.

    Args:
      scale: A key of `SCALES`.
      image: The training set, `(N, h, w, C) uint8`, or floating in [0, 1].
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
    full = 255.0 if image.dtype == np.uint8 else 1.0
    if scale == "pixels":
        mean, factor = image.mean(axis=0, keepdims=True), np.array(255.0)
    else:
        mean, deviation = _mean_and_deviation(image)
        # A channel that never varies comes out as 0.
        factor = full / np.where(deviation > 1e-6 * full, deviation, full)
    mean, factor = (array.astype(np.float32) for array in (mean / full, factor))

    def prepare(image: jax.Array) -> jax.Array:
        centre = scale_and_resize(jnp.asarray(mean), size)  # a constant
        return (scale_and_resize(image, size) - centre) * factor

    return prepare


def _mean_and_deviation(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both by channel, `(1, 1, 1, C) float64`."""
    total = square = np.zeros(())
    for part in np.array_split(image, -(-len(image) // 1000)):  # never all as floats
        wide, axes = part.astype(np.float64), (0, 1, 2)
        total = total + wide.sum(axes, keepdims=True)
        square = square + np.square(wide).sum(axes, keepdims=True)
    count = image[..., 0].size
    mean = total / count
    return mean, np.sqrt(np.maximum(square / count - mean**2, 0.0))
