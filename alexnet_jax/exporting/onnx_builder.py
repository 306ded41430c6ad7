"""An ONNX graph under construction: nodes, the arrays they read, and notes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alexnet_jax.exporting.kinds import Operation
from alexnet_jax.exporting.libraries import require

# Of December 2020: the first in which all operators used here have their present form
# (Split's sizes as an input, Softmax along one axis), so that old runtimes read the
# files too.
OPSET = 13
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
        self._onnx = require("onnx", "onnx")
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

    def model(
        self,
        name: str,
        outputs: Mapping[str, Sequence[int]],
        metadata: Mapping[str, str],
    ) -> Any:
        """Returns the model, once it is found to be sound.

        Args:
          name: The graph's.
          outputs: Their names, and shapes for one image.
          metadata: Keys and values that are kept in the file.
        """
        onnx, helper = self._onnx, self._onnx.helper
        image, dtype, shape = self.input
        opsets = [helper.make_opsetid("", OPSET)]

        def describe(name: str, dtype: Any, shape: Sequence[Any]) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, shape)

        def make(inputs: list[Any], arrays: Mapping[str, np.ndarray]) -> Any:
            made = helper.make_model(
                helper.make_graph(
                    self._nodes,
                    name,
                    [describe(image, dtype, ["N", *shape]), *inputs],
                    [
                        describe(output, np.float32, ["N", *of])
                        for output, of in outputs.items()
                    ],
                ),
                producer_name="alexnet_jax",
                opset_imports=opsets,
                ir_version=helper.find_min_ir_version_for(opsets),
            )
            helper.set_model_props(made, dict(metadata))
            for key, array in arrays.items():
                made.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
            return made

        # Large arrays are inputs to the checker, which would copy them several times.
        small = {k: a for k, a in self._arrays.items() if a.nbytes <= _SMALL_BYTES}
        large = {k: a for k, a in self._arrays.items() if k not in small}
        described = [describe(k, a.dtype, a.shape) for k, a in large.items()]
        onnx.checker.check_model(make(described, small), full_check=True)
        return make([], self._arrays)
