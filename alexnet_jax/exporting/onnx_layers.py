"""Layers as nodes of an ONNX graph: their own operators, or several for want of one.

Source: onnx/onnx, docs/Operators.md.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from alexnet_jax.exporting import kinds
from alexnet_jax.exporting.kinds import Operation
from alexnet_jax.exporting.onnx_builder import Graph
from alexnet_jax.layers.pooling import cell_shares

_NAMES = {
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
}


def add_layer(graph: Graph, value: str, operation: Operation) -> str:
    """Adds an operation on a value.

    Args:
      graph: Where it is added.
      value: The name of what it takes.
      operation: Of any kind.

    Returns:
      The name of what it gives; the value's own where it does nothing.
    """
    return _WRITERS[type(operation)](graph, value, operation)


def _convolution(graph: Graph, value: str, conv: kinds.Convolution) -> str:
    (top, bottom), (left, right) = conv.pads
    if conv.is_dense:
        graph.note(conv, kinds.IN_GROUPS)
    if conv.rounds_up and any((top, bottom, left, right)):
        graph.note(conv, kinds.rounded_up(bottom, right, "zeros"))
    inputs = [value, graph.array(f"{conv.name}.weight", conv.weight)]
    if conv.bias is not None:
        inputs.append(graph.array(f"{conv.name}.bias", conv.bias))
    return graph.node(
        "Conv",
        inputs,
        conv.name,
        kernel_shape=conv.weight.shape[2:],
        strides=conv.strides,
        dilations=conv.dilations,
        group=conv.groups,
        pads=[top, left, bottom, right],
    )


def _dense(graph: Graph, value: str, dense: kinds.Dense) -> str:
    inputs = [value, graph.array(f"{dense.name}.weight", dense.weight)]
    if dense.bias is not None:
        inputs.append(graph.array(f"{dense.name}.bias", dense.bias))
    return graph.node("Gemm", inputs, dense.name, transB=1)


def _batch_norm(graph: Graph, value: str, norm: kinds.BatchNorm) -> str:
    inputs = [
        graph.array(f"{norm.name}.{word}", array)
        for word, array in (
            ("weight", norm.weight),
            ("bias", norm.bias),
            ("running_mean", norm.mean),
            ("running_var", norm.variance),
        )
    ]
    return graph.node(
        "BatchNormalization", [value, *inputs], norm.name, epsilon=norm.epsilon
    )


def _response_norm(graph: Graph, value: str, norm: kinds.ResponseNorm) -> str:
    if norm.size % 2 == 0:
        return _even_norm(graph, value, norm)
    settings: dict[str, Any] = {
        "size": norm.size,
        "alpha": norm.alpha,
        "beta": norm.beta,
        "bias": norm.k,
    }
    if norm.groups == 1:
        return graph.node("LRN", [value], norm.name, **settings)
    graph.note(norm, f"{norm.groups} groups; written as Split, LRN of each, Concat")
    name, count = norm.name, norm.groups
    channels = norm.input_shape[0] // count
    sizes = graph.array(f"{name}.sizes", np.full(count, channels, np.int64))
    parts = graph.node("Split", [value, sizes], f"{name}.split", count=count, axis=1)
    normed = [
        graph.node("LRN", [f"{parts}{i}"], f"{name}.group{i}", **settings)
        for i in range(count)
    ]
    return graph.node("Concat", normed, name, axis=1)


def _even_norm(graph: Graph, value: str, norm: kinds.ResponseNorm) -> str:
    """Adds a window that reaches one map further down, where ONNX's reaches up."""
    graph.note(
        norm,
        f"an even window of {norm.size} maps, which ONNX's LRN lays one map higher; "
        "written as AveragePool over the maps' squares, Pow, Div",
    )
    name, (channels, *sides) = norm.name, norm.input_shape
    square = graph.node("Mul", [value, value], f"{name}.square")
    planes = [0, norm.groups, channels // norm.groups, math.prod(sides)]
    shape = graph.array(f"{name}.planes", np.array(planes, np.int64))
    square = graph.node("Reshape", [square, shape], f"{name}.as_planes")
    mean = graph.node(
        "AveragePool",
        [square],
        f"{name}.mean",
        kernel_shape=[norm.size, 1],
        pads=[norm.size // 2, 0, (norm.size - 1) // 2, 0],
        strides=[1, 1],
        count_include_pad=1,
    )
    shape = graph.array(f"{name}.maps", np.array([0, channels, *sides], np.int64))
    mean = graph.node("Reshape", [mean, shape], f"{name}.as_maps")
    return _divide(graph, value, mean, norm.name, norm.k, norm.alpha, norm.beta)


def _map_norm(graph: Graph, value: str, norm: kinds.MapNorm) -> str:
    graph.note(
        norm,
        "ONNX has no normalization within a map; written as AveragePool over the "
        "squares, Pow, Div",
    )
    square = graph.node("Mul", [value, value], f"{norm.name}.square")
    before, after = norm.size // 2, (norm.size - 1) // 2
    mean = graph.node(
        "AveragePool",
        [square],
        f"{norm.name}.mean",
        kernel_shape=[norm.size] * 2,
        pads=[before, before, after, after],
        strides=[1, 1],
        count_include_pad=1,
    )
    return _divide(graph, value, mean, norm.name, 1.0, norm.alpha, norm.beta)


def _divide(
    graph: Graph, value: str, mean: str, name: str, k: float, alpha: float, beta: float
) -> str:
    """Adds value / (k + alpha · mean)^beta."""
    alpha_name = graph.number(f"{name}.alpha", alpha)
    scaled = graph.node("Mul", [mean, alpha_name], f"{name}.scaled")
    base = graph.node("Add", [scaled, graph.number(f"{name}.k", k)], f"{name}.base")
    exponent = graph.number(f"{name}.beta", beta)
    power = graph.node("Pow", [base, exponent], f"{name}.power")
    return graph.node("Div", [value, power], name)


def _pool(graph: Graph, value: str, pool: kinds.Pool) -> str:
    down, across = pool.overhang
    if down or across:
        graph.note(pool, kinds.rounded_up(down, across, "pads"))
    return graph.node(
        "AveragePool" if pool.average else "MaxPool",
        [value],
        pool.name,
        kernel_shape=[pool.size] * 2,
        strides=[pool.stride] * 2,
        pads=[0, 0, down, across],
    )


def _adaptive_pool(graph: Graph, value: str, pool: kinds.AdaptivePool) -> str:
    if pool.input_shape == pool.output_shape:
        graph.note(pool, "leaves 6×6 maps as they are; left out")
        return value
    graph.note(pool, "written as two products with the cells' shares of the pixels")
    _, height, width = pool.input_shape
    _, rows, columns = pool.output_shape
    down = graph.array(f"{pool.name}.rows", cell_shares(height, rows))
    across = graph.array(f"{pool.name}.columns", cell_shares(width, columns).T)
    value = graph.node("MatMul", [down, value], f"{pool.name}.height")
    return graph.node("MatMul", [value, across], pool.name)


def _activation(graph: Graph, value: str, activation: kinds.Activation) -> str:
    axis = {"axis": 1} if activation.function == "softmax" else {}
    return graph.node(_NAMES[activation.function], [value], activation.name, **axis)


def _dropout(graph: Graph, value: str, dropout: kinds.Dropout) -> str:
    if not dropout.mask:
        return value  # at test it does nothing
    kept = 1 - dropout.rate
    graph.note(dropout, f"dropout of 2012; written as a product with {kept:g}")
    kept_name = graph.number(f"{dropout.name}.kept", kept)
    return graph.node("Mul", [value, kept_name], dropout.name)


def _flatten(graph: Graph, value: str, flatten: kinds.Flatten) -> str:
    return graph.node("Flatten", [value], flatten.name)


_WRITERS: dict[type[Operation], Callable[[Graph, str, Any], str]] = {
    kinds.Convolution: _convolution,
    kinds.Dense: _dense,
    kinds.BatchNorm: _batch_norm,
    kinds.ResponseNorm: _response_norm,
    kinds.MapNorm: _map_norm,
    kinds.Pool: _pool,
    kinds.AdaptivePool: _adaptive_pool,
    kinds.Activation: _activation,
    kinds.Dropout: _dropout,
    kinds.Flatten: _flatten,
}
