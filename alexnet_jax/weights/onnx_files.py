"""Reads the weights of an ONNX graph, of its convolutions and dense layers in order.

Source: onnx/onnx, onnx/onnx.proto.
"""

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from alexnet_jax.atomic import open_regular
from alexnet_jax.errors import InputError
from alexnet_jax.weights.source import Damaged, Source
from alexnet_jax.weights.wire import BYTES, VARINT, fields

# Numbers of fields: of `ModelProto`, `GraphProto`, `NodeProto`, `AttributeProto` ...
_IR_VERSION, _GRAPH = 1, 7
_NODES, _INITIALIZERS = 1, 5
_INPUTS, _OPERATION, _ATTRIBUTES = 1, 4, 5
_ATTRIBUTE_NAME, _INTEGER = 1, 3
# ... of `TensorProto`, and of the entries that say where a tensor's numbers lie.
_DIMS, _TYPE, _FLOATS, _NAME, _RAW, _DOUBLES, _EXTERNAL = 1, 2, 4, 8, 9, 10, 13
_KEY, _VALUE = 1, 2
_TYPES = {1: "<f4", 10: "<f2", 11: "<f8", 16: jnp.bfloat16}
_KINDS = {"Conv": "CONVOLUTION", "MaxPool": "POOLING", "Gemm": "INNER_PRODUCT"}
_CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
_DENSE = ("fc6", "fc7", "fc8")


class _Node(NamedTuple):
    """An operation; `transposes` is of a Gemm whose kernel is `(out, in)`."""

    kind: str
    inputs: list[str]
    transposes: bool


def looks_like(content: memoryview) -> bool:
    """Whether a message can be a `ModelProto`, which begins with its version."""
    if content[:1] != bytes([_IR_VERSION << 3 | VARINT]):
        return False
    try:
        return any(f.number == _GRAPH and f.kind == BYTES for f in fields(content))
    except Damaged:  # cut short, perhaps
        return True


def read(content: memoryview, path: Path) -> Source:
    """Reads a file.

    Args:
      content: All of it; arrays are views of it.
      path: The file's; others beside it may hold its arrays.

    Raises:
      Damaged: It is cut short, or its arrays are.
      InputError: It is not of five convolutions and three dense layers.
    """
    arrays: dict[str, np.ndarray] = {}
    nodes = []
    graphs = [f.content for f in fields(content) if f.number == _GRAPH]
    for part in (part for graph in graphs for part in fields(graph)):
        if part.number == _NODES:
            nodes.append(_node(part.content))
        elif part.number == _INITIALIZERS:
            arrays |= _tensor(part.content, path.parent)
    convolutions = [node for node in nodes if node.kind == "CONVOLUTION"]
    dense = [node for node in nodes if node.kind == "INNER_PRODUCT"]
    if (len(convolutions), len(dense)) != (len(_CONVOLUTIONS), len(_DENSE)):
        raise InputError(
            f"{path} is of another network: {len(convolutions)} convolutions (Conv) "
            f"and {len(dense)} dense layers (Gemm), AlexNet has 5 and 3; choose "
            "another file"
        )
    layers = {}
    for layer, node in zip(
        (*_CONVOLUTIONS, *_DENSE), convolutions + dense, strict=True
    ):
        _, kernel, bias = (*node.inputs, "", "")[:3]
        layers[layer] = kernel, bias
        if node in dense and not node.transposes and kernel in arrays:
            arrays[kernel] = arrays[kernel].T
    operations = tuple(node.kind for node in nodes)
    return Source("ONNX graph", arrays, layers, operations)


def _node(message: memoryview) -> _Node:
    kind, inputs, transposes = "", [], False
    for field in fields(message):
        if field.number == _INPUTS:
            inputs.append(field.text)
        elif field.number == _OPERATION:
            kind = _KINDS.get(field.text, field.text.upper())
        elif field.number == _ATTRIBUTES:
            parts = {part.number: part for part in fields(field.content)}
            name = parts[_ATTRIBUTE_NAME].text
            transposes |= name == "transB" and parts[_INTEGER].value == 1
    return _Node(kind, inputs, transposes)


def _tensor(message: memoryview, folder: Path) -> dict[str, np.ndarray]:
    """Returns an array by its name; none, if its numbers are no floats."""
    shape: list[int] = []
    name, kind, external = "", 0, {}
    numbers = memoryview(b"")
    for field in fields(message):
        if field.number == _DIMS:
            shape += field.integers
        elif field.number == _TYPE:
            (kind,) = field.integers
        elif field.number in (_RAW, _FLOATS, _DOUBLES):
            numbers = field.content
        elif field.number == _NAME:
            name = field.text
        elif field.number == _EXTERNAL:
            entry = {part.number: part.text for part in fields(field.content)}
            external[entry[_KEY]] = entry[_VALUE]
    if kind not in _TYPES:  # a shape to be reshaped to, and the like
        return {}
    array = np.frombuffer(
        _external(external, folder) if external else numbers, np.dtype(_TYPES[kind])
    )
    if math.prod(shape) != array.size:
        raise Damaged(f"{name} holds {array.size:,} numbers for {tuple(shape)}")
    return {name: array.reshape(shape)}


def _external(entry: Mapping[str, str], folder: Path) -> bytes:
    """Reads numbers from the file beside the graph's that an entry names."""
    place = PurePosixPath(entry["location"])
    if place.is_absolute() or ".." in place.parts:
        raise Damaged(f"its numbers are said to lie in {str(place):.80}, not beside it")
    offset, length = int(entry.get("offset", 0)), int(entry.get("length", -1))
    with open_regular(folder / place) as file:
        file.seek(offset)
        return file.read(length)
