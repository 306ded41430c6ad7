"""Convolution, quicker than XLA's own forward and backward.

On CPUs three rules turn it into large matrix products (docs/performance.md has the
figures):

* A layer with groups is one convolution a group.
* A strided one is a dense one over blocks of pixels (`space_to_depth`).
* A dense one of 3×3 or 5×5 in float32 uses Winograd's algorithm (`winograd`), with a
  quarter or a sixth of the multiplications. It agrees with XLA's to about 1e-5 of
  the largest value. `jax.default_matmul_precision("highest")` turns it off,
  `switch.plain_forms` all three.

On NVIDIA GPUs the second holds for images: cuDNN's matrix units want channels by eight,
and of one or three it would make one or three of eight.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers.cpu import Padding
from alexnet_jax.layers.cpu.switch import by_platform, takes_plain_forms
from alexnet_jax.layers.cpu.winograd import is_profitable, winograd

_FEW_CHANNELS = 8  # fewer waste cuDNN's matrix units


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: tuple[int, int],
    padding: str | Padding,
    feature_group_count: int = 1,
    **settings: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, quick on CPUs and on NVIDIA GPUs.

    Args:
      lhs: `(B, H, W, C)`.
      rhs: `(h, w, C / groups, features)`.
      window_strides: Of height and width, in pixels.
      padding: As `jax.lax` takes it.
      feature_group_count: Groups of channels that see only each other.
      **settings: The rest of `conv_general_dilated`'s arguments.
    """

    def by_xla(lhs: jax.Array, rhs: jax.Array, groups: int) -> jax.Array:
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, feature_group_count=groups, **settings
        )

    def over_blocks(lhs: jax.Array, rhs: jax.Array) -> Any:
        pads: Any = padding
        if isinstance(padding, str):
            sizes = lhs.shape[1:3], rhs.shape[:2], window_strides
            pads = lax.padtype_to_pads(*sizes, padding)
        return space_to_depth(lhs, rhs, window_strides[0], pads)

    def one_group(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        has_blocks = _has_blocks(rhs, window_strides, **settings)
        if has_blocks and _may_round(lhs, rhs, **settings):
            dense = over_blocks(lhs, rhs)
            if is_profitable(*dense):
                return winograd(*dense)
        return by_xla(lhs, rhs, 1)

    def on_cuda(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        few = feature_group_count == 1 and lhs.shape[-1] < _FEW_CHANNELS
        has_blocks = _has_blocks(rhs, window_strides, **settings)
        if few and has_blocks and window_strides[0] > 1:
            image, kernel, pads = over_blocks(lhs, rhs)
            return lax.conv_general_dilated(image, kernel, (1, 1), pads, **settings)
        return default(lhs, rhs)

    def on_cpu(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        if feature_group_count == 1:
            return one_group(lhs, rhs)
        parts = zip(
            jnp.split(lhs, feature_group_count, axis=-1),
            jnp.split(rhs, feature_group_count, axis=-1),
            strict=True,
        )
        return jnp.concatenate([one_group(*part) for part in parts], axis=-1)

    default = partial(by_xla, groups=feature_group_count)
    if takes_plain_forms() or not _has_images(lhs):
        return default(lhs, rhs)
    return by_platform(lhs, rhs, cpu=on_cpu, cuda=on_cuda, default=default)


def _has_images(x: jax.Array) -> bool:
    """Whether it is images, one at least, of sizes that are numbers when traced."""
    return x.ndim == 4 and all(isinstance(n, int) and n > 0 for n in x.shape)


def _has_blocks(
    kernel: jax.Array,
    strides: tuple[int, int],
    lhs_dilation: tuple[int, int] = (1, 1),
    rhs_dilation: tuple[int, int] = (1, 1),
    **_: Any,
) -> bool:
    """Whether it is square and undilated, as `space_to_depth` takes it."""
    return (
        kernel.shape[0] == kernel.shape[1]
        and strides[0] == strides[1]
        and (*lhs_dilation, *rhs_dilation) == (1, 1, 1, 1)
    )


def _may_round(
    lhs: jax.Array,
    rhs: jax.Array,
    precision: Any = None,
    preferred_element_type: Any = None,
    **_: Any,
) -> bool:
    """Whether it is float32, with its rounding left to us."""
    asked = precision or getattr(jax.config, "jax_default_matmul_precision", None)
    return (
        lhs.dtype == rhs.dtype == jnp.float32
        and preferred_element_type is None
        and asked in (None, "default", lax.Precision.DEFAULT)
    )


def space_to_depth(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, jax.Array, Padding]:
    """Returns image, kernel and padding of the same convolution at stride 1.

    Every `stride` × `stride` block of pixels becomes one pixel of as many more
    channels: 11×11 at stride 4 over one channel is 3×3 at stride 1 over 16.

    Args:
      x: `(B, H, W, C)`.
      kernel: `(k, k, C, F)`.
      stride: Of height and width, in pixels.
      padding: Before and after height and width, in pixels.

    Returns:
      `(B, H', W', stride² C)`, `(k', k', stride² C, F)` with k' = ceil(k / stride), and
      none; at stride 1 all as they were.
    """
    if stride == 1:
        return x, kernel, padding
    batch, *size, channels = x.shape
    width = -(-kernel.shape[0] // stride)  # of the kernel, in blocks
    zero = jnp.zeros((), x.dtype)
    edges, blocks = [], []
    for length, (before, after) in zip(size, padding, strict=True):
        windows = (length + before + after - kernel.shape[0]) // stride + 1
        blocks.append(max(windows, 0) + width - 1)
        # What no window sees is cut off: the edge may be negative.
        edges.append((before, stride * blocks[-1] - length - before, 0))
    x = lax.pad(x, zero, [(0, 0, 0), *edges, (0, 0, 0)])
    more = (0, stride * width - kernel.shape[0], 0)
    kernel = lax.pad(kernel, zero, [more, more, (0, 0, 0), (0, 0, 0)])
    down, across = blocks
    x = x.reshape(batch, down, stride, across, stride, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, down, across, -1)
    kernel = kernel.reshape(width, stride, width, stride, channels, -1)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    kernel = kernel.reshape(width, width, stride**2 * channels, -1)
    return x, kernel, ((0, 0), (0, 0))
