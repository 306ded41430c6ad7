"""Weights at a sixteenth of the width, and the files that hold them."""

import numpy as np

from alexnet_jax.models import MODELS, create_model
from tests.helpers import shapes_of
from tests.weights import writers

WIDTH = 1 / 16
TORCHVISION = {
    **{"conv1": "features.0", "conv2": "features.3", "conv3": "features.6"},
    **{"conv4": "features.8", "conv5": "features.10", "fc6": "classifier.1"},
    **{"fc7": "classifier.4", "fc8": "classifier.6"},
}
_NORM_FIRST = ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2"]
_POOL_FIRST = ["conv1", "pool1", "norm1", "conv2", "pool2", "norm2"]
ORDER = {
    name: [*first, "conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "fc8"]
    for name, first in (("alexnet_caffe", _NORM_FIRST), ("caffenet", _POOL_FIRST))
}
KINDS = {"conv": "Convolution", "norm": "LRN", "pool": "Pooling", "fc": "InnerProduct"}


def params_of(network, dtype=np.float32, num_classes=7):
    """Random weights in our layout, of numbers that a narrower type has."""
    model = create_model(network, training=True, num_classes=num_classes, width=WIDTH)
    shapes = shapes_of(model, (1, *MODELS[network].reference.input_shape))
    draw = np.random.default_rng(0)
    return {
        layer: {
            part: draw.normal(0, 0.1, leaf.shape).astype(dtype)
            for part, leaf in parts.items()
        }
        for layer, parts in shapes.items()
    }


def weights_of(network):
    """Weights whose logits depend on every layer, at 0 to 255 as well."""
    params = params_of(network)
    for layer, parts in params.items():
        inputs = np.prod(parts["kernel"].shape[:-1])
        parts["kernel"] *= np.float32(10 * np.sqrt(2 / inputs))
        if layer == "conv1" and network != "alexnet_torchvision":
            parts["kernel"] /= np.float32(60)
    return params


def channels_first(params, *, bgr=False):
    """Our weights as Caffe and PyTorch have them: (out, in, h, w) and (out, in)."""
    found = {}
    for layer, parts in params.items():
        kernel = parts["kernel"]
        if bgr and layer == "conv1":
            kernel = kernel[:, :, [2, 1, 0]]
        if layer == "fc6":
            rows = kernel.reshape(6, 6, -1, kernel.shape[1])
            kernel = np.concatenate(
                [rows[:, :, c].reshape(36, -1) for c in range(rows.shape[2])]
            )
        kernel = np.moveaxis(kernel, -1, 0)
        if kernel.ndim == 4:
            kernel = np.moveaxis(kernel, -1, 1)
        found[layer] = np.ascontiguousarray(kernel), parts["bias"]
    return found


def torch_arrays(params):
    """Our weights by torchvision's names."""
    return {
        f"{TORCHVISION[layer]}.{part}": array
        for layer, pair in channels_first(params).items()
        for part, array in zip(("weight", "bias"), pair, strict=True)
    }


def caffe_layers(params, network):
    """A network's layers in Caffe's order, with blobs."""
    blobs = channels_first(params, bgr=True)
    return [
        (name, KINDS[name.rstrip("0123456789")], blobs.get(name, ()))
        for name in ORDER[network]
    ]


def npy_layers(params):
    """`bvlc_alexnet.npy`: Caffe's order of colors, TensorFlow's of axes."""
    found = {layer: [parts["kernel"], parts["bias"]] for layer, parts in params.items()}
    found["conv1"][0] = np.ascontiguousarray(found["conv1"][0][:, :, ::-1])
    return found


def onnx_graph(params, network):
    """Nodes and initializers of a graph."""
    is_caffe = network != "alexnet_torchvision"
    pairs = channels_first(params, bgr=is_caffe)
    arrays = {"shape": np.array([-1, 9216])}
    nodes = []
    order = ORDER[network] if is_caffe else [*pairs]
    kinds = {"conv": "Conv", "norm": "LRN", "pool": "MaxPool", "fc": "Gemm"}
    for name in order:
        kind = kinds[name.rstrip("0123456789")]
        inputs = ["x"]
        if name in pairs:
            inputs += [f"{name}_w_0", f"{name}_b_0"]
            arrays |= dict(zip(inputs[1:], pairs[name], strict=True))
        nodes.append((kind, inputs, {"transB": 1} if kind == "Gemm" else {}))
    return nodes, arrays


def write_torch(path, network="alexnet_torchvision", **changes):
    """Writes a state dict; returns the weights in our layout."""
    params = params_of(network)
    writers.save_torch(path, writers.state_dict(torch_arrays(params) | changes))
    return params
