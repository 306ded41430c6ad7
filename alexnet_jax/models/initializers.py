"""Named initialisations, applied to a whole parameter tree.

A network's layers declare what its author used, so far as Flax can say it; these
schemes replace that for every layer that has a kernel. They act on the tree because
PyTorch draws a bias from its kernel's fan-in, of which Flax's `bias_init` is not told.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.nn import initializers

# (key, kernel) -> (kernel, bias); the bias is drawn to length `kernel.shape[-1]`.
Scheme = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _zero_bias(kernel_init: initializers.Initializer) -> Scheme:
    def scheme(key: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros(kernel.shape[-1:], kernel.dtype)
        return kernel_init(key, kernel.shape, kernel.dtype), zeros

    return scheme


def _torch(key: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kaiming-uniform with a = √5: kernel and bias from U(-1/√fan_in, 1/√fan_in)."""
    bound = (kernel.size // kernel.shape[-1]) ** -0.5
    kernel_key, bias_key = jax.random.split(key)

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, shape, kernel.dtype, -bound, bound)

    return draw(kernel_key, kernel.shape), draw(bias_key, kernel.shape[-1:])


SCHEMES: dict[str, Scheme] = {
    "lecun": _zero_bias(initializers.lecun_normal()),  # Flax's default
    "he": _zero_bias(initializers.he_normal()),
    "xavier": _zero_bias(initializers.xavier_uniform()),
    "torch": _torch,  # PyTorch's default
}


def initialize(params: dict, key: jax.Array, scheme: str) -> dict:
    """Draws every kernel, and the bias beside it, anew.

    Args:
      params: Tree whose layers are `{"kernel": (..., in, out), "bias": (out,)}`, the
        bias optional. Layers without a kernel (BatchNorm) stay as they are.
      key: Typed PRNG key, `()`.
      scheme: One of `SCHEMES`.

    Returns:
      A tree of the same structure, shapes and dtypes.
    """
    flat = traverse_util.flatten_dict(params)
    layers = sorted(path[:-1] for path in flat if path[-1] == "kernel")
    for layer, layer_key in zip(
        layers, jax.random.split(key, len(layers)), strict=True
    ):
        kernel, bias = SCHEMES[scheme](layer_key, flat[(*layer, "kernel")])
        flat[(*layer, "kernel")] = kernel
        if (*layer, "bias") in flat:
            flat[(*layer, "bias")] = bias
    return traverse_util.unflatten_dict(flat)
