"""Convolution: linen's, with `CEIL` padding."""

import re
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
_CEIL_PADDING = re.compile(rf"{CEIL}(?:\+(\d+))?")


def ceil_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Returns what to add before and after, so that windows cover all of an axis.

    The count of windows is rounded up: 1 + ceil((size - window) / stride). For a
    224-pixel axis, 11-pixel windows and stride 4 that is `(0, 3)`, and 55 windows.

    Source: cuda-convnet `layer.py`, pooling and convolution alike; Caffe's pooling.
    """
    count = 1 - (size - window) // -stride
    return 0, (count - 1) * stride + window - size


def ceil_pad(before: int) -> str:
    """Returns the padding of so many zeros on each side, then as `CEIL` has it.

    The count of windows is 1 + ceil((size + 2 · before - window) / stride): zeros after
    the end are added where the last one needs more.

    Source: cuda-convnet `layer.py`, convolutions with `padding`.
    """
    return f"{CEIL}+{before}" if before else CEIL


def zeros_before_ceil(padding: Any) -> int | None:
    """Returns what `ceil_pad` was given; None if it is another padding."""
    if isinstance(padding, str) and (known := _CEIL_PADDING.fullmatch(padding)):
        return int(known[1] or 0)
    return None


def explicit_padding(
    padding: Any, sizes: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> Any:
    """Returns `CEIL` and `ceil_pad` in zeros before and after; others as they are.

    Args:
      padding: As a convolution has it.
      sizes: Height and width, in pixels.
      window: The kernel's.
      strides: Of both.
    """
    before = zeros_before_ceil(padding)
    if before is None:
        return padding
    pads = []
    for size, *axis in zip(sizes, window, strides, strict=True):
        overhang = ceil_padding(size + 2 * before, *axis)[1]
        pads.append((before, before + overhang))
    return tuple(pads)


def convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: tuple[int, int],
    padding: str | Padding,
    **settings: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` with `CEIL` padding and `ceil_pad`'s.

    Args:
      lhs: `(B, H, W, C)`.
      rhs: `(h, w, C / groups, features)`.
      window_strides: Of height and width, in pixels.
      padding: As `jax.lax` takes it, `CEIL` or of `ceil_pad`.
      **settings: The rest of `conv_general_dilated`'s arguments.
    """
    padding = explicit_padding(padding, lhs.shape[1:-1], rhs.shape[:-2], window_strides)
    return conv_general_dilated(lhs, rhs, window_strides, padding, **settings)


class Conv(Initialized, nn.Conv):
    """`nn.Conv` with `CEIL` and `ceil_pad` padding and named schemes, quick on a CPU.

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
