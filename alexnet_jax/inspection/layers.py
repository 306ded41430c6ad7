"""The layer table: what each layer of a network computes and what it costs."""

import math
import re
import string
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.conv import CEIL, is_ceil
from alexnet_jax.layers.dense import TowerDense, flatten
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.graph import IMAGES, Add, TakeTowers, sources
from alexnet_jax.layers.images import GaussianBlur, Subsample
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.layers.normalization import (
    LocalResponseNorm,
    MapContrastNorm,
    MapNorm,
)
from alexnet_jax.layers.pooling import (
    CeilPool,
    adaptive_avg_pool,
    avg_pool,
    avg_pool_3x3,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
)
from alexnet_jax.models.classifier import Classifier, check_classifier

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
    MapContrastNorm: "map_contrast_norm",
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
    "map_contrast_norm": "contrastnorm",
    "random_channels": "random",
    "take_towers": "towers",
    "concatenate": "concat",
    "max_pool": "pool",
    "max_pool_ceil": "pool",
    "max_pool_2x2": "pool",
    "avg_pool_3x3": "pool",
    "avg_pool": "pool",
    "adaptive_avg_pool": "avgpool",
    "dropout": "drop",
    "mask_dropout": "drop",
}


class LayerRow(NamedTuple):
    """A layer's row of the table.

    Attributes:
      name: Caffe's name: `conv1`, `relu1`, `norm1`, `pool1`, `fc6`, `drop6`.
      kind: `conv`, `relu`, `lrn`, `max_pool`, `dense`, ...
      settings: Kernel, stride, padding and groups, or its other settings.
      output_shape: `(B, H, W, C)` or `(B, units)`.
      receptive_field: Its width in pixels of the image, padding included; None if
        unknown.
      params: Number of weights and biases.
      macs: Multiply-adds per image of convolutions and dense layers; biases,
        normalization and pooling are not counted.
      activation_bytes: Memory of the output for one image, in float32.
    """

    name: str
    kind: str
    settings: str
    output_shape: tuple[int, ...]
    receptive_field: int | None
    params: int
    macs: int
    activation_bytes: int


def describe(model: Classifier, input_shape: tuple[int, ...]) -> list[LayerRow]:
    """Describes each layer of a network; allocates no weights.

    Args:
      model: A network whose layers are in `net`.
      input_shape: `(B, H, W, C)`.

    Raises:
      InputError: It is no network, or the images are too small for it.
    """
    check_classifier(model)
    model.layer_shapes(input_shape)  # raises the InputError
    seen: list[tuple[Callable, tuple[str, ...], tuple[int, ...]]] = []

    def trace(model: Classifier, x: jax.Array) -> None:
        for layer, output in model.layer_outputs(x):
            seen.append((layer, getattr(layer, "path", ()), output.shape))

    def init(key: jax.Array) -> Any:
        keys = {"params": key, "dropout": key}
        image = jnp.zeros(input_shape, jnp.float32)
        return model.init(keys, image, method=trace)

    variables = jax.eval_shape(init, jax.random.key(0))
    params = traverse_util.flatten_dict(variables.get("params", {}))
    rows: list[LayerRow] = []
    number = ""
    views = [_View(input_shape, 1, 1)]  # of the images, and of each layer's output
    for (layer, path, shape), reads in zip(seen, sources(_net(model)), strict=True):
        inputs = [views[place + 1] for place in reads]
        before = inputs[0].shape
        sizes = [
            leaf.size for at, leaf in params.items() if path and at[: len(path)] == path
        ]
        kind = _kind(layer)
        if sizes:
            name = path[-1]
            number = _number(name)
        else:
            name = kind if layer is flatten else _PREFIXES.get(kind, kind) + number
        name = _free_name(name, {row.name for row in rows})
        view = _look_through(inputs, _window(layer, before, shape), shape)
        views.append(view)
        words = [_settings(layer), _links(reads, rows)]
        rows.append(
            LayerRow(
                name=name,
                kind=kind,
                settings=" ".join(word for word in words if word),
                output_shape=shape,
                receptive_field=view.field,
                params=sum(sizes),
                macs=_multiply_adds(layer, before, shape),
                activation_bytes=4 * math.prod(shape[1:]),
            )
        )
    return rows


class _View(NamedTuple):
    """What the units of a layer's output see of the images.

    Attributes:
      shape: Of the output.
      field: The width of what one sees in pixels, or None if unknown.
      jump: Pixels between the centers of neighbors.
    """

    shape: tuple[int, ...]
    field: int | None
    jump: int


def _look_through(
    inputs: Sequence[_View], window: tuple[int, int] | None, shape: tuple[int, ...]
) -> _View:
    """Returns what units see through a layer's window; of several inputs, the most."""
    jumps = {one.jump for one in inputs}
    fields = [one.field for one in inputs if one.field is not None]
    if window is None or len(fields) < len(inputs) or len(jumps) > 1:
        return _View(shape, None, max(jumps))
    jump = jumps.pop()
    return _View(shape, max(fields) + (window[0] - 1) * jump, jump * window[1])


def _net(model: Classifier) -> Any:
    """Returns what a network's `setup` fills in; without its parameters."""
    return model.bind({}).net


