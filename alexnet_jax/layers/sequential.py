"""Layers one after the other."""

from collections.abc import Callable, Sequence

from alexnet_jax.layers.cpu.relu_pool import join_relu_and_pool
from alexnet_jax.layers.pooling import MAX_POOLS


def join_layers(layers: Sequence[Callable]) -> list[Callable]:
    """Returns layers that do the same, quick on a CPU where a max-pool follows ReLU.

    Args:
      layers: One after the other.
    """
    return join_relu_and_pool(layers, MAX_POOLS)
