"""The product of a dense layer, with quick gradients on a CPU."""

from functools import partial
from typing import Any

import jax
from jax import lax

from alexnet_jax.layers.cpu.gradient import with_gradient
from alexnet_jax.layers.cpu.opaque import opaque, pullback
from alexnet_jax.layers.cpu.switch import by_platform, takes_plain_forms


def dot_general(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: Any = None
) -> jax.Array:
    """`lax.dot_general` whose two gradients are computed in one opaque call on a CPU.

    If XLA may order them, it copies the kernel for the gradient by the input, because
    the new kernel is written into its place: 172 MB a step for d2l's fc6 and fc7.
    Without the copies a step is 9 to 10 % quicker on two cores. On a GPU it makes none:
    it computes a new kernel in the product that is its gradient.
    """
    product: Any = partial(
        lax.dot_general, dimension_numbers=dimension_numbers, precision=precision
    )
    if takes_plain_forms():
        return product(x, kernel)

    def forward(*args: jax.Array) -> tuple[jax.Array, Any]:
        return product(*args), args

    def backward(kept: Any, gradient: jax.Array) -> Any:
        gradients = pullback(product)
        return by_platform(*kept, gradient, cpu=opaque(gradients), default=gradients)

    return with_gradient(product, forward, backward)(x, kernel)
