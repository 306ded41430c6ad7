"""Writes a network as an ONNX file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alexnet_jax.atomic import atomic_write
from alexnet_jax.errors import InputError
from alexnet_jax.exporting.kinds import Operation
from alexnet_jax.exporting.onnx_builder import Graph
from alexnet_jax.exporting.onnx_layers import add_layer
from alexnet_jax.exporting.onnx_preprocessing import preprocess
from alexnet_jax.preprocessing.pipeline import Pipeline

FILE = "model.onnx"
_LIMIT_BYTES = 2**31  # of a protobuf message


def write_onnx(
    folder: Path,
    network: str,
    operations: Sequence[Operation],
    *,
    pipeline: Pipeline | None = None,
    image_shape: tuple[int, int, int] | None = None,
    metadata: Mapping[str, str],
) -> list[str]:
    """Writes `model.onnx`, for any number of images at once.

    Its input is `image`, `(N, C, H, W) float32` preprocessed, its output `logits`,
    `(N, classes)`. With `pipeline` its input is `(N, h, w, C) uint8` as stored, and
    `probabilities` are an output too.

    Args:
      folder: Where it is written; it must exist.
      network: Its registered name, or any other, by which the graph is called.
      operations: From `list_operations`.
      pipeline: The preprocessing that is to be inside; only its central view.
      image_shape: With `pipeline`, height, width and channels of stored images.
      metadata: Keys and values that are kept in the file.

    Returns:
      A line for each layer that is written by other operators than its own.

    Raises:
      InputError: `onnx` is not installed, or the network is larger than a file can be.
      OSError: The file cannot be written.
    """
    graph = Graph()
    size = sum(
        array.nbytes
        for operation in operations
        for array in vars(operation).values()
        if isinstance(array, np.ndarray)
    )
    if size > _LIMIT_BYTES - 2**20:
        raise InputError(
            f"an ONNX file holds at most 2 GiB; {network} has {size / 2**30:.1f} GiB "
            "of weights; export it with --format=safetensors"
        )
    if pipeline is None:
        graph.input = "image", np.float32, operations[0].input_shape
        value = "image"
    else:
        assert image_shape is not None  # it comes with the pipeline
        graph.input = "image", np.uint8, image_shape
        value = preprocess(graph, "image", pipeline, image_shape)
    for operation in operations:
        value = add_layer(graph, value, operation)
    classes = operations[-1].output_shape
    outputs = {graph.rename_last("logits"): classes}
    if pipeline is not None:
        graph.node("Softmax", ["logits"], "probabilities", axis=1)
        outputs[graph.rename_last("probabilities")] = classes
    model = graph.model(network, outputs, metadata)
    with atomic_write(folder / FILE) as path:
        path.write_bytes(model.SerializeToString())
    return graph.notes
