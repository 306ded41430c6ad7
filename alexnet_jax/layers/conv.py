"""Convolution: linen's, with `CEIL` padding."""

from dataclasses import field
from typing import Any

import flax.linen as nn
import jax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.cpu import Padding
from alexnet_jax.layers.cpu.convolution import conv_general_dilated
from alexnet_jax.layers.initializers import Initialized

CEIL = "CEIL"  # cuda-convnet's padding: zeros after the end, where windows need them


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
      padding: As `jax.lax` takes it, or `CEIL`.
      **settings: The rest of `conv_general_dilated`'s arguments.
    """
    if padding == CEIL:
        padding = tuple(
            ceil_padding(*axis)
            for axis in zip(
                lhs.shape[1:-1], rhs.shape[:-2], window_strides, strict=True
            )
        )
    return conv_general_dilated(lhs, rhs, window_strides, padding, **settings)


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
