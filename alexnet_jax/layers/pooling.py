"""Pooling: maxima and averages over windows of a map.

Functions, not modules, so that `layer_summary` names them as d2l does; `CeilPool` has
the windows for which there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import ceil_padding
from alexnet_jax.layers.cpu import Padding
from alexnet_jax.layers.cpu.pooling import strided_max_pool
from alexnet_jax.layers.normalization import widen


def max_pool(x: jax.Array, *, then_relu: bool = False) -> jax.Array:
    """Overlapping max-pooling: 3×3 windows at stride 2, no padding.

    Args:
      x: `(B, H, W, C)`.
      then_relu: Whether ReLU follows.

    Returns:
      `(B, (H - 3) // 2 + 1, (W - 3) // 2 + 1, C)`.

    Source: Krizhevsky et al. 2012, §3.4.
    """
    return strided_max_pool(x, 3, ((0, 0), (0, 0)), then_relu)


def max_pool_ceil(x: jax.Array, *, then_relu: bool = False) -> jax.Array:
    """Max-pooling as `max_pool`, but the last windows may hang over the end.

    Args:
      x: `(B, H, W, C)`.
      then_relu: Whether ReLU follows.

    Returns:
      `(B, ceil((H - 3) / 2) + 1, ceil((W - 3) / 2) + 1, C)`: the same as `max_pool`'s
      for odd sizes, one more for even ones.

    Source: Caffe `pooling_layer.cpp`; cuda-convnet `layer.py`.
    """
    return strided_max_pool(x, 3, _overhang(x, 3), then_relu)


def max_pool_2x2(x: jax.Array, *, then_relu: bool = False) -> jax.Array:
    """Max-pooling whose windows do not overlap: 2×2 at stride 2, the last over the end.

    Args:
      x: `(B, H, W, C)`.
      then_relu: Whether ReLU follows.

    Returns:
      `(B, ceil(H / 2), ceil(W / 2), C)`.

    Source: cuda-convnet layers-147.cfg, `layer.py`.
    """
    return strided_max_pool(x, 2, _overhang(x, 2), then_relu)


MAX_POOLS = (max_pool, max_pool_ceil, max_pool_2x2)


def _overhang(x: jax.Array, window: int) -> Padding:
    return tuple(ceil_padding(size, window, 2) for size in x.shape[1:3])


def avg_pool_3x3(x: jax.Array) -> jax.Array:
    """Average pooling over `max_pool_ceil`'s windows; beyond the end nothing counts.

    Args:
      x: `(B, H, W, C)`.

    Returns:
      `(B, ceil((H - 3) / 2) + 1, ceil((W - 3) / 2) + 1, C)`, of the input's dtype.
    """
    return _mean_inside(x, 3, 2, _overhang(x, 3))


def _mean_inside(x: jax.Array, size: int, stride: int, padding: Padding) -> jax.Array:
    """Returns averages over what windows have of the image."""
    window, strides = (1, size, size, 1), (1, stride, stride, 1)

    def total(x: jax.Array) -> jax.Array:
        zero, edges = np.zeros((), x.dtype), ((0, 0), *padding, (0, 0))
        return lax.reduce_window(x, zero, lax.add, window, strides, edges)

    wide = widen(x)
    mean = total(wide) / total(jnp.ones((1, *x.shape[1:3], 1), wide.dtype))
    return mean.astype(x.dtype)


def avg_pool(x: jax.Array) -> jax.Array:
    """Average pooling: 2×2 windows at stride 2. `(B, H, W, C)` → `(B, H/2, W/2, C)`."""
    # `nn.avg_pool` divides by an integer, which strict promotion refuses.
    wide = widen(x)
    total = nn.pooling.pool(wide, 0.0, jax.lax.add, (2, 2), (2, 2), padding="VALID")
    return (total / 4.0).astype(x.dtype)


def adaptive_avg_pool(x: jax.Array) -> jax.Array:
    """Averages maps of any size into 6×6 cells; below 6 pixels cells repeat.

    Cell i of 6 covers rows floor(i·H/6) to ceil((i+1)·H/6) - 1; neighbors may share
    rows. At 6×6 it does nothing.

    Args:
      x: `(B, H, W, C)`, H and W at least 1.

    Returns:
      `(B, 6, 6, C)`, of the input's dtype.

    Source: PyTorch `AdaptiveAvgPool2d`.
    """
    y = widen(x)
    for axis in (1, 2):
        size = x.shape[axis]
        if size in (0, 6):  # no pixels: `layer_shapes` raises the error
            continue
        shares = jnp.asarray(cell_shares(size, 6), y.dtype)
        mean = jnp.tensordot(shares, y, (1, axis), precision=lax.Precision.HIGHEST)
        y = jnp.moveaxis(mean, 0, axis)
    return y if y.dtype == x.dtype else y.astype(x.dtype)


def cell_shares(size: int, cells: int) -> np.ndarray:
    """Returns what each pixel adds to the average of each cell, PyTorch's.

    Args:
      size: Pixels of an axis.
      cells: Those that it is averaged into.

    Returns:
      `(cells, size) float32`, rows sum to 1.
    """
    shares = np.zeros((cells, size), np.float32)
    for cell, row in enumerate(shares):
        row[cell * size // cells : -(-(cell + 1) * size // cells)] = 1.0
    return shares / shares.sum(1, keepdims=True)


@dataclass(frozen=True)
class CeilPool:
    """Pooling over windows of any size, the last of which may hang over the end.

    What lies beyond the image is no maximum and counts in no average. `ceil_pool` gives
    the function that does the same where there is one.

    Attributes:
      kind: `max` or `avg`. Of equal maxima the first gets the gradient.
      size: Height and width of the windows.
      stride: From one to the next, at most `size`.
      start: Where the first begins, 0 or less: `-start` pixels before the image.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `layer.py`, `pool`.
    """

    kind: str
    size: int
    stride: int
    start: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.kind not in ("max", "avg"):
            raise InputError(f"kind must be one of ('max', 'avg'); got {self.kind!r}")
        if self.size < 1:
            raise InputError(f"size must be at least 1; got {self.size}")
        if not 1 <= self.stride <= self.size:
            raise InputError(
                f"stride must be from 1 to the size, {self.size}; got {self.stride}"
            )
        if not -self.size < self.start <= 0:
            raise InputError(
                f"start must be from {1 - self.size} to 0, so that every window sees "
                f"the image; got {self.start}"
            )

    def padding(self, size: tuple[int, ...]) -> Padding:
        """Returns what windows see before and after an image's height and width."""
        before = -self.start
        return tuple(
            (before, ceil_padding(length + before, self.size, self.stride)[1])
            for length in size
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, H', W', C)`.

        H' is `ceil((H - start - size) / stride) + 1`, W' likewise.
        """
        padding = self.padding(x.shape[1:3])
        if self.kind == "avg":
            return _mean_inside(x, self.size, self.stride, padding)
        if self.size > _LARGEST:
            window, strides = (self.size,) * 2, (self.stride,) * 2
            return nn.max_pool(x, window, strides, padding)
        return strided_max_pool(x, self.size, padding, stride=self.stride)


_LARGEST = 11  # the largest window whose places a byte can number
_FUNCTIONS: dict[tuple[str, int, int, int], Callable] = {
    ("max", 3, 2, 0): max_pool_ceil,
    ("max", 2, 2, 0): max_pool_2x2,
    ("avg", 3, 2, 0): avg_pool_3x3,
}


def ceil_pool(kind: str, size: int, stride: int, start: int = 0) -> Callable:
    """Returns `CeilPool` of the same, or the function here that computes it.

    Raises:
      InputError: A value is out of range.
    """
    made = CeilPool(kind, size, stride, start)
    return _FUNCTIONS.get((kind, size, stride, start), made)
