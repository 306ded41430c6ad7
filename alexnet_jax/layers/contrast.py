"""Local contrast normalization in a unit's own map."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers.normalization import (
    check_window,
    inverse_power,
    widen,
    window_sum,
)


@dataclass(frozen=True)
class MapContrastNorm:
    """Divides each unit by how much its neighbors in its own map differ from theirs.

    b = a / (k + scale / size² · Σ (a - m)²)^power over the `size` × `size` units
    around. m is the mean around each of these, of the units within the image; nothing
    counts beyond the edge. Computed in float32 if the input is narrower. The gradient
    is cuda-convnet's, which leaves out that m depends on a.

    Attributes:
      size: Height and width of the window. An even one reaches one unit further up and
        left.
      scale: As the source writes it, before the division.
      power: The exponent.
      k: The constant in the denominator, cuda-convnet2's `minDiv`.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `cnorm`.
    """

    size: int
    scale: float
    power: float
    k: float = 1.0

    def __post_init__(self) -> None:
        """Checks the values."""
        check_window(self.size, self.k, scale=self.scale, power=self.power)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to the same shape and dtype."""
        window = (1, self.size, self.size, 1)
        wide = widen(x)
        inside = window_sum(jnp.ones((1, *x.shape[1:3], 1), wide.dtype), window)
        mean = lax.stop_gradient(window_sum(wide, window) / inside)
        difference = wide - mean
        squares = window_sum(difference * difference, window)
        denominator = self.k + self.scale / self.size**2 * squares
        return (wide * inverse_power(denominator, self.power)).astype(x.dtype)
