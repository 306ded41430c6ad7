"""Dense layers: linen's, and those of towers that do not see each other."""

import math
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from alexnet_jax.errors import InputError
from alexnet_jax.layers.cpu.dense import dot_general
from alexnet_jax.layers.initializers import Initialized


def flatten(x: jax.Array) -> jax.Array:
    """`(B, H, W, C)` → `(B, H * W * C)`, channels fastest."""
    return x.reshape((x.shape[0], math.prod(x.shape[1:])))  # -1 needs an image


class Dense(Initialized, nn.Dense):
    """`nn.Dense` with named schemes, whose gradients are quick on a CPU."""

    dot_general: Any = field(default_factory=lambda: dot_general)


class TowerDense(Initialized):
    """A dense layer in groups, each of which reads its own group of maps alone.

    With one group it is `flatten` and `nn.Dense`. On two devices a tower's own half is
    a layer of one group: its kernel is half of this one's, cut along the last axis.

    Attributes:
      features: Units of all groups.
      groups: Groups that do not see each other: the towers.
      use_bias: Whether there are biases.
      kernel_init: Draws the kernel, `(in / groups, features)`, without a scheme.
      bias_init: Draws the biases, likewise.

    Raises:
      InputError: `groups` does not divide the channels or `features`.

    Source: cuda-convnet layers-150.cfg.
    """

    features: int
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, ..., C)` to `(B, features)`."""
        for what, count in (("channels", x.shape[-1]), ("features", self.features)):
            if self.groups < 1 or count % self.groups:
                raise InputError(
                    f"{self.name}: {what} must be a multiple of its {self.groups} "
                    f"groups; got {count}"
                )
        places, groups = math.prod(x.shape[1:-1]), self.groups
        channels = x.shape[-1] // groups
        grouped = x.reshape((x.shape[0], places, groups, channels))
        shape = places * channels, self.features
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        by_group = kernel.reshape((places, channels, groups, self.features // groups))
        y = jnp.einsum("bpgc,pcgf->bgf", grouped, by_group)
        y = y.reshape((x.shape[0], self.features))
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + bias[None]
        return y
