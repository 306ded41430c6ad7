"""Winograd's algorithm for convolutions: fewer multiplications, as matrix products."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.layers.cpu import Padding
from alexnet_jax.layers.cpu.gradient import with_gradient
from alexnet_jax.layers.cpu.opaque import opaque, pullback

# Where polynomials are evaluated, besides infinity, for a tile of one more place than
# points. Found by search: of sets in steps of 1/16, those that round float32 least.
_POINTS = {
    4: (0, 1, -1),
    5: (0, 1 / 2, -1, 3 / 2),
    6: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2),
    7: (0, 7 / 16, -13 / 16, 1, -23 / 16, 33 / 16),
    8: (0, 1 / 2, -1 / 2, 1, -1, 2, -2),
}
# Held at a time between two products, in bytes. Parts of a batch cost a little time.
_WORKSPACE = 200_000_000
# With fewer the products are too thin to win.
_LEAST_CHANNELS = 16


def is_profitable(x: jax.Array, kernel: jax.Array, padding: Padding) -> bool:
    """Whether `winograd` can do a convolution, and is the quicker one."""
    padded = (n + sum(edge) for n, edge in zip(x.shape[1:3], padding, strict=True))
    return (
        kernel.shape[0] in (3, 5)
        and min(kernel.shape[2:]) >= _LEAST_CHANNELS
        and min(padded) >= kernel.shape[0]
    )


def winograd(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """A convolution at stride 1, by tiles.

    Tiles, kernels and outputs are transformed by matrix products; between them each
    place of a tile meets that of a kernel in a product over the channels. For 4×4
    outputs of a 3×3 kernel that is 36 multiplications instead of 144, of a 5×5 kernel
    64 instead of 400. The gradient takes the same steps in reverse; where a batch is
    processed in parts, it cuts the tiles again.

    It rounds more than XLA's form (docs/performance.md has a table), and NaN or
    infinity in a pixel reaches all outputs of its tiles, not of its windows alone.

    In place of XLA's own for d2l's five layers, a training step of 128 images takes
    2.4 to 2.9 s instead of 7.2 on two cores.

    Args:
      x: `(B, H, W, C) float32`.
      kernel: `(k, k, C, F) float32`, k 3 or 5.
      padding: Before and after height and width, in pixels.

    Returns:
      `(B, H', W', F) float32`, H' = H + padding - k + 1.

    Source: Lavin and Gray 2016, after Winograd 1980, Toom 1963 and Cook 1966.
    """
    size, batch = kernel.shape[0], x.shape[0]
    outputs = _outputs(x, size, padding)
    step = _best_step(outputs, size)
    _, of_kernel, _ = _transforms(step, size)
    values = jnp.matmul(of_kernel, kernel.reshape(size**2, -1))
    values = values.reshape(-1, *kernel.shape[2:])
    places = len(values) * math.prod(-(-count // step) for count in outputs)
    parts = _parts(batch, 4 * places * max(kernel.shape[2:]))
    if parts == 1:
        return _convolve(x, values, size, padding)
    images = -(-batch // parts)
    pieces = [x[first : first + images] for first in range(0, batch, images)]
    return jnp.concatenate([_part(piece, values, size, padding) for piece in pieces])


def _part(x: jax.Array, values: jax.Array, size: int, padding: Padding) -> jax.Array:
    """`_convolve`, which keeps only its arguments for the gradient.

    An opaque call, so that the workspace of one part is free before the next begins. A
    loop would start from zeros and run everything but products on one core: a step is 2
    to 5 % quicker without, and d2l's plan 0.07 GB smaller.
    """
    convolve = partial(_convolve, size=size, padding=padding)

    def forward(*args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        return opaque(convolve)(*args), args

    def backward(kept: tuple[jax.Array, ...], gradient: jax.Array) -> Any:
        return opaque(pullback(convolve))(*kept, gradient)

    return with_gradient(opaque(convolve), forward, backward)(x, values)


def _convolve(
    x: jax.Array, values: jax.Array, size: int, padding: Padding
) -> jax.Array:
    """Returns the outputs.

    Args:
      x: `(B, H, W, C)`.
      values: `(n², C, F)`, the transformed kernel's.
      size: Of the kernel.
      padding: As `winograd` takes it.
    """
    outputs = _outputs(x, size, padding)
    step = _best_step(outputs, size)
    tile, _, output = _transforms(step, size)
    tiles, images, down, across = _cut_tiles(_pad(x, (0, 0), *padding), step, size)
    tiles = jnp.matmul(tile, tiles).reshape(len(tile), -1, x.shape[-1])
    products = lax.dot_general(tiles, values, (((2,), (1,)), ((0,), (0,))))
    y = jnp.matmul(output, products.reshape(len(tile), -1))
    y = y.reshape(step, step, images, down, across, values.shape[-1])
    y = y.transpose(2, 3, 0, 4, 1, 5)
    y = y.reshape(images, step * down, step * across, values.shape[-1])
    return y[:, : outputs[0], : outputs[1]]


def _outputs(x: jax.Array, size: int, padding: Padding) -> list[int]:
    """Returns the height and width of what comes out."""
    lengths = zip(x.shape[1:3], padding, strict=True)
    return [length + sum(edge) - size + 1 for length, edge in lengths]


def _parts(batch: int, bytes_each: int) -> int:
    """Returns in how many parts a batch fits the workspace, an image at least each."""
    return max(-(-batch // max(_WORKSPACE // bytes_each, 1)), 1)


def _best_step(outputs: Sequence[int], size: int) -> int:
    """Returns the distance of tiles that needs the fewest multiplications.

    Args:
      outputs: Their height and width.
      size: Of the kernel.
    """

    def multiplications(step: int) -> int:
        return math.prod(-(-count // step) * (step + size - 1) for count in outputs)

    # A tile spans two steps at most.
    return min(range(size - 1, max(_POINTS) + 2 - size), key=multiplications)


def _transforms(step: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns those of tiles, kernels and outputs, for both axes at once.

    n values of a polynomial determine its n coefficients; so a product of two
    polynomials is one of their values, `E_n⁻¹ (E_m a · E_k b)`, where `E_i` evaluates i
    coefficients at n points. Correlation with b is the transpose of that in a.

    Args:
      step: Outputs of a tile on an axis, m.
      size: Of the kernel, k.

    Returns:
      `(n², n²)`, `(n², k²)` and `(m², n²) float32`, for m outputs and n = m + k - 1.
    """
    points = np.array(_POINTS[step + size - 1], np.float64)

    def evaluate(count: int) -> np.ndarray:
        at_infinity = np.eye(count)[-1:]
        return np.concatenate([np.vander(points, count, increasing=True), at_infinity])

    def both_axes(matrix: np.ndarray) -> np.ndarray:
        return np.kron(matrix, matrix).astype(np.float32)

    tile = np.linalg.inv(evaluate(len(points) + 1)).T
    return both_axes(tile), both_axes(evaluate(size)), both_axes(evaluate(step).T)


