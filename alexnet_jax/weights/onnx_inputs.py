"""What an ONNX graph takes, without the graph's weights.

Source: onnx/onnx, onnx/onnx.proto.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.atomic import open_regular
from alexnet_jax.weights.wire import fields

# Numbers of fields: of `ModelProto`, `GraphProto`, `TensorProto` ...
_GRAPH, _INITIALIZERS, _INPUTS, _TENSOR_NAME = 7, 5, 11, 8
# ... and, from `ValueInfoProto` down, of its name, and of type, tensor, shape and axes.
_NAME, _TO_AXES, _AXES, _LENGTH = 1, (2, 1, 2), 1, 1


def image_size(path: Path) -> tuple[int, int] | None:
    """Returns the height and width of the images that a graph takes.

    None, if it takes any, or none with the channels first.

    Args:
      path: The file.

    Raises:
      Damaged: It is cut short.
    """
    with open_regular(path) as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    graphs = [*_within(content, _GRAPH)]
    weights = {  # which older files list among the inputs
        bytes(name)
        for graph in graphs
        for tensor in _within(graph, _INITIALIZERS)
        for name in _within(tensor, _TENSOR_NAME)
    }
    for value in (value for graph in graphs for value in _within(graph, _INPUTS)):
        if weights.isdisjoint(map(bytes, _within(value, _NAME))):
            axes = [*_axes(value)]
            if len(axes) == 4 and axes[1] == 3 and axes[2] and axes[3]:
                return axes[2], axes[3]
    return None


def _axes(value: memoryview) -> Iterator[int]:
    """Yields the lengths of an input's axes; 0 of one of any length."""
    parts = [value]
    for number in _TO_AXES:
        parts = [inner for part in parts for inner in _within(part, number)]
    for axis in (axis for part in parts for axis in _within(part, _AXES)):
        found = [n for f in fields(axis) if f.number == _LENGTH for n in f.integers]
        yield found[0] if found else 0


def _within(message: memoryview, number: int) -> Iterator[memoryview]:
    return (field.content for field in fields(message) if field.number == number)
