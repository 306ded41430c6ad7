"""Dropout as it was in 2012; `flax.linen.Dropout` is today's."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class MaskDropout(nn.Module):
    """Dropout as it was in 2012: units are dropped in training and nothing is scaled.

    At test every unit is there, times `1 - rate`; `nn.Dropout` divides by that in
    training instead. Trained with the same rates the two differ: following weights W,
    rate η and decay λ here are W/2, η/4 and 4λ there, for a rate of one half.

    Attributes:
      rate: Share of units dropped, in [0, 1).
      deterministic: Whether to test.

    Source: Krizhevsky et al. 2012, §4.2; cuda-convnet `hs` and `dropout2` layers.
    """

    rate: float
    deterministic: bool

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(...)` to the same shape."""
        if self.deterministic:
            return x * (1.0 - self.rate)
        share = jnp.float32(1 - self.rate)
        kept = jax.random.bernoulli(self.make_rng("dropout"), share, x.shape)
        return jnp.where(kept, x, jnp.zeros_like(x))
