"""Layers whose weights are not shared between the places of a map."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import explicit_padding
from alexnet_jax.layers.initializers import Initialized, Scheme


class LocallyConnected(Initialized):
    """A convolution with a kernel of its own at each place.

    Parameters are `kernel`, `(H', W', size * size * C, features)`, whose third axis
    counts rows, columns and channels of the window, channels fastest, and `bias`,
    `(H', W', features)`.

    Attributes:
      features: Output maps.
      size: Height and width of the window.
      strides: In pixels.
      padding: Zeros on each side, `CEIL`, or `ceil_pad`'s for both.
      use_bias: Whether there are biases.
      kernel_init: Draws the kernel of a place, `(size, size, C, features)`, without a
        scheme.
      bias_init: Draws the biases, likewise.

    Raises:
      InputError: The images are smaller than the window.

    Source: cuda-convnet `local`.
    """

    features: int
    size: int
    strides: int = 1
    padding: int | str = 0
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, H', W', features)`."""
        window, strides = (self.size, self.size), (self.strides, self.strides)
        edges = explicit_padding(self.padding, x.shape[1:3], window, strides)
        if isinstance(edges, int):
            edges = ((edges, edges), (edges, edges))
        rows, columns = (
            max((length + sum(edge) - self.size) // self.strides + 1, 0)
            for length, edge in zip(x.shape[1:3], edges, strict=True)
        )
        channels = x.shape[-1]
        inputs = self.size * self.size * channels
        if not rows * columns:
            raise InputError(
                f"{self.name}: images must be at least {self.size}×{self.size} with "
                f"their padding; got {x.shape[1]}×{x.shape[2]}"
            )
        shape = rows, columns, inputs, self.features
        draw = self._at_each_place(self.kernel_init)
        kernel = self.param("kernel", draw, shape, jnp.float32)
        patches = self._patches(x, edges, rows, columns)
        y = jnp.einsum("bhwk,hwkf->bhwf", patches, kernel)
        if self.use_bias:
            shape_of_bias = rows, columns, self.features
            bias = self.param("bias", self.bias_init, shape_of_bias, jnp.float32)
            y = y + bias[None]
        return y

    @nn.nowrap
    def drawn_by(
        self, scheme: Scheme, kernel_shape: tuple[int, ...]
    ) -> tuple[Initializer, Initializer]:
        """Returns what draws each place's kernel as a convolution's."""
        kernel_init, bias_init = scheme(self.name, self._one_place(kernel_shape))
        return self._at_each_place(kernel_init), bias_init

    @nn.nowrap
    def _one_place(self, kernel_shape: tuple[int, ...]) -> tuple[int, ...]:
        *_, inputs, features = kernel_shape
        return self.size, self.size, inputs // self.size**2, features

    @nn.nowrap
    def _at_each_place(self, init: Initializer) -> Initializer:
        def draw(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
            rows, columns, inputs, features = shape
            one = self._one_place(shape)
            keys = jax.random.split(key, rows * columns)
            kernels = jax.vmap(lambda key: init(key, one, dtype))(keys)
            return kernels.reshape((rows, columns, inputs, features))

        return draw

    @nn.nowrap
    def _patches(self, x: jax.Array, edges: Any, rows: int, columns: int) -> jax.Array:
        """Returns what each place sees, `(B, H', W', size * size * C)`."""
        padded = jnp.pad(x, ((0, 0), *edges, (0, 0)))
        step = self.strides
        parts = [
            padded[
                :,
                row : row + step * (rows - 1) + 1 : step,
                column : column + step * (columns - 1) + 1 : step,
            ]
            for row in range(self.size)
            for column in range(self.size)
        ]
        return jnp.concatenate(parts, axis=-1)


class PlaceBias(nn.Module):
    """Biases that are not shared between places: a parameter `bias`, `(H, W, C)`.

    Attributes:
      bias_init: Draws them.

    Source: cuda-convnet `sharedBiases=0`.
    """

    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to the same shape."""
        return x + self.param("bias", self.bias_init, x.shape[1:], jnp.float32)[None]
