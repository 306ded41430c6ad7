"""ReLU, alone and before max-pooling, quick on CPUs and NVIDIA GPUs."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers.cpu.gradient import with_gradient
from alexnet_jax.layers.cpu.switch import by_platform, takes_plain_forms


def join_relu_and_pool(
    layers: Sequence[Callable], pools: Sequence[Callable]
) -> list[Callable]:
    """Returns the layers with quick ReLUs, joined to one with a max-pool after it.

    Args:
      layers: One after the other.
      pools: Functions that take maxima over windows.
    """
    joined: list[Callable] = []
    for layer in layers:
        if joined and joined[-1] is relu and layer in pools:
            joined[-1] = partial(max_pool_of_relu, pool=layer)
        else:
            joined.append(relu if layer is nn.relu else layer)
    return joined


def relu(x: jax.Array) -> jax.Array:
    """`nn.relu`, whose gradient on NVIDIA GPUs looks at its output.

    Which is positive where the input is; so nothing else reads a convolution's output,
    and cuDNN computes ReLU in the convolution. On a CPU there is nothing to win.
    """
    if takes_plain_forms():
        return nn.relu(x)

    def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = nn.relu(x)
        return y, lax.optimization_barrier(y)

    def backward(y: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
        return (lax.select(y > 0, gradient, jnp.zeros_like(gradient)),)

    by_output = with_gradient(nn.relu, forward, backward)
    return by_platform(x, cuda=by_output, default=nn.relu)


def max_pool_of_relu(x: jax.Array, pool: Callable) -> jax.Array:
    """`pool(nn.relu(x))` for a max-pool; the maxima are taken first.

    The two are the same, and so are their gradients; but ReLU's gradient then looks at
    the pooled maps, a quarter of the units, and those of before need not stay.

    Args:
      x: `(B, H, W, C)`.
      pool: A function that takes maxima over windows; `then_relu` adds ReLU to it.
    """
    return pool(nn.relu(x)) if takes_plain_forms() else pool(x, then_relu=True)
