"""What some networks do to images before their first convolution."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.normalization import widen


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs each map by itself; zeros beyond the edge.

    Attributes:
      size: Height and width of the filter, odd; it is normalized to a sum of 1.
      deviation: Of the Gaussian, in pixels, above 0.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `blur`.
    """

    size: int
    deviation: float

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.size < 1 or self.size % 2 == 0:
            raise InputError(
                f"size must be an odd integer of at least 1; got {self.size}"
            )
        if not 0 < self.deviation < math.inf:
            raise InputError(f"deviation must be above 0; got {self.deviation}")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to the same shape and dtype."""
        places = np.arange(self.size) - self.size // 2
        weights = np.exp(-(places**2) / (2 * self.deviation**2))
        weights /= weights.sum()
        y = widen(x)
        reach = self.size // 2
        for axis in (1, 2):
            edges = [(0, 0)] * 4
            edges[axis] = (reach, reach)
            padded = jnp.pad(y, edges)
            parts = (
                jnp.asarray(weight, y.dtype)
                * lax.slice_in_dim(padded, place, place + y.shape[axis], axis=axis)
                for place, weight in enumerate(weights)
            )
            y = sum(parts, start=jnp.zeros_like(y))
        return y.astype(x.dtype)


@dataclass(frozen=True)
class Subsample:
    """Takes one pixel of each `stride` × `stride`, those in the middle of the map.

    Attributes:
      stride: In pixels, at least 1.

    Raises:
      InputError: It is less.

    Source: cuda-convnet `nailbed`.
    """

    stride: int

    def __post_init__(self) -> None:
        """Checks the value."""
        if self.stride < 1:
            raise InputError(f"stride must be at least 1; got {self.stride}")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, ceil(H / stride), ceil(W / stride), C)`."""
        return x[:, self._places(x.shape[1]), self._places(x.shape[2])]

    def _places(self, length: int) -> slice:
        count = -(-length // self.stride)
        start = (length - self.stride * (count - 1)) // 2
        return slice(start, start + self.stride * (count - 1) + 1, self.stride)


def mirror(x: jax.Array) -> jax.Array:
    """Turns left and right: `(B, H, W, C)` to the same shape."""
    return x[:, :, ::-1]
