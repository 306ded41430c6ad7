"""The layer table: what each layer of a network computes and what it costs."""

import math
import re
import string
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util

from alexnet_jax.inspection.layer_kinds import (
    kind_of,
    multiply_adds,
    name_prefix,
    settings_of,
    window_of,
)
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models.classifier import Classifier, check_classifier


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
      macs: Multiply-adds per image of convolutions, shared or not, and dense layers;
        biases, normalization and pooling are not counted.
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
    before, number = input_shape, ""
    field: int | None = 1
    jump = 1  # pixels between the centers of neighboring units
    for layer, path, shape in seen:
        sizes = [
            leaf.size for at, leaf in params.items() if path and at[: len(path)] == path
        ]
        kind = kind_of(layer)
        if sizes:
            name = path[-1]
            number = (re.findall(r"\d+$", name) or [""])[-1]
        else:
            name = kind if layer is flatten else name_prefix(layer) + number
        name = _free_name(name, {row.name for row in rows})
        window = window_of(layer, before, shape)
        if window is None or field is None:
            field = None
        else:
            field += (window[0] - 1) * jump
            jump *= window[1]
        rows.append(
            LayerRow(
                name=name,
                kind=kind,
                settings=settings_of(layer),
                output_shape=shape,
                receptive_field=field,
                params=sum(sizes),
                macs=multiply_adds(layer, before, shape),
                activation_bytes=4 * math.prod(shape[1:]),
            )
        )
        before = shape
    return rows


def _free_name(name: str, taken: Collection[str]) -> str:
    """Returns the name, with a letter if it is taken: relu6b after conv6 and fc6."""
    letters = ("", *string.ascii_lowercase[1:])
    last = f"{name}-{len(taken) + 1}"
    return next((name + one for one in letters if name + one not in taken), last)
