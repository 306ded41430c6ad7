"""ReLU and max-pooling, exchanged on CPUs and NVIDIA GPUs."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from alexnet_jax.layers.cpu.switch import by_platform, takes_plain_forms


def join_relu_and_pool(
    layers: Sequence[Callable], pools: Sequence[Callable]
) -> list[Callable]:
    """Returns the layers, with ReLU and a max-pool after it joined to one.

    Args:
      layers: One after the other.
      pools: Functions that take maxima over windows.
    """
    joined: list[Callable] = []
    for layer in layers:
        if joined and joined[-1] is nn.relu and layer in pools:
            joined[-1] = partial(max_pool_of_relu, pool=layer)
        else:
            joined.append(layer)
    return joined


def max_pool_of_relu(x: jax.Array, pool: Callable) -> jax.Array:
    """`pool(nn.relu(x))` for a max-pool; where it is quick, the maxima come first.

    The two are the same, and so are their gradients; but ReLU's gradient then looks at
    the pooled maps, a quarter of the units, and those of before need not stay.

    Args:
      x: `(B, H, W, C)`.
      pool: A function that takes maxima over windows; `then_relu` adds ReLU to it.
    """

    def plain(x: jax.Array) -> jax.Array:
        return pool(nn.relu(x))

    if takes_plain_forms():
        return plain(x)
    quick = partial(pool, then_relu=True)
    return by_platform(x, cpu=quick, cuda=quick, default=plain)
