"""Convolution: linen's, with `CEIL` padding."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.cpu import Padding
from alexnet_jax.layers.cpu.convolution import conv_general_dilated
from alexnet_jax.layers.initializers import Initialized

CEIL = "CEIL"  # cuda-convnet's padding: zeros after the end, where windows need them


def ceil_pad(size: int) -> str:
    """Returns `CEIL` padding with zeros on each side besides.

    Args:
      size: How many; of height and width alike.
    """
    return f"{CEIL}+{size}"


def ceil_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Returns what to add before and after, so that windows cover all of an axis.

    The count of windows is rounded up: 1 + ceil((size - window) / stride). For a
    224-pixel axis, 11-pixel windows and stride 4 that is `(0, 3)`, and 55 windows.

    Source: cuda-convnet `layer.py`, pooling and convolution alike; Caffe's pooling.
    """
    count = 1 - (size - window) // -stride
    return 0, (count - 1) * stride + window - size


def convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: tuple[int, int],
    padding: str | Padding,
    **settings: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` with `CEIL` padding.

    Args:
      lhs: `(B, H, W, C)`.
      rhs: `(h, w, C / groups, features)`.
      window_strides: Of height and width, in pixels.
      padding: As `jax.lax` takes it, `CEIL` or `ceil_pad`'s.
      **settings: The rest of `conv_general_dilated`'s arguments.
    """
    padding = explicit_padding(padding, lhs.shape[1:-1], rhs.shape[:-2], window_strides)
    return conv_general_dilated(lhs, rhs, window_strides, padding, **settings)


def explicit_padding(
    padding: Any,
    sizes: Sequence[int],
    windows: Sequence[int],
    strides: Sequence[int],
) -> Any:
    """Returns `CEIL` padding as what it adds before and after; any other as it is.

    Args:
      padding: As `convolution` takes it.
      sizes: Of the input, for each axis of a map.
      windows: Of the kernel, likewise.
      strides: Likewise.
    """
    if not is_ceil(padding):
        return padding
    pad = int(padding[len(CEIL) :] or 0)
    edges = []
    for size, *rest in zip(sizes, windows, strides, strict=True):
        before, after = ceil_padding(size + 2 * pad, *rest)
        edges.append((before + pad, after + pad))
    return tuple(edges)


def is_ceil(padding: Any) -> bool:
    """Whether padding is `CEIL`, or that with more zeros on each side."""
    return isinstance(padding, str) and padding.startswith(CEIL)


class Conv(Initialized, nn.Conv):
    """`nn.Conv` with `CEIL` padding and named schemes, quick on a CPU.

    The kernel has linen's shape, `(h, w, C / groups, features)`, and its groups'
    order.

    Raises:
      InputError: `feature_group_count` does not divide the channels.
    """

    conv_general_dilated: Any = field(default_factory=lambda: convolution)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, H', W', features)`."""
        groups = self.feature_group_count
        for what, channels in (("input", x.shape[-1]), ("output", self.features)):
            if groups < 1 or channels % groups:
                raise InputError(
                    f"{self.name}: {what} channels must be a multiple of its {groups} "
                    f"groups; got {channels}"
                )
        return super().__call__(x)
