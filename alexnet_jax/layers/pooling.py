"""Pooling: maxima and averages over windows of a map."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.layers.conv import ceil_padding
from alexnet_jax.layers.cpu.opaque import opaque, pullback
from alexnet_jax.layers.cpu.winograd import Padding


def max_pool(x: jax.Array) -> jax.Array:
    """Overlapping max-pooling: 3×3 windows at stride 2, no padding.

    Args:
      x: `(B, H, W, C)`.

    Returns:
      `(B, (H - 3) // 2 + 1, (W - 3) // 2 + 1, C)`.

    Source: Krizhevsky et al. 2012, §3.4.
    """
    return _max_pool(x, 3, ((0, 0), (0, 0)))


def max_pool_ceil(x: jax.Array) -> jax.Array:
    """Max-pooling as `max_pool`, but the last windows may hang over the end.

    Args:
      x: `(B, H, W, C)`.

    Returns:
      `(B, ceil((H - 3) / 2) + 1, ceil((W - 3) / 2) + 1, C)`: the same as `max_pool`'s
      for odd sizes, one more for even ones.

    Source: Caffe `pooling_layer.cpp`; cuda-convnet `layer.py`.
    """
    return _max_pool(x, 3, _overhang(x, 3))


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Max-pooling whose windows do not overlap: 2×2 at stride 2, the last over the end.

    Args:
      x: `(B, H, W, C)`.

    Returns:
      `(B, ceil(H / 2), ceil(W / 2), C)`.

    Source: cuda-convnet layers-147.cfg, `layer.py`.
    """
    return _max_pool(x, 2, _overhang(x, 2))


MAX_POOLS = (max_pool, max_pool_ceil, max_pool_2x2)


def max_pool_of_relu(x: jax.Array, pool: Callable) -> jax.Array:
    """`pool(nn.relu(x))` for one of `MAX_POOLS`; on a CPU `relu(pool(x))`.

    The two are the same, and so are their gradients; but ReLU's gradient then looks at
    the pooled maps, a quarter of the units, and those of before need not stay.

    Args:
      x: `(B, H, W, C)`.
      pool: A function of `MAX_POOLS`.
    """
    return lax.platform_dependent(
        x, cpu=lambda x: nn.relu(pool(x)), default=lambda x: pool(nn.relu(x))
    )


def _overhang(x: jax.Array, window: int) -> Padding:
    return tuple(ceil_padding(size, window, 2) for size in x.shape[1:3])


def _plain_max_pool(x: jax.Array, window: int, padding: Padding) -> jax.Array:
    return nn.max_pool(x, (window, window), strides=(2, 2), padding=padding)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x: jax.Array, window: int, padding: Padding) -> jax.Array:
    """`_plain_max_pool`, whose gradient on a CPU is quick and wants little.

    XLA's puts back one unit at a time. Here all windows at once look through their nine
    places, and the first that has the maximum has the gradient, as with XLA: a quarter
    of the time on two cores. They do so on the way forward, so that only its number
    has to stay, a byte a window, and not `x`: 0.07 GB less of d2l's step, 0.14 of
    torchvision's. Places are compared with each other, never with the output: XLA may
    compute `x` a second time, to other last bits.
    """
    return _plain_max_pool(x, window, padding)


