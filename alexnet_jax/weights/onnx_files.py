"""Reads the weights of an ONNX graph, of its layers in order.

Source: onnx/onnx, onnx/onnx.proto.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from alexnet_jax.atomic import open_regular
from alexnet_jax.errors import InputError
from alexnet_jax.weights.source import Damaged, NotRead, Source
from alexnet_jax.weights.wire import BYTES, VARINT, Field, fields, shorts

# Numbers of fields: of `ModelProto`, `GraphProto`, `NodeProto`, `AttributeProto` ...
_IR_VERSION, _GRAPH, _METADATA = 1, 7, 14
_NODES, _INITIALIZERS = 1, 5
_INPUTS, _OUTPUTS, _OPERATION, _ATTRIBUTES = 1, 2, 4, 5
_ATTRIBUTE_NAME, _FLOAT, _INTEGER, _TEXT, _TENSOR, _INTEGERS = (*(1, 2, 3, 4, 5, 8),)
# ... of `TensorProto`, and of the entries that say where a tensor's numbers lie.
_DIMS, _TYPE, _FLOATS, _INTS, _NAME, _RAW, _DOUBLES, _EXTERNAL = (
    1,
    2,
    4,
    5,
    8,
    9,
    10,
    13,
)
_KEY, _VALUE = 1, 2
_TYPES: dict[int, Any] = {1: "<f4", 10: "<f2", 11: "<f8", 16: jnp.bfloat16}
_KINDS = {"Conv": "CONVOLUTION", "MaxPool": "POOLING", "Gemm": "INNER_PRODUCT"}
_WEIGHTED = {"Conv": "conv", "BatchNormalization": "norm", "Gemm": "fc", "MatMul": "fc"}
# That pass an array on, as torch.onnx and its like write of weights.
_SAME = ("Identity", "Cast")
_ARITHMETIC = ("Add", "Div", "Mul", "Pow", "Sub")
_QUANTIZED = (
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
)


class _Node(NamedTuple):
    """An operation, with its attributes by name: integers, floats, text or tensors."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


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

    Returns:
      The arrays of its layers, dense kernels `(out, in)`, and those that no layer
      reads; not the constants of other operations.

    Raises:
      Damaged: It is cut short, or its arrays are.
      NotRead: It is quantized, or scales a dense layer.
    """
    arrays: dict[str, np.ndarray] = {}
    nodes: list[_Node] = []
    parts = [*fields(content)]
    metadata = _entries(f for f in parts if f.number == _METADATA)
    graphs = [f.content for f in parts if f.number == _GRAPH]
    for part in (part for graph in graphs for part in fields(graph)):
        if part.number == _NODES:
            nodes.append(_node(part.content))
        elif part.number == _INITIALIZERS:
            name, array = _tensor(part.content, path)
            if name in arrays:
                raise Damaged(f"two initializers named {name!r:.60}")
            if array is not None:
                arrays[name] = array
    _resolve(nodes, arrays, path)
    if "format" not in metadata:  # of an export, whose layers are known
        _refuse_others(nodes, arrays)
    weighted = _layers(nodes, arrays)
    used = {name for _, names in weighted for name in names}
    constants = {name for node in nodes for name in node.inputs} - used
    kept = {name: array for name, array in arrays.items() if name not in constants}
    operations = tuple(_KINDS.get(one.kind, one.kind.upper()) for one in nodes)
    return Source(
        "ONNX graph",
        kept,
        weighted,
        operations=operations,
        attributes=tuple(one.attributes for one in nodes),
        metadata=metadata,
    )


def _resolve(nodes: list[_Node], arrays: dict[str, np.ndarray], path: Path) -> None:
    """Adds the arrays that nodes make of others without computing a number.

    Raises:
      NotRead: The graph is quantized.
    """
    for node in nodes:
        if node.kind in _QUANTIZED:
            raise NotRead(
                f"a quantized ONNX graph ({node.kind}); choose one of float numbers"
            )
        if node.kind == "Constant" and "value" in node.attributes:
            _, array = _tensor(node.attributes["value"], path)
            if array is not None:
                arrays[node.outputs[0]] = array
        elif node.inputs and node.inputs[0] in arrays:
            array = arrays[node.inputs[0]]
            if node.kind in _SAME:
                arrays[node.outputs[0]] = array
            elif node.kind == "Transpose":
                order = node.attributes.get("perm") or [*range(array.ndim)][::-1]
                arrays[node.outputs[0]] = array.transpose(order)


def _refuse_others(nodes: Sequence[_Node], arrays: Mapping[str, np.ndarray]) -> None:
    """Checks that no node that is not compared changes what the layers compute.

    Raises:
      NotRead: Maps are transposed between layers, or images scaled before them.
    """
    places = [
        place
        for place, node in enumerate(nodes)
        if node.kind in _WEIGHTED and any(name in arrays for name in node.inputs[1:])
    ]
    for place, node in enumerate(nodes):
        if not places or place > places[-1]:
            return
        is_computed = bool(node.inputs) and node.inputs[0] not in arrays
        if node.kind == "Transpose" and is_computed and place > places[0]:
            raise NotRead(
                "an ONNX graph that transposes maps between its layers, as it is "
                "written where channels come last; export it with channels first"
            )
        is_computed = bool({*node.inputs} - {*arrays})
        if node.kind in _ARITHMETIC and is_computed and place < places[0]:
            raise NotRead(
                f"an ONNX graph that scales its images ({node.kind}); export the "
                "network alone"
            )


def _layers(
    nodes: list[_Node], arrays: dict[str, np.ndarray]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns `Source.weighted`; brings dense kernels into one layout.

    Raises:
      NotRead: A dense layer multiplies what it computes.
    """
    found = []
    turned: set[str] = set()
    # Maps between two constant matrices are resized or averaged, as `export` writes it.
    multiplied = {
        output
        for node in nodes
        if node.kind == "MatMul" and node.inputs[0] in arrays
        for output in node.outputs
    }
    for node in nodes:
        kind = _WEIGHTED.get(node.kind)
        if kind is None or (node.kind == "MatMul" and node.inputs[0] in multiplied):
            continue
        names = tuple(node.inputs[1:5] if kind == "norm" else node.inputs[1:3])
        if kind == "fc":
            factors = [node.attributes.get(one, 1.0) for one in ("alpha", "beta")]
            if factors != [1.0, 1.0] or node.attributes.get("transA"):
                raise NotRead(
                    "an ONNX graph whose Gemm has another alpha, beta or transA than "
                    "dense layers have; export it from its framework again"
                )
            kernel = names[0] if names else ""
            if kernel not in arrays and node.kind == "MatMul":
                continue  # of two computed matrices
            if node.kind == "MatMul":
                names = (kernel, _added(nodes, node, arrays))
            is_turned = bool(node.attributes.get("transB"))
            if kernel in arrays and not is_turned and kernel not in turned:
                arrays[kernel] = arrays[kernel].T
                turned.add(kernel)
        found.append((kind, names))
    return tuple(found)