def _number(name: str) -> str:
    """Returns the number in a layer's name: 3 of `conv3`, `conv3a` and `conv3a_1`."""
    own = re.fullmatch(r"(?:conv|local|fc)(\d+)[a-z]*(?:_\w+)?", name)
    return own[1] if own else (re.findall(r"\d+$", name) or [""])[-1]


def _links(reads: tuple[int, ...], rows: Sequence[LayerRow]) -> str:
    """Says what a layer reads, if it is not the row above."""
    if reads == (len(rows) - 1,):
        return ""
    names = [rows[place].name if place >= 0 else IMAGES for place in reads]
    return f"of {', '.join(names)}"


def _free_name(name: str, taken: Collection[str]) -> str:
    """Returns the name, with a letter if it is taken: relu6b after conv6 and fc6."""
    letters = ("", *string.ascii_lowercase[1:])
    last = f"{name}-{len(taken) + 1}"
    return next((name + one for one in letters if name + one not in taken), last)


def _kind(layer: Callable) -> str:
    if isinstance(layer, CeilPool):
        return f"{layer.kind}_pool"
    for type_, kind in _KINDS.items():
        if isinstance(layer, type_):
            return kind
    return getattr(layer, "__name__", type(layer).__name__)


def _conv_window(layer: nn.Conv) -> tuple[int, int]:
    kernel: Any = layer.kernel_size
    strides: Any = layer.strides or 1
    return kernel[0], strides if isinstance(strides, int) else strides[0]


def _pool_window(layer: Callable) -> tuple[int, int] | None:
    if isinstance(layer, CeilPool):
        return layer.size, layer.stride
    # By identity: a module that holds variables cannot be hashed.
    return next((window for pool, window in _POOLS if pool is layer), None)


def _window(
    layer: Callable, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[int, int] | None:
    """Returns a layer's window and stride in units of its input; None if unknown."""
    if isinstance(layer, nn.Conv):
        return _conv_window(layer)
    if isinstance(layer, LocallyConnected):
        return layer.size, layer.strides
    if isinstance(layer, MapNorm | GaussianBlur):
        return layer.size, 1
    if isinstance(layer, MapContrastNorm):  # of means of as many
        return 2 * layer.size - 1, 1
    if isinstance(layer, Subsample):
        return 1, layer.stride
    if pool := _pool_window(layer):
        return pool
    if layer is flatten or (isinstance(layer, TowerDense) and len(before) == 4):
        return before[1], 1  # the whole map
    # Any other layer that keeps the size of the maps is taken to act pointwise.
    return (1, 1) if after[1:-1] == before[1:-1] else None


def _multiply_adds(
    layer: Callable, before: tuple[int, ...], after: tuple[int, ...]
) -> int:
    if isinstance(layer, nn.Conv):
        kernel: Any = layer.kernel_size
        inputs = before[-1] // layer.feature_group_count
        return math.prod(after[1:]) * math.prod(kernel) * inputs
    if isinstance(layer, LocallyConnected):
        return math.prod(after[1:]) * layer.size**2 * before[-1]
    if isinstance(layer, nn.Dense):
        return before[-1] * after[-1]
    if isinstance(layer, TowerDense):
        return math.prod(before[1:]) // layer.groups * after[-1]
    return 0


def _padding(padding: Any, size: int) -> str:
    if is_ceil(padding):
        return f"pad {padding[len(CEIL) + 1 :]} ceil" if padding != CEIL else "ceil"
    named = {"SAME": f"pad {size // 2}", "VALID": "", 0: ""}
    return named.get(padding, f"pad {padding}")


def _settings(layer: Callable) -> str:
    if isinstance(layer, nn.Conv | LocallyConnected):
        size, stride = (
            _conv_window(layer)
            if isinstance(layer, nn.Conv)
            else (layer.size, layer.strides)
        )
        count = getattr(layer, "feature_group_count", 1)
        pad = _padding(layer.padding, size)
        words = [f"{size}×{size}/{stride}", pad, f"{count} groups" * (count > 1)]
        return " ".join(word for word in words if word)
    if pool := _pool_window(layer):
        size, stride = pool
        ceil = isinstance(layer, CeilPool) or any(one is layer for one in _CEIL_POOLS)
        return f"{size}×{size}/{stride}" + " ceil" * ceil
    return _constants(layer)


def _constants(layer: Callable) -> str:
    """Returns the settings of a layer without windows that move."""
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
    if isinstance(layer, MaskDropout):
        return f"{layer.rate:g} mask, ×{1 - layer.rate:g} at test"
    if isinstance(layer, nn.Dropout):
        return f"{layer.rate:g}"
    if isinstance(layer, GaussianBlur):
        return f"{layer.size}×{layer.size} σ {layer.deviation:g}"
    if isinstance(layer, Subsample):
        return f"1 of {layer.stride}×{layer.stride}"
    if isinstance(layer, TakeTowers):
        return f"{', '.join(map(str, layer.places))} of 0 to {layer.towers - 1}"
    if isinstance(layer, RandomChannels):
        return f"each {layer.rounds} times"
    if isinstance(layer, Add):
        return " ".join(f"× {factor:g}" for factor in layer.factors)
    return "to 6×6" if layer is adaptive_avg_pool else ""
