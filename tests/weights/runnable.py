"""ONNX files that ONNX Runtime runs: the published networks at a sixteenth."""

import numpy as np
import pytest

from tests.weights.published import ORDER, channels_first

_POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}


def save_runnable_onnx(
    path,
    network,
    params,
    *,
    sides=("h", "w"),
    count="n",
    softmax=False,
):
    """Writes a graph, as its framework has the network, with the `onnx` library.

    Args:
      path: Of the file.
      network: One of the three that are published.
      params: In our layout.
      sides: Of the images that it takes; fixed, where they are numbers.
      count: How many of them, likewise.
      softmax: Whether it ends in probabilities.
    """
    onnx = pytest.importorskip("onnx")
    is_caffe = network != "alexnet_torchvision"
    pairs = channels_first(params, bgr=is_caffe)
    order = ORDER["alexnet_caffe"] if not is_caffe else ORDER[network]
    nodes, arrays, last = [], {}, "image"

    def add(kind, *names, **attributes):
        nonlocal last
        made = f"{kind}{len(nodes)}"
        nodes.append(onnx.helper.make_node(kind, [last, *names], [made], **attributes))
        last = made

    pads = {"conv1": 0 if is_caffe else 2, "conv2": 2}
    for name in order:
        kind = name.rstrip("0123456789")
        names = f"{name}_w_0", f"{name}_b_0"
        if name in pairs:
            arrays |= dict(zip(names, pairs[name], strict=True))
        if kind == "conv":
            stride = 4 if name == "conv1" else 1
            groups = 2 if is_caffe and name in ("conv2", "conv4", "conv5") else 1
            pad, strides = pads.get(name, 1), [stride] * 2
            add("Conv", *names, strides=strides, pads=[pad] * 4, group=groups)
            add("Relu")
        elif kind == "norm" and is_caffe:
            add("LRN", size=5, alpha=1e-4, beta=0.75, bias=1.0)
        elif kind == "pool":
            add("MaxPool", **_POOL, ceil_mode=int(is_caffe))
        elif kind == "fc":
            if name == "fc6":
                add("Flatten")
            add("Gemm", *names, transB=1)
            if name != "fc8":
                add("Relu")
    if softmax:
        add("Softmax")
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [tensor("image", onnx.TensorProto.FLOAT, [count, 3, *sides])],
        [tensor(last, onnx.TensorProto.FLOAT, [count, len(pairs["fc8"][1])])],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in arrays.items()
        ],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
