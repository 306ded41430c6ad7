"""What is done to images inside a network: blurred, thinned out, mirrored."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import InputError
from alexnet_jax.layers.normalization import widen


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs each map by itself, with a Gaussian filter; zeros beyond the edge.

    In float32 if the input is narrower.

    Attributes:
      size: Height and width of the filter: 3, 5, 7 or 9.
      deviation: Its standard deviation in pixels.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `blur`.
    """

    size: int
    deviation: float

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.size not in (3, 5, 7, 9):
            raise InputError(f"size must be one of (3, 5, 7, 9); got {self.size}")
        if not self.deviation > 0:
            raise InputError(f"deviation must be greater than 0; got {self.deviation}")

    @property
    def weights(self) -> np.ndarray:
        """The filter along an axis, `(size,) float32`; it sums to 1."""
        places = np.arange(self.size) - self.size // 2
        curve = np.exp(-(places**2) / (2.0 * self.deviation**2))
        return (curve / curve.sum()).astype(np.float32)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to the same shape and dtype."""
        y, reach = widen(x), self.size // 2
        for axis in (1, 2):
            edges = [(reach * (axis == one),) * 2 for one in range(4)]
            padded, length = jnp.pad(y, edges), y.shape[axis]
            y = jnp.zeros_like(y)
            for start, weight in enumerate(self.weights):
                part = jax.lax.slice_in_dim(padded, start, start + length, axis=axis)
                y = y + part * float(weight)
        return y.astype(x.dtype)


@dataclass(frozen=True)
class Subsample:
    """Keeps one pixel of each `stride` × `stride`, those in the middle.

    Attributes:
      stride: Pixels between two that are kept.

    Raises:
      InputError: `stride` is less than 1.

    Source: cuda-convnet `nailbed`.
    """

    stride: int

    def __post_init__(self) -> None:
        """Checks the value."""
        if self.stride < 1:
            raise InputError(f"stride must be at least 1; got {self.stride}")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, ceil(H / stride), ceil(W / stride), C)`."""
        down, across = (
            slice(
                (size - (size - 1) // self.stride * self.stride) // 2, None, self.stride
            )
            for size in x.shape[1:3]
        )
        return x[:, down, across]


def mirror(x: jax.Array) -> jax.Array:
    """Turns left and right around, `(B, H, W, C)`.

    Source: cuda-convnet `href`.
    """
    return x[:, :, ::-1]
