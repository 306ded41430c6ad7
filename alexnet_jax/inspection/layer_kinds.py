"""What is known of each kind of layer: its name, window, settings and cost."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.contrast import MapContrastNorm
from alexnet_jax.layers.conv import zeros_before_ceil
from alexnet_jax.layers.dense import TowerDense, flatten
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.graph import Add, TakeTowers
from alexnet_jax.layers.images import GaussianBlur, Subsample
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.layers.normalization import LocalResponseNorm, MapNorm
from alexnet_jax.layers.pooling import (
    CeilPool,
    adaptive_avg_pool,
    avg_pool,
    avg_pool_3x3,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
)

# Pooling functions: window and stride.
_POOLS = (
    (max_pool, (3, 2)),
    (max_pool_ceil, (3, 2)),
    (max_pool_2x2, (2, 2)),
    (avg_pool_3x3, (3, 2)),
    (avg_pool, (2, 2)),
)
_CEIL_POOLS = (max_pool_ceil, max_pool_2x2, avg_pool_3x3)
_KINDS = {
    nn.Conv: "conv",
    nn.Dense: "dense",
    TowerDense: "dense",
    nn.BatchNorm: "batch_norm",
    nn.Dropout: "dropout",
    MaskDropout: "mask_dropout",
    LocalResponseNorm: "lrn",
    MapNorm: "map_norm",
    MapContrastNorm: "contrast_norm",
    LocallyConnected: "local",
    PlaceBias: "place_bias",
    RandomChannels: "random_channels",
    GaussianBlur: "blur",
    Subsample: "subsample",
    TakeTowers: "take_towers",
    Add: "add",
}
# Caffe's names: `pool1` follows `conv1`.
_PREFIXES = {
    "lrn": "norm",
    "map_norm": "mapnorm",
    "contrast_norm": "contrastnorm",
    "max_pool": "pool",
    "max_pool_ceil": "pool",
    "max_pool_2x2": "pool",
    "avg_pool_3x3": "pool",
    "avg_pool_ceil": "pool",
    "avg_pool": "pool",
    "adaptive_avg_pool": "avgpool",
    "dropout": "drop",
    "mask_dropout": "drop",
    "random_channels": "random",
    "take_towers": "towers",
    "concatenate": "concat",
}


def name_prefix(layer: Callable) -> str:
    """Returns Caffe's name of a layer without parameters, before its number."""
    kind = kind_of(layer)
    return _PREFIXES.get(kind, kind)


def kind_of(layer: Callable) -> str:
    """Returns the kind: of a function that has none here, its name."""
    if isinstance(layer, CeilPool):
        return f"{layer.kind}_pool_ceil"
    for type_, kind in _KINDS.items():
        if isinstance(layer, type_):
            return kind
    return getattr(layer, "__name__", type(layer).__name__)


class _Window(NamedTuple):
    """A convolution's, height first.

    Attributes:
      kernel: Sides of the kernel.
      stride: In each direction.
      dilation: From one place of the kernel to the next, in pixels.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def span(self) -> list[int]:
        """Pixels that the kernel covers, with what it leaves out."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return [(side - 1) * apart + 1 for side, apart in pairs]


def _conv_window(layer: Any) -> _Window:
    if isinstance(layer, LocallyConnected):
        kernel = (layer.kernel_size,) * 2
        return _Window(kernel, (layer.strides,) * 2, (1, 1))
    size: Any = layer.kernel_size
    kernel = (size,) if isinstance(size, int) else tuple(size)

    def each(value: Any) -> tuple[int, ...]:
        several = not (value is None or isinstance(value, int))
        return tuple(value) if several else (value or 1,) * len(kernel)

    return _Window(kernel, each(layer.strides), each(layer.kernel_dilation))


def _pool_window(layer: Callable) -> tuple[int, int] | None:
    if isinstance(layer, CeilPool):
        return layer.size, layer.stride
    # By identity: a module that holds variables cannot be hashed.
    return next((window for pool, window in _POOLS if pool is layer), None)


