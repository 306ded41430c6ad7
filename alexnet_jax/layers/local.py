"""Layers with weights of their own at each place of a map."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import explicit_padding, zeros_before_ceil
from alexnet_jax.layers.initializers import Initialized


class LocallyConnected(Initialized):
    """A convolution that has another kernel and bias at each place of its output.

    `kernel` is `(H', W', size * size * C, features) float32`, its third axis in the
    order of a convolution's kernel, and `bias` `(H', W', features) float32`. Each
    place's kernel is drawn as a convolution's of its own.

    Attributes:
      features: Output maps.
      kernel_size: Height and width of the window.
      strides: In pixels.
      padding: Zeros on each side, `CEIL`, or as `ceil_pad` returns it.
      use_bias: Whether there are biases.
      kernel_init: What draws one place's kernel, `(size, size, C, features)`.
      bias_init: What draws the biases.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `local`.
    """

    features: int
    kernel_size: int
    strides: int = 1
    padding: int | str = 0
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("features", "kernel_size", "strides"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{self.name}: {name} must be at least 1; got {value}")
        is_count = isinstance(self.padding, int) and self.padding >= 0
        if not is_count and zeros_before_ceil(self.padding) is None:
            raise InputError(
                f"{self.name}: padding must be 0 or more zeros, CEIL or of ceil_pad; "
                f"got {self.padding!r}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, H', W', features)`."""
        size, stride = self.kernel_size, self.strides
        window, strides = (size, size), (stride, stride)
        pads = explicit_padding(self.padding, x.shape[1:3], window, strides)
        if isinstance(pads, int):
            pads = ((pads, pads),) * 2
        counts = [
            max((length + sum(zeros) - size) // stride + 1, 0)
            for length, zeros in zip(x.shape[1:3], pads, strict=True)
        ]
        shape = (*counts, size * size * x.shape[-1], self.features)
        kernel_init = self._by_place(self.kernel_init)
        kernel = self.param("kernel", kernel_init, shape, jnp.float32)
        # Places come first, so that there is one matrix product for each: on CPUs many
        # times quicker than `jax.lax.conv_general_dilated_local`.
        padded = jnp.pad(x.transpose(1, 2, 0, 3), (*pads, (0, 0), (0, 0)))
        down, across = (stride * (count - 1) + 1 for count in counts)
        seen = [
            padded[i : i + max(down, 0) : stride, j : j + max(across, 0) : stride]
            for i in range(size)
            for j in range(size)
        ]
        y = jnp.einsum("pqbk,pqkf->bpqf", jnp.concatenate(seen, axis=-1), kernel)
        if not self.use_bias:
            return y
        places = (*counts, self.features)
        return y + self.param("bias", self.bias_init, places, jnp.float32)[None]

    @nn.nowrap
    def scheme_inits(
        self, kernel_shape: tuple[int, ...]
    ) -> tuple[Initializer, Initializer]:
        """Returns what the scheme draws the kernels and the biases by."""
        kernel_init, bias_init = super().scheme_inits(self._one_place(kernel_shape))
        return self._by_place(kernel_init), bias_init

    @nn.nowrap
    def _one_place(self, kernel_shape: tuple[int, ...]) -> tuple[int, ...]:
        inputs, features = kernel_shape[-2:]
        size = self.kernel_size
        return size, size, inputs // size**2, features

    @nn.nowrap
    def _by_place(self, kernel_init: Callable) -> Initializer:
        def draw(key: jax.Array, shape: tuple[int, ...], dtype: type) -> jax.Array:
            keys = jax.random.split(key, math.prod(shape[:2]))
            place = self._one_place(shape)
            drawn = jax.vmap(lambda key: kernel_init(key, place, dtype))(keys)
            return drawn.reshape(shape)

        return draw


class PlaceBias(nn.Module):
    """Adds a bias of its own to each unit: `bias` `(H, W, C) float32`.

    After a convolution with `use_bias=False` it is one with biases that places do not
    share.

    Attributes:
      bias_init: What draws the biases.

    Source: cuda-convnet `sharedBiases=false`.
    """

    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to the same shape."""
        bias = self.param("bias", self.bias_init, x.shape[1:], jnp.float32)
        return x + bias[None]
