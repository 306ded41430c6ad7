"""Layers one after the other."""

import flax.linen as nn
import jax

from alexnet_jax.layers.cpu.relu_pool import join_relu_and_pool
from alexnet_jax.layers.pooling import MAX_POOLS


class Sequential(nn.Sequential):
    """`nn.Sequential` that is quick on a CPU where a max-pool follows ReLU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps an array through all layers."""
        for layer in join_relu_and_pool(self.layers, MAX_POOLS):
            x = layer(x)
        return x
