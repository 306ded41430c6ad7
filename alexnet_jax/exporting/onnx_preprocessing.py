"""Preprocessing as nodes of an ONNX graph: from stored bytes to what a network sees."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from alexnet_jax.config import size_text
from alexnet_jax.exporting.onnx_builder import Graph
from alexnet_jax.preprocessing.pipeline import Pipeline, scale_and_resize


def preprocess(
    graph: Graph, value: str, pipeline: Pipeline, image_shape: Sequence[int]
) -> str:
    """Adds what `Pipeline.__call__` does; returns `(N, C, H, W)` preprocessed."""
    add = graph.node
    name = "preprocessing"
    value = graph.cast(value, f"{name}.cast")
    value = add("Transpose", [value], f"{name}.transpose", perm=[0, 3, 1, 2])
    value = add("Div", [value, graph.number(f"{name}.white", 255)], f"{name}.unit")
    stored, canvas = tuple(image_shape[:2]), pipeline.canvas
    if stored != canvas:
        # Resizing is linear in each axis, so it is what becomes of single pixels.
        down, across = (
            _resizing(old, new) for old, new in zip(stored, canvas, strict=True)
        )
        rows = graph.array(f"{name}.rows", down)
        columns = graph.array(f"{name}.columns", across.T)
        value = add("MatMul", [rows, value], f"{name}.height")
        value = add("MatMul", [value, columns], f"{name}.width")
        graph.notes.append(
            f"{name}: bilinear resizing from {size_text(stored)} to "
            f"{size_text(canvas)}, written as two products of matrices"
        )
    starts = [(a - b) // 2 for a, b in zip(canvas, pipeline.size, strict=True)]
    ends = [start + side for start, side in zip(starts, pipeline.size, strict=True)]
    if canvas != pipeline.size:
        limits = [
            graph.array(f"{name}.{word}", np.array(numbers, np.int64))
            for word, numbers in (("starts", starts), ("ends", ends), ("axes", [2, 3]))
        ]
        value = add("Slice", [value, *limits], f"{name}.crop")
    scale = pipeline.scale
    if scale.mean is not None:
        mean = scale.mean
        if mean.shape[1:3] != (1, 1):
            whole = np.asarray(scale_and_resize(jnp.asarray(mean), canvas))
            mean = whole[:, starts[0] : ends[0], starts[1] : ends[1]]
        subtracted = graph.array(f"{name}.mean", mean.transpose(0, 3, 1, 2))
        value = add("Sub", [value, subtracted], f"{name}.minus_mean")
    factor = scale.factor.transpose(0, 3, 1, 2) if scale.factor.ndim else scale.factor
    value = add("Mul", [value, graph.array(f"{name}.factor", factor)], f"{name}.scale")
    if scale.reversed:
        colors = np.arange(image_shape[2], dtype=np.int64)[::-1]
        order = graph.array(f"{name}.order", colors)
        value = add("Gather", [value, order], f"{name}.reversed", axis=1)
    return value


def _resizing(old: int, new: int) -> np.ndarray:
    """Returns `(new, old) float32`: what each new pixel has of each old one."""
    pixels = jnp.eye(old, dtype=jnp.float32)[:, :, None, None]
    resized = scale_and_resize(pixels, (new, 1))  # an image for each old pixel
    return np.asarray(resized)[:, :, 0, 0].T
