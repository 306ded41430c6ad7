"""The layer table: what each layer of a network computes and what it costs."""

import math
import re
import string
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from flax import traverse_util

from alexnet_jax.inspection.layer_kinds import (
    kind_of,
    multiply_adds,
    name_prefix,
    settings_of,
    window_of,
)
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.graph import IMAGES, sources
from alexnet_jax.models.classifier import Classifier, check_classifier
from alexnet_jax.models.layer_names import whole_name


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
      reads: Names of the layers whose outputs it reads, or `images`.
    """

    name: str
    kind: str
    settings: str
    output_shape: tuple[int, ...]
    receptive_field: int | None
    params: int
    macs: int
    activation_bytes: int
    reads: tuple[str, ...]


def describe(model: Classifier, input_shape: tuple[int, ...]) -> list[LayerRow]:
    """Describes each layer of a network; allocates no weights.

    Args:
      model: A network whose layers are in `net`.
      input_shape: `(B, H, W, C)`.

    Raises:
      InputError: It is no network, or the images are too small for it.
    """
    check_classifier(model)
    seen, variables = model.trace_layers(input_shape)
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
        kind = kind_of(layer)
        if sizes:
            name = path[-1]
            number = _number(name)
        else:
            name = kind if layer is flatten else name_prefix(layer) + number
        name = _free_name(name, {row.name for row in rows})
        view = _look_through(inputs, window_of(layer, before, shape), shape)
        views.append(view)
        # What a layer reads is said where it is not the row above.
        known = [IMAGES, *(row.name for row in rows)]
        read = tuple(known[at + 1] for at in reads)
        link = f"of {', '.join(read)}" if read != (known[-1],) else ""
        words = [settings_of(layer), link]
        rows.append(
            LayerRow(
                name=name,
                kind=kind,
                settings=" ".join(word for word in words if word),
                output_shape=shape,
                receptive_field=view.field,
                params=sum(sizes),
                macs=multiply_adds(layer, before, shape),
                activation_bytes=4 * math.prod(shape[1:]),
                reads=read,
            )
        )
    return rows


def first_branch(rows: Sequence[LayerRow]) -> LayerRow | None:
    """Returns the first layer that reads another than the one before it.

    Args:
      rows: The network's layers.

    Returns:
      None if they are a chain.
    """
    above = [IMAGES, *(row.name for row in rows)]
    pairs = zip(rows, above[:-1], strict=True)
    return next((row for row, name in pairs if row.reads != (name,)), None)


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
    return (re.findall(r"\d+$", whole_name(name)) or [""])[-1]


def _free_name(name: str, taken: Collection[str]) -> str:
    """Returns the name, with a letter if it is taken: relu6b after conv6 and fc6."""
    letters = ("", *string.ascii_lowercase[1:])
    last = f"{name}-{len(taken) + 1}"
    return next((name + one for one in letters if name + one not in taken), last)
