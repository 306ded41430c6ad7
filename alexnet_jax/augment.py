"""What happens to images on the device, inside the jitted step."""

import jax
import jax.numpy as jnp


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
