"""Named initializations, applied to a whole parameter tree.

They act on the tree because authors draw a layer by its name (conv3 from N(0, 0.03)),
and PyTorch draws a bias from its kernel's fan-in, which Flax's `bias_init` does not
know.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.nn import initializers

# (key, kernel, layer's name) -> (kernel, bias), the bias of length `kernel.shape[-1]`.
Scheme = Callable[[jax.Array, jax.Array, str], tuple[jax.Array, jax.Array]]


def _zero_bias(kernel_init: initializers.Initializer) -> Scheme:
    def scheme(
        key: jax.Array, kernel: jax.Array, name: str
    ) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros(kernel.shape[-1:], kernel.dtype)
        return kernel_init(key, kernel.shape, kernel.dtype), zeros

    return scheme


def _torch(key: jax.Array, kernel: jax.Array, name: str) -> tuple[jax.Array, jax.Array]:
    """Kaiming-uniform with a = √5: kernel and bias from U(-1/√fan_in, 1/√fan_in)."""
    bound = (kernel.size // kernel.shape[-1]) ** -0.5
    kernel_key, bias_key = jax.random.split(key)

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        # Drawn flat: the same values, and XLA compiles it in half the time.
        flat = (math.prod(shape),)
        drawn = jax.random.uniform(key, flat, kernel.dtype, -bound, bound)
        return drawn.reshape(shape)

    return draw(kernel_key, kernel.shape), draw(bias_key, kernel.shape[-1:])


def _gaussian(deviations: Mapping[str, float], biases: Mapping[str, float]) -> Scheme:
    """Kernels from N(0, 0.01) and zero biases, but for the layers that are named."""

    def scheme(
        key: jax.Array, kernel: jax.Array, name: str
    ) -> tuple[jax.Array, jax.Array]:
        noise = jax.random.normal(key, (kernel.size,), kernel.dtype)  # as in `_torch`
        noise = noise.reshape(kernel.shape)
        bias = jnp.full(kernel.shape[-1:], biases.get(name, 0.0), kernel.dtype)
        return deviations.get(name, 0.01) * noise, bias

    return scheme


_CONV_WIDE = dict.fromkeys(("conv3", "conv4", "conv5", "conv6"), 0.03)
_DENSE_NARROW = dict.fromkeys(("fc6", "fc7"), 0.005)
# A bias so that ReLU passes something from the first step on.
_BIASED = ("conv2", "conv4", "conv5", "conv6", "fc6", "fc7")
_ONES = dict.fromkeys(_BIASED, 1.0)
_convolutions = _gaussian({}, dict.fromkeys(("conv2", "conv4", "conv5"), 1.0))


def _ungrouped(
    key: jax.Array, kernel: jax.Array, name: str
) -> tuple[jax.Array, jax.Array]:
    """The paper's for convolutions, PyTorch's for dense layers."""
    return (_convolutions if kernel.ndim == 4 else _torch)(key, kernel, name)


SCHEMES: dict[str, Scheme] = {
    "lecun": _zero_bias(initializers.lecun_normal()),  # Flax's default
    "he": _zero_bias(initializers.he_normal()),
    "xavier": _zero_bias(initializers.xavier_uniform()),  # Keras's default
    "torch": _torch,  # PyTorch's default
    "paper": _gaussian({}, _ONES),  # Krizhevsky et al. 2012, §5
    "2012": _gaussian(_CONV_WIDE, _ONES),  # layers-145.cfg
    "one_weird_trick": _gaussian(_CONV_WIDE, _ONES | {"fc8": -7.0}),  # 1 of 1000
    "caffe": _gaussian(_DENSE_NARROW, dict.fromkeys(_BIASED, 0.1)),  # bvlc_alexnet
    "caffenet": _gaussian(_DENSE_NARROW, _ONES),  # bvlc_reference_caffenet
    "ungrouped": _ungrouped,  # dansuh17/alexnet-pytorch
}


def initialize(params: dict, key: jax.Array, scheme: str) -> dict:
    """Draws new values for every kernel and its bias.

    Args:
      params: Tree whose layers are `{"kernel": (..., in, out), "bias": (out,)}`, the
        bias optional. Layers without a kernel (BatchNorm) stay as they are.
      key: Typed PRNG key, `()`.
      scheme: One of `SCHEMES`. Authors' schemes go by a layer's name, `conv1` to `fc8`;
        a layer of another name is drawn from N(0, 0.01), its bias 0.

    Returns:
      A tree of the same structure, shapes and dtypes.
    """
    flat = traverse_util.flatten_dict(params)
    layers = sorted(path[:-1] for path in flat if path[-1] == "kernel")
    for layer, layer_key in zip(
        layers, jax.random.split(key, len(layers)), strict=True
    ):
        kernel, bias = SCHEMES[scheme](layer_key, flat[(*layer, "kernel")], layer[-1])
        flat[(*layer, "kernel")] = kernel
        if (*layer, "bias") in flat:
            flat[(*layer, "bias")] = bias
    return traverse_util.unflatten_dict(flat)
