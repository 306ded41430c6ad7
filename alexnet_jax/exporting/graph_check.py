"""Whether the layers of an ONNX graph that is read do what a network's own do.

Source: onnx/onnx, docs/Operators.md (Conv, MaxPool, LRN, BatchNormalization).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import side_pair
from alexnet_jax.errors import InputError
from alexnet_jax.exporting import kinds
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.models import create_configured

# Graphs may have others beside: those that change no number, or stand for several.
_ACTIVATIONS = {
    "RELU": "relu",
    "TANH": "tanh",
    "SIGMOID": "sigmoid",
    **dict.fromkeys(("LEAKYRELU", "ELU", "SELU", "GELU", "HARDSIGMOID"), "another"),
}
_WORDS = {
    "CONVOLUTION": "Conv",
    "POOLING": "MaxPool",
    "LRN": "LRN",
    "BATCHNORMALIZATION": "BatchNormalization",
}


class _Layer(NamedTuple):
    """A layer of the network, as ONNX would have it."""

    word: str
    operation: kinds.Operation


def check_graph(
    path: Path,
    nodes: Iterable[tuple[str, Mapping[str, Any]]],
    config: ConfigDict,
    variables: Mapping,
    image_shape: tuple[int, int, int],
) -> None:
    """Checks kinds, order and settings of a graph's layers.

    Args:
      path: The file's; errors name it.
      nodes: Kind, in capitals, and attributes of each of the graph's, in order.
      config: Of the network that it is taken for.
      variables: That network's; only their shapes matter.
      image_shape: Height, width and channels of the images that the graph takes.

    Raises:
      InputError: A layer is of another kind or does something else.
    """
    network = create_configured(config).clone(training=False)
    shapes = jax.tree.map(
        lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), dict(variables)
    )
    try:
        operations = list_operations(network, shapes, image_shape)
    except Exception:  # noqa: BLE001 - of any kind, as Flax does of other shapes
        if image_shape[:2] == side_pair(config.data.image_size):
            raise
        return  # what it takes no network of ours does; it is not compared either
    expected = [*_layers(operations)]
    found = [*_found(nodes)]
    words = [word for word, _ in found]
    if words != [one.word for one in expected]:
        raise InputError(
            f"{path} is of another network than {config.model.name}: its layers are "
            f"{_first_difference(words, [one.word for one in expected])}; choose "
            "another file, or another --network"
        )
    for (_, attributes), (word, operation) in zip(found, expected, strict=True):
        try:
            fault = _difference(operation, attributes)
        except TypeError:  # a number for a list, or the reverse
            fault = "attributes of other types than ONNX gives them"
        if fault:
            raise InputError(
                f"{path} is of another network than {config.model.name}: its {word} "
                f"in place of {operation.name} has {fault}; choose another file, or "
                "another --network"
            )


def _layers(operations: Sequence[kinds.Operation]) -> Iterable[_Layer]:
    for one in operations:
        if isinstance(one, kinds.Convolution):
            yield _Layer("Conv", one)
        elif isinstance(one, kinds.Pool) and not one.average:
            yield _Layer("MaxPool", one)
        elif isinstance(one, kinds.ResponseNorm) and one.size % 2:
            yield from [_Layer("LRN", one)] * one.groups
        elif isinstance(one, kinds.BatchNorm):
            yield _Layer("BatchNormalization", one)
        elif isinstance(one, kinds.Activation) and one.function != "softmax":
            yield _Layer(one.function, one)


def _found(
    nodes: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for kind, attributes in nodes:
        if word := _WORDS.get(kind) or _ACTIVATIONS.get(kind):
            yield word, attributes


def _first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            before = f" after {found[place - 1]}" if place else ""
            return f"{one}, not {other}, in place {place + 1}{before}"
    return f"{len(found)}, not {len(expected)}"


def _difference(operation: kinds.Operation, found: Mapping[str, Any]) -> str:
    """Returns what a node does otherwise than a layer; "" if nothing."""
    if isinstance(operation, kinds.ResponseNorm):
        wanted = {
            "size": operation.size,
            "alpha": operation.alpha,
            "beta": operation.beta,
            "bias": operation.k,
        }
        return _numbers(wanted, {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, **found})
    if isinstance(operation, kinds.BatchNorm):
        wanted = {"epsilon": operation.epsilon}
        return _numbers(wanted, {"epsilon": 1e-5, **found})
    if isinstance(operation, kinds.Convolution):
        if found.get("group", 1) != operation.groups:
            return f"group {found.get('group', 1)}, not {operation.groups}"
        (top, _), (left, _) = operation.pads
        sides = (*operation.weight.shape[2:],)
        return _window(
            operation, found, sides, operation.strides, operation.dilations, (top, left)
        )
    if isinstance(operation, kinds.Pool):
        sides, strides = (operation.size,) * 2, (operation.stride,) * 2
        return _window(operation, found, sides, strides, (1, 1), (0, 0))
    return ""


def _numbers(wanted: Mapping[str, float], found: Mapping[str, Any]) -> str:
    for name, value in wanted.items():
        if not math.isclose(found.get(name, math.nan), value, rel_tol=1e-5):
            return f"{name} {found.get(name)}, not {value:g}"
    return ""


def _window(
    operation: kinds.Operation,
    found: Mapping[str, Any],
    sides: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    begins: Sequence[int],
) -> str:
    """Compares windows: where the first lies, their steps, and how many there are.

    What lies beyond the maps is the same however a graph says it.
    """
    for name, wanted in (
        ("kernel_shape", sides),
        ("strides", strides),
        ("dilations", dilations),
    ):
        default = wanted if name == "kernel_shape" else (1, 1)
        value = tuple(found.get(name) or default)
        if value != tuple(wanted):
            return f"{name} {list(value)}, not {list(wanted)}"
    pads = found.get("pads") or [0] * 4
    way = found.get("auto_pad", "NOTSET")
    if len(pads) != 4 or way not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        return f"pads {list(pads)} and auto_pad {way!r:.20}"
    for axis in range(2):
        length, wide = operation.input_shape[1 + axis], operation.output_shape[1 + axis]
        reach = (sides[axis] - 1) * dilations[axis] + 1
        step = strides[axis]
        begin, end = (pads[axis], pads[2 + axis]) if way == "NOTSET" else (0, 0)
        if way.startswith("SAME"):
            total = max((-(-length // step) - 1) * step + reach - length, 0)
            begin = total // 2 if way == "SAME_UPPER" else -(-total // 2)
            end = total - begin
        room = length + begin + end - reach
        count = room // step + 1
        if found.get("ceil_mode"):
            count = -(-room // step) + 1
            count -= (count - 1) * step >= length + begin
        if begin != begins[axis] or count != wide:
            said = f"auto_pad {way}" if way != "NOTSET" else f"pads {list(pads)}"
            return (
                f"{said}, which begin at {begin} and give {count}, not at "
                f"{begins[axis]} and {wide}"
            )
    return ""
