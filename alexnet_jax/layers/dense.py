"""Layers as AlexNet's frameworks had them, where linen lacks them or is slow.

Layers without parameters are plain functions where they need no settings, so that
`layer_summary` names them as d2l does.
"""

from dataclasses import field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers.cpu.opaque import opaque, pullback


def flatten(x: jax.Array) -> jax.Array:
    """`(B, H, W, C)` → `(B, H * W * C)`, channels fastest."""
    return x.reshape((x.shape[0], -1))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: Any = None
) -> jax.Array:
    return lax.dot_general(x, kernel, dimension_numbers, precision)


def _product_forward(
    x: jax.Array, kernel: jax.Array, *settings: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(x, kernel, *settings), (x, kernel)


def _product_backward(
    dimension_numbers: Any,
    precision: Any,
    kept: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    settings = {"dimension_numbers": dimension_numbers, "precision": precision}
    gradients = pullback(partial(lax.dot_general, **settings))
    return lax.platform_dependent(
        *kept, gradient, cpu=opaque(gradients), default=gradients
    )


_product.defvjp(_product_forward, _product_backward)


class Dense(nn.Dense):
    """`nn.Dense` whose two gradients XLA computes in one call on a CPU.

    In whatever order it likes, it has to copy a kernel for the gradient by the input,
    since the new kernel is written into its place: 172 MB a step for d2l's fc6 and fc7.
    Without the copies a step is 9 to 10 % quicker on two cores.
    """

    dot_general: Any = field(default_factory=lambda: _product)


class TowerDense(nn.Module):
    """A dense layer of which each group reads its own group of maps alone.

    With one group it is `flatten` and `nn.Dense`. On two devices a tower's own half is
    a layer of one group: its kernel is half of this one's, cut along the last axis.

    Attributes:
      features: Units of all groups.
      groups: Groups that do not see each other: the towers.

    Source: cuda-convnet layers-150.cfg.
    """

    features: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, ..., C)` to `(B, features)`."""
        grouped = x.reshape((x.shape[0], -1, self.groups, x.shape[-1] // self.groups))
        _, places, groups, channels = grouped.shape
        shape = places * channels, self.features
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        by_group = kernel.reshape((places, channels, groups, self.features // groups))
        y = jnp.einsum("bpgc,pcgf->bgf", grouped, by_group)
        return y.reshape((x.shape[0], self.features)) + bias[None]


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
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, x.shape)
        return jnp.where(kept, x, jnp.zeros_like(x))
