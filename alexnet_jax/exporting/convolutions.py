"""A convolution's settings, with the zeros on each side in numbers."""

from typing import Any

import jax
from flax.linen.linear import canonicalize_padding

from alexnet_jax.exporting.trace import Seen
from alexnet_jax.layers.conv import convolution, explicit_padding


def conv_settings(seen: Seen) -> dict[str, Any]:
    """Returns strides, dilations and the zeros on each side.

    Raises:
      InputError: The convolution is not a plain one over height and width.
    """
    layer = seen.layer
    seen.check_maps()
    if (
        _pair(layer.input_dilation) != (1, 1)
        or layer.mask is not None
        or layer.conv_general_dilated not in (None, convolution)
        or layer.conv_general_dilated_cls is not None
        or layer.padding in ("CIRCULAR", "CAUSAL", "REFLECT")
    ):
        raise seen.refuse(
            "it must pad with zeros, and have no input_dilation, mask or "
            "conv_general_dilated"
        )
    if len(layer.kernel_size) != 2:
        raise seen.refuse(
            f"its kernel must have a height and a width; got {layer.kernel_size}"
        )
    strides, dilations = _pair(layer.strides), _pair(layer.kernel_dilation)
    window = [
        (size - 1) * dilation + 1
        for size, dilation in zip(layer.kernel_size, dilations, strict=True)
    ]
    lengths = seen.before[:2]
    padding = explicit_padding(layer.padding, lengths, window, strides)
    padding = canonicalize_padding(padding, 2)
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(lengths, window, strides, padding)
    pads = [(int(before), int(after)) for before, after in padding]
    if min(min(sides) for sides in pads) < 0:
        raise seen.refuse(f"its padding must not be negative; got {pads}")
    return {"strides": strides, "dilations": dilations, "pads": tuple(pads)}


def _pair(value: Any) -> tuple[int, int]:
    if value is None:
        return 1, 1
    return (value, value) if isinstance(value, int) else tuple(value)
