"""An ONNX graph under construction: nodes, the arrays they read, and notes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alexnet_jax.exporting.kinds import Operation
from alexnet_jax.exporting.libraries import require

# Of 2021: the first in which BatchNormalization says whether it trains, so that every
# operator used here means one thing; runtimes of that age read the files too.
OPSET = 15
_SMALL_BYTES = 1024


class Graph:
    """Nodes, and the arrays they read, as they are added.

    Attributes:
      input: Name of the images, their type, and the shape of one.
      notes: What is said of layers that were written by other operators.
    """

    def __init__(self) -> None:
        """Raises an `InputError` if `onnx` is not installed."""
        self.input: tuple[str, type, Sequence[int]] = ("image", np.float32, ())
        self.notes: list[str] = []
        self._onnx = require("onnx")
        self._nodes: list[Any] = []
        self._arrays: dict[str, np.ndarray] = {}

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        name: str,
        *,
        count: int = 1,
        **settings: Any,
    ) -> str:
        """Adds a node and returns its output's name; of several, their common start."""
        value = f"{name}_output"
        outputs = [value] if count == 1 else [f"{value}{i}" for i in range(count)]
        made = self._onnx.helper.make_node(
            kind, list(inputs), outputs, name=name, **settings
        )
        self._nodes.append(made)
        return value

    def array(self, name: str, value: Any) -> str:
        """Adds an array, integers or float32, and returns its name."""
        self._arrays[name] = np.asarray(value)
        return name

    def number(self, name: str, value: float) -> str:
        """Adds a `float32` number."""
        return self.array(name, np.array(value, np.float32))

    def cast(self, value: str, name: str) -> str:
        """Adds a conversion to `float32`."""
        return self.node("Cast", [value], name, to=self._onnx.TensorProto.FLOAT)

    def note(self, operation: Operation, words: str) -> None:
        """Says how a layer was written."""
        self.notes.append(f"{operation.name}: {words}")

    def rename_last(self, name: str) -> str:
        """Renames the last node's output, and returns that."""
        self._nodes[-1].output[0] = name
        return name

    def write(
        self,
        path: Path,
        name: str,
        outputs: Mapping[str, Sequence[int]],
        metadata: Mapping[str, str],
    ) -> None:
        """Writes the model, once it is found to be sound.

        Args:
          path: The file.
          name: The graph's.
          outputs: Their names, and shapes for one image.
          metadata: Keys and values that are kept in the file.
        """
        onnx, helper = self._onnx, self._onnx.helper
        opsets = [helper.make_opsetid("", OPSET)]

        def describe(name: str, dtype: Any, shape: Sequence[Any]) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, shape)

        image, dtype, shape = self.input
        model = helper.make_model(
            helper.make_graph(
                self._nodes,
                name,
                [describe(image, dtype, ["N", *shape])],
                [describe(key, np.float32, ["N", *of]) for key, of in outputs.items()],
            ),
            producer_name="alexnet_jax",
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
        )
        helper.set_model_props(model, dict(metadata))
        tensors = [
            (
                onnx.TensorProto(
                    name=key,
                    dims=array.shape,
                    data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                ),
                array,
            )
            for key, array in self._arrays.items()
        ]
        # Large arrays are inputs to the checker, which would copy them several times.
        checked = onnx.ModelProto()
        checked.CopyFrom(model)
        for key, array in self._arrays.items():
            if array.nbytes > _SMALL_BYTES:
                checked.graph.input.append(describe(key, array.dtype, array.shape))
            else:
                small = onnx.numpy_helper.from_array(array, key)
                checked.graph.initializer.append(small)
        onnx.checker.check_model(checked, full_check=True)
        with path.open("wb") as file:
            _write(file, model, tensors)


# Of fields with a length, in onnx.proto: the number, and wire type 2.
_GRAPH, _INITIALIZER, _RAW_DATA = (bytes([number << 3 | 2]) for number in (7, 5, 9))


def _write(file: BinaryIO, model: Any, tensors: list[tuple[Any, np.ndarray]]) -> None:
    """Writes a model, its arrays last and one at a time.

    Serialized as a whole, every array would be in memory three times.

    Source: protobuf.dev, "Encoding".
    """
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    heads = []
    for tensor, array in tensors:
        head = tensor.SerializeToString() + _RAW_DATA + _varint(array.nbytes)
        length = _varint(len(head) + array.nbytes)
        heads.append(_INITIALIZER + length + head)
    size = len(graph) + sum(map(len, heads)) + sum(a.nbytes for _, a in tensors)
    file.write(model.SerializeToString() + _GRAPH + _varint(size) + graph)
    for head, (_, array) in zip(heads, tensors, strict=True):
        file.write(head)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        file.write(np.ascontiguousarray(little).data)


def _varint(number: int) -> bytes:
    """Returns a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
