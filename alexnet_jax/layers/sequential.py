"""Layers one after the other."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from alexnet_jax.layers.cpu.relu_pool import join_relu_and_pool
from alexnet_jax.layers.pooling import MAX_POOLS


def join_layers(layers: Sequence[Callable]) -> list[Callable]:
    """Returns layers that do the same, quick on a CPU where a max-pool follows ReLU.

    Args:
      layers: One after the other.
    """
    return join_relu_and_pool(layers, MAX_POOLS)


def apply_layer(layer: Callable, x: jax.Array) -> jax.Array:
    """Returns a layer's output, in bfloat16 if input and parameters are.

    linen's BatchNorm computes in float32 there, as it should, but by an implicit
    promotion, which JAX's strict one refuses.
    """
    if isinstance(layer, nn.BatchNorm):
        with jax.numpy_dtype_promotion("standard"):
            return layer(x)
    return layer(x)