def _added(nodes: list[_Node], node: _Node, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the name of the bias that is added to what a node gives; "" if none."""
    for other in nodes:
        if other.kind == "Add" and {*node.outputs} & {*other.inputs}:
            return next((name for name in other.inputs if name in arrays), "")
    return ""


def _entries(found: Any) -> dict[str, str]:
    """Returns pairs of `StringStringEntryProto`."""
    entries = {}
    for one in found:
        entry = {part.number: part.text for part in fields(one.content)}
        entries[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    return entries


def _node(message: memoryview) -> _Node:
    kind = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    for field in fields(message):
        if field.number == _INPUTS:
            inputs.append(field.text)
        elif field.number == _OUTPUTS:
            outputs.append(field.text)
        elif field.number == _OPERATION:
            kind = field.text
        elif field.number == _ATTRIBUTES:
            attributes |= _attribute(field)
    return _Node(kind, inputs, outputs or [""], attributes)


def _attribute(field: Field) -> dict[str, Any]:
    name, integers = "", list[int]()
    value: Any = None
    for part in fields(field.content):
        if part.number == _ATTRIBUTE_NAME:
            name = part.text
        elif part.number == _INTEGER:
            (value,) = part.integers
        elif part.number == _INTEGERS:
            integers += part.integers
        elif part.number == _FLOAT:
            value = float(np.frombuffer(part.content, "<f4")[0])
        elif part.number == _TEXT:
            value = part.text
        elif part.number == _TENSOR:
            value = part.content
    return {name: integers if value is None else value}


def _tensor(message: memoryview, path: Path) -> tuple[str, np.ndarray | None]:
    """Returns an array and its name; None, if its numbers are no floats."""
    shape: list[int] = []
    name, kind = "", 0
    external = []
    numbers: Any = memoryview(b"")
    for field in fields(message):
        if field.number == _DIMS:
            shape += field.integers
        elif field.number == _TYPE:
            (kind,) = field.integers
        elif field.number in (_RAW, _FLOATS, _DOUBLES):
            numbers = field.content
        elif field.number == _INTS and field.kind == BYTES and kind in (10, 16):
            numbers = shorts(field.content)  # the bits of float16 or bfloat16
        elif field.number == _NAME:
            name = field.text
        elif field.number == _EXTERNAL:
            external.append(field)
    if kind not in _TYPES:  # a shape to be reshaped to, and the like
        return name, None
    if external:
        numbers = _external(_entries(external), path)
    array = np.frombuffer(numbers, np.dtype(_TYPES[kind]))
    if math.prod(shape) != array.size:
        raise Damaged(f"{name} holds {array.size:,} numbers for {tuple(shape)}")
    return name, array.reshape(shape)


def _external(entry: Mapping[str, str], path: Path) -> bytes:
    """Reads numbers from the file beside the graph's that an entry names.

    Raises:
      Damaged: It names none, one elsewhere, or more than there is in it.
      NotRead: That file cannot be read.
    """
    place = PurePosixPath(entry.get("location", ""))
    if place.is_absolute() or ".." in place.parts or place == PurePosixPath():
        raise Damaged(
            f"its numbers are said to lie in {str(place)!r:.80}, not beside it"
        )
    file = path.parent / place
    # Links may lead to where the graph itself lies, as in a cache of downloads.
    folders = (path.parent.resolve(), path.resolve().parent)
    if not any(file.resolve().is_relative_to(folder) for folder in folders):
        raise Damaged(f"its numbers lie in {str(place)!r:.80}, a link to elsewhere")
    try:
        with open_regular(file) as opened:
            size = opened.seek(0, os.SEEK_END)
            offset = int(entry.get("offset", 0))
            length = int(entry.get("length", size - offset))
            if min(offset, length) < 0 or offset + length > size:
                raise Damaged(
                    f"{str(place)!r:.80} has {size:,} bytes, not {length:,} from "
                    f"{offset:,} on"
                )
            opened.seek(offset)
            return opened.read(length)
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotRead(
            f"an ONNX graph whose numbers lie in {str(place)!r:.80} beside it, which "
            f"cannot be read ({reason:.200}); put that file there"
        ) from error