def window_of(
    layer: Callable, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[int, int] | None:
    """Returns a layer's window and stride in units of its input; None if unknown.

    Of a rectangle those of its width.
    """
    if isinstance(layer, nn.Conv | LocallyConnected):
        window = _conv_window(layer)
        return window.span[-1], window.stride[-1]
    if isinstance(layer, MapNorm | GaussianBlur):
        return layer.size, 1
    if isinstance(layer, MapContrastNorm):
        return 2 * layer.size - 1, 1  # the means around the window's units
    if isinstance(layer, Subsample):
        return 1, layer.stride
    if pool := _pool_window(layer):
        return pool
    if layer is flatten or (isinstance(layer, TowerDense) and len(before) == 4):
        return before[2 if len(before) == 4 else 1], 1  # the whole map
    # Any other layer that keeps the size of the maps is taken to act pointwise.
    return (1, 1) if after[1:-1] == before[1:-1] else None


def multiply_adds(
    layer: Callable, before: tuple[int, ...], after: tuple[int, ...]
) -> int:
    """Returns multiply-adds per image; 0 of what has no kernel."""
    if isinstance(layer, nn.Conv):
        inputs = before[-1] // layer.feature_group_count
        return math.prod(after[1:]) * math.prod(_conv_window(layer).kernel) * inputs
    if isinstance(layer, LocallyConnected):
        return math.prod(after[1:]) * layer.kernel_size**2 * before[-1]
    if isinstance(layer, nn.Dense):
        return before[-1] * math.prod(after[1:])  # at each place of a map
    if isinstance(layer, TowerDense):
        return math.prod(before[1:]) // layer.groups * after[-1]
    return 0


def settings_of(layer: Callable) -> str:
    """Returns kernel, stride, padding and groups, or the layer's other settings."""
    if isinstance(layer, nn.Conv | LocallyConnected):
        window = _conv_window(layer)
        count = getattr(layer, "feature_group_count", 1)
        words = [
            f"{'×'.join(map(str, window.kernel))}/{_sides(window.stride)}",
            f"dilated {_sides(window.dilation)}" * (max(window.dilation) > 1),
            _padding(layer.padding, window.span),
            f"{count} groups" * (count > 1),
        ]
        return " ".join(word for word in words if word)
    if pool := _pool_window(layer):
        size, stride = pool
        is_ceil = isinstance(layer, CeilPool) or any(f is layer for f in _CEIL_POOLS)
        start: int = getattr(layer, "start", 0)
        words = [f"{size}×{size}/{stride}", "ceil" * is_ceil]
        if start:
            words.append(f"from {start}")
        return " ".join(word for word in words if word)
    if isinstance(layer, TowerDense):
        return f"{layer.groups} groups"
    if isinstance(layer, LocalResponseNorm):
        groups = f" {layer.groups} groups" * (layer.groups > 1)
        divisor = "" if layer.scale == layer.alpha else f"/{layer.size}"
        power = f" β {layer.beta:g}" * (layer.beta != 0.75)
        constants = f"α {layer.alpha:g}{divisor} k {layer.constant:g}{power}"
        return f"{layer.size} maps {constants}{groups}"
    if isinstance(layer, MapNorm | MapContrastNorm):
        power = f" β {layer.power:g}" * (layer.power != 0.75)
        constants = f"α {layer.scale:g}/{layer.size**2} k {layer.k:g}{power}"
        return f"{layer.size}×{layer.size} {constants}"
    if isinstance(layer, GaussianBlur):
        return f"{layer.size}×{layer.size} σ {layer.deviation:g}"
    if isinstance(layer, Subsample):
        return f"/{layer.stride}"
    if isinstance(layer, RandomChannels):
        return f"each {layer.rounds} times"
    if isinstance(layer, TakeTowers):
        return f"{', '.join(map(str, layer.places))} of {layer.towers}"
    if isinstance(layer, Add):
        return " ".join(f"× {factor:g}" for factor in layer.factors)
    if isinstance(layer, MaskDropout):
        return f"{layer.rate:g} mask, ×{1 - layer.rate:g} at test"
    if isinstance(layer, nn.Dropout):
        return f"{layer.rate:g}"
    return "to 6×6" if layer is adaptive_avg_pool else ""


def _padding(padding: Any, span: Sequence[int]) -> str:
    before = zeros_before_ceil(padding)
    if before is not None:
        return f"pad {before} ceil" if before else "ceil"
    if padding in ("VALID", 0):
        return ""
    same = padding == "SAME"
    return f"pad {_sides([side // 2 for side in span]) if same else padding}"


def _sides(values: Sequence[int]) -> str:
    """Returns numbers of each direction in words: one, if all are equal."""
    return "×".join(map(str, values if len({*values}) > 1 else values[:1]))