def _pool_forward(
    x: jax.Array, window: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = _plain_max_pool(x, window, padding)
    first = lax.platform_dependent(
        x,
        cpu=opaque(partial(_argmax, window=window, padding=padding)),
        default=lambda x: jnp.zeros(y.shape, jnp.int8),
    )
    return y, (x, first)  # XLA drops the one that its platform does not want


def _pool_backward(
    window: int,
    padding: Padding,
    kept: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array]:
    def by_xla(x: jax.Array, first: jax.Array, gradient: jax.Array) -> jax.Array:
        pool = partial(_plain_max_pool, window=window, padding=padding)
        return pullback(pool)(x, gradient)[0]

    def by_places(x: jax.Array, first: jax.Array, gradient: jax.Array) -> jax.Array:
        put_back = partial(_unpool, size=x.shape[1:3], window=window, padding=padding)
        return opaque(put_back)(first, gradient)

    return (lax.platform_dependent(*kept, gradient, cpu=by_places, default=by_xla),)


_max_pool.defvjp(_pool_forward, _pool_backward)


def _argmax(x: jax.Array, window: int, padding: Padding) -> jax.Array:
    """Returns the number of the first place with a window's maximum, `int8`."""
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    extended = lax.pad(x, lowest, [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)])
    batch, height, width, channels = extended.shape
    rows, columns = ((size - window) // 2 for size in (height, width))
    shape = batch, rows + 1, columns + 1, channels
    largest, first = jnp.full(shape, lowest), jnp.zeros(shape, jnp.int8)
    for number, (i, j) in enumerate(_places(window)):
        limits = batch, i + 2 * rows + 1, j + 2 * columns + 1, channels
        place = lax.slice(extended, (0, i, j, 0), limits, (1, 2, 2, 1))
        first = jnp.where(place > largest, jnp.int8(number), first)
        largest = jnp.maximum(place, largest)
    return first


def _unpool(
    first: jax.Array,
    gradient: jax.Array,
    size: tuple[int, ...],
    window: int,
    padding: Padding,
) -> jax.Array:
    """Returns the gradient by the input, of so many rows and columns."""
    zero = jnp.zeros((), gradient.dtype)
    lengths = [length + sum(edges) for length, edges in zip(size, padding, strict=True)]
    spans = [2 * count - 1 for count in gradient.shape[1:3]]
    total: Any = zero
    for number, corner in enumerate(_places(window)):
        edges = [
            (start, length - start - span, 1)
            for start, length, span in zip(corner, lengths, spans, strict=True)
        ]
        here = jnp.where(first == number, gradient, zero)
        total += lax.pad(here, zero, [(0, 0, 0), *edges, (0, 0, 0)])
    (top, _), (left, _) = padding
    return total[:, top : top + size[0], left : left + size[1]]


def _places(window: int) -> Iterator[tuple[int, ...]]:
    """The rows and columns of a window, in the order in which XLA looks at them."""
    return itertools.product(range(window), repeat=2)


def avg_pool_3x3(x: jax.Array) -> jax.Array:
    """Average pooling over `max_pool_ceil`'s windows; beyond the end nothing counts.

    Args:
      x: `(B, H, W, C)`.

    Returns:
      `(B, ceil((H - 3) / 2) + 1, ceil((W - 3) / 2) + 1, C)`.
    """

    def total(x: jax.Array) -> jax.Array:
        zero, edges = np.zeros((), x.dtype), ((0, 0), *_overhang(x, 3), (0, 0))
        return lax.reduce_window(x, zero, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), edges)

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def avg_pool(x: jax.Array) -> jax.Array:
    """Average pooling: 2×2 windows at stride 2. `(B, H, W, C)` → `(B, H/2, W/2, C)`."""
    # `nn.avg_pool` divides by an integer, which strict promotion refuses.
    total = nn.pooling.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), padding="VALID")
    return total / 4.0


def adaptive_avg_pool(x: jax.Array) -> jax.Array:
    """Averages into 6×6 cells whatever the size; below 6 pixels cells repeat.

    Cell i of 6 covers rows floor(i·H/6) to ceil((i+1)·H/6) - 1; neighbours may share
    rows. At 6×6 it does nothing.

    Args:
      x: `(B, H, W, C)`, H and W at least 1.

    Returns:
      `(B, 6, 6, C)`.

    Source: PyTorch `AdaptiveAvgPool2d`.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        if size in (0, 6):  # of nothing, nothing: `layer_shapes` says so
            continue
        cells = np.zeros((6, size), np.float32)
        for cell, row in enumerate(cells):
            row[cell * size // 6 : -(-(cell + 1) * size // 6)] = 1.0
        shares = jnp.asarray(cells / cells.sum(1, keepdims=True), x.dtype)
        mean = jnp.tensordot(shares, x, (1, axis), precision=lax.Precision.HIGHEST)
        x = jnp.moveaxis(mean, 0, axis)
    return x