def _cut_tiles(x: jax.Array, step: int, size: int) -> tuple[jax.Array, int, int, int]:
    """Cuts overlapping tiles; returns a row for each place in a tile.

    The image is first cut in blocks of a step, of which a tile spans two each way: so
    the gradient adds few large pieces up, not one for each place.

    Args:
      x: `(B, H, W, C)`, padded.
      step: From tile to tile.
      size: Of the kernel.

    Returns:
      `(tile², B · down · across · C)`; then B, and how many tiles there are down and
      across.
    """
    batch, height, width, channels = x.shape
    down, across = (-(-(length - size + 1) // step) for length in (height, width))
    blocks = down + 1, across + 1
    below, right = step * blocks[0] - height, step * blocks[1] - width
    x = _pad(x, (0, 0), (0, below), (0, right))
    x = x.reshape(batch, blocks[0], step, blocks[1], step, channels)
    x = x.transpose(2, 4, 0, 1, 3, 5)
    more = size - 1  # of a tile, in its second block
    x = jnp.concatenate([x[:, :, :, :-1], x[:more, :, :, 1:]], axis=0)
    x = jnp.concatenate([x[:, :, :, :, :-1], x[:, :more, :, :, 1:]], axis=1)
    return x.reshape((step + more) ** 2, -1), batch, down, across


def _pad(x: jax.Array, *edges: tuple[int, int]) -> jax.Array:
    """Adds zeros before and after the first axes."""
    rest = [(0, 0)] * (x.ndim - len(edges))
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, [(*edge, 0) for edge in (*edges, *rest)])
