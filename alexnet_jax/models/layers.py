"""Layers as AlexNet's frameworks had them, where linen lacks them or is slow.

Layers without parameters are plain functions where they need no settings, so that
`layer_summary` names them as d2l does.
"""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.models.convolution import ceil_padding
from alexnet_jax.models.winograd import Padding


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """`nn.relu`, whose gradient looks at the output, which the next layer keeps anyway.

    That of `nn.relu` looks at the input, so that both stay in memory. XLA sees through
    the difference, but for the barrier: on two CPU cores d2l's step is 8 % quicker
    with it, torchvision's 10 %, in 250 and 180 MB less.

    Args:
      x: `(...)`.

    Returns:
      `max(x, 0)`; the gradient at 0 is 0.
    """
    y = jnp.maximum(x, 0)
    return lax.platform_dependent(y, cpu=lax.optimization_barrier, default=lambda y: y)


relu.defjvps(lambda tangent, y, x: jnp.where(y > 0, tangent, jnp.zeros_like(tangent)))


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


def _overhang(x: jax.Array, window: int) -> Padding:
    return tuple(ceil_padding(size, window, 2) for size in x.shape[1:3])


def _plain_max_pool(x: jax.Array, window: int, padding: Padding) -> jax.Array:
    return nn.max_pool(x, (window, window), strides=(2, 2), padding=padding)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x: jax.Array, window: int, padding: Padding) -> jax.Array:
    """`_plain_max_pool`, whose gradient on a CPU is quick.

    XLA's puts back one unit at a time. Here all windows at once look through their nine
    places, and the first that has the maximum has the gradient, as with XLA: a quarter
    of the time on two cores. Places are compared with each other, never with the
    output: XLA may compute `x` a second time, to other last bits.
    """
    return _plain_max_pool(x, window, padding)


def _pool_forward(
    x: jax.Array, window: int, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    return _plain_max_pool(x, window, padding), x


def _pool_backward(
    window: int, padding: Padding, x: jax.Array, gradient: jax.Array
) -> tuple[jax.Array]:
    def by_xla(x: jax.Array, gradient: jax.Array) -> jax.Array:
        _, backward = jax.vjp(lambda x: _plain_max_pool(x, window, padding), x)
        return backward(gradient)[0]

    def by_places(x: jax.Array, gradient: jax.Array) -> jax.Array:
        (top, bottom), (left, right) = padding
        zero, lowest = (jnp.asarray(value, x.dtype) for value in (0, -jnp.inf))
        edges = ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0))
        extended = lax.pad(x, lowest, edges)
        batch, height, width, channels = extended.shape
        rows, columns = (2 * (size - 1) + 1 for size in gradient.shape[1:3])
        corners = list(itertools.product(range(window), repeat=2))
        largest = jnp.full(gradient.shape, lowest)
        first = jnp.zeros(gradient.shape, jnp.int8)
        for number, (i, j) in enumerate(corners):
            limits = (batch, i + rows, j + columns, channels)
            place = lax.slice(extended, (0, i, j, 0), limits, (1, 2, 2, 1))
            first = jnp.where(place > largest, jnp.int8(number), first)
            largest = jnp.maximum(place, largest)
        total = jnp.zeros_like(extended)
        for number, (i, j) in enumerate(corners):
            back = (
                (0, 0, 0),
                (i, height - i - rows, 1),
                (j, width - j - columns, 1),
                (0, 0, 0),
            )
            here = jnp.where(first == number, gradient, zero)
            total += lax.pad(here, zero, back)
        kept = slice(top, height - bottom), slice(left, width - right)
        return total[:, *kept]

    return (lax.platform_dependent(x, gradient, cpu=by_places, default=by_xla),)


_max_pool.defvjp(_pool_forward, _pool_backward)


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


def flatten(x: jax.Array) -> jax.Array:
    """`(B, H, W, C)` → `(B, H * W * C)`, channels fastest."""
    return x.reshape((x.shape[0], -1))


class TowerDense(nn.Module):
    """A dense layer of which each group reads its own group of maps alone.

    With one group it is `flatten` and `nn.Dense`. On two devices a tower's own half is
    a layer of one group: its kernel is half of this one's, cut along the last axis.

    Attributes:
      features: Units of all groups.
      groups: Groups that do not see each other: the towers.

    Source: cuda-convnet layers-150.cfg.
    """

    features: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, ..., C)` to `(B, features)`."""
        grouped = x.reshape((x.shape[0], -1, self.groups, x.shape[-1] // self.groups))
        _, places, groups, channels = grouped.shape
        shape = places * channels, self.features
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        by_group = kernel.reshape((places, channels, groups, self.features // groups))
        y = jnp.einsum("bpgc,pcgf->bgf", grouped, by_group)
        return y.reshape((x.shape[0], self.features)) + bias[None]


class MaskDropout(nn.Module):
    """Dropout as it was in 2012: units are dropped in training and nothing is scaled.

    At test every unit is there, times `1 - rate`; `nn.Dropout` divides by that in
    training instead. Trained with the same rates the two differ: following weights W,
    rate η and decay λ here are W/2, η/4 and 4λ there, for a rate of one half.

    Attributes:
      rate: Share of units dropped, in [0, 1).
      deterministic: Whether to test.

    Source: Krizhevsky et al. 2012, §4.2; cuda-convnet `hs` and `dropout2` layers.
    """

    rate: float
    deterministic: bool

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(...)` to the same shape."""
        if self.deterministic:
            return x * (1.0 - self.rate)
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, x.shape)
        return jnp.where(kept, x, jnp.zeros_like(x))
