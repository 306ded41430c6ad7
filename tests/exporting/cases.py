"""Every network, ablation and size that is exported, with random variables."""

from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np

from alexnet_jax.layers.conv import CEIL, Conv, ceil_pad
from alexnet_jax.layers.dense import TowerDense, flatten
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.normalization import LocalResponseNorm as lrn
from alexnet_jax.layers.normalization import MapNorm
from alexnet_jax.layers.pooling import (
    CeilPool,
    adaptive_avg_pool,
    avg_pool,
    max_pool_2x2,
)
from alexnet_jax.models import MODELS, Classifier, create_model
from tests.helpers import init_keys

WIDTH = 1 / 16
# Networks whose weights are published, so that `convert` reads files of them.
OF_FILES = ("alexnet_torchvision", "alexnet_caffe", "caffenet")
_ABLATED = {
    "alexnet_paper": [
        {"normalization": "batch"},
        {"normalization": "none", "activation": "tanh"},
        {"pooling": "2x2"},
        {"pooling": "average"},
        {"links": False},
        {"links": False, "normalization": "batch", "pooling": "2x2"},
    ],
    "alexnet_2012_conv6": [{"links": False, "activation": "tanh"}],
    "alexnet_2012_one_gpu": [{"normalization": "batch", "pooling": "average"}],
    "alexnet_one_weird_trick": [{"normalization": "batch"}],
    "alexnet_keras": [{"softmax": True}],
    "alexnet_2012": [{"dropout_rate": 0.3}],
}
# Other images than the author's: rectangles, and what is left of a stride.
_SHAPES = {
    "alexnet_paper": [(225, 198, 1), (67, 70, 3)],
    "alexnet_torchvision": [(160, 192, 3), (63, 63, 1), (600, 230, 3)],
    "alexnet_caffe": [(224, 230, 3)],
    "alexnet_2012": [(70, 90, 2)],
    "lenet5": [(29, 40, 3)],
}
# (network, fields, shape of an image)
CASES = {
    **{name: (name, {}, MODELS[name].reference.input_shape) for name in MODELS},
    **{
        f"{name}-{'-'.join(f'{k}={v}' for k, v in fields.items())}": (
            name, fields, MODELS[name].reference.input_shape
        )
        for name, several in _ABLATED.items()
        for fields in several
    },
    **{
        f"{name}-{'x'.join(map(str, shape))}": (name, {}, shape)
        for name, shapes in _SHAPES.items()
        for shape in shapes
    },
}  # fmt: skip


class Net(Classifier):
    """A user's network of the layers that a function makes."""

    make: Callable = list

    def setup(self):
        self.net = nn.Sequential(self.make())


def _strided():
    return [
        nn.Conv(6, (3, 3), strides=2),
        nn.BatchNorm(True),
        lrn("2012", size=4, alpha=2.0, groups=2),
        nn.relu,
        flatten,
        nn.BatchNorm(True, use_scale=False),
        nn.Dropout(0.2, deterministic=True),
        nn.Dense(8),
        nn.relu,
        nn.Dense(7, use_bias=False),
    ]


def _lopsided():
    return [
        nn.Conv(
            *(8, (3, 2), (2, 1), ((1, 0), (2, 1))),
            kernel_dilation=(1, 2),
            feature_group_count=2,
            use_bias=False,
        ),
        nn.tanh,
        lrn("torch", size=3, alpha=2.0, groups=2),
        lrn("torch", size=6, alpha=2.0),
        nn.Dense(6),  # pixel by pixel
        MapNorm(3, scale=2.0),
        nn.softmax,
        avg_pool,
        TowerDense(12, 3),
        nn.sigmoid,
        TowerDense(9, 3),
        flatten,
        nn.Dense(7),
        MaskDropout(0.3, deterministic=True),
    ]


def _adaptive():
    return [
        nn.relu,
        Conv(4, (3, 3), padding=CEIL, strides=2, feature_group_count=2),
        max_pool_2x2,
        adaptive_avg_pool,
        TowerDense(5),
        TowerDense(8),
        nn.BatchNorm(True, epsilon=0.1),
        TowerDense(7),
        nn.softmax,
    ]


def _hanging():
    return [
        Conv(6, (5, 5), padding=ceil_pad(2), strides=3),
        nn.tanh,
        CeilPool("max", 3, 1),
        CeilPool("avg", 4, 3),
        flatten,
        nn.Dense(7),
    ]


# Users' networks: layers, and the shape of an image.
USERS = {
    "strided": (_strided, (9, 12, 3)),
    "lopsided": (_lopsided, (8, 11, 4)),
    "adaptive": (_adaptive, (17, 26, 2)),
    "hanging": (_hanging, (23, 28, 2)),
}


def random_variables(model, input_shape, seed=0):
    """Random variables, large enough that every layer has a say in the logits."""
    image = jax.ShapeDtypeStruct((1, *input_shape), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(init_keys(), x), image)
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        drawn = generator.standard_normal(leaf.shape, np.float32)
        part = path[-1].key
        if part == "kernel":
            return drawn * np.float32((2 / np.prod(leaf.shape[:-1])) ** 0.5)
        if part in ("var", "scale"):
            return np.abs(drawn) + np.float32(0.5)
        return drawn * np.float32(0.1)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def create_case(name, num_classes=7):
    """Returns the network, its variables and a batch as it sees it."""
    span = 1.0
    if name in USERS:
        layers, shape = USERS[name]
        model = Net(make=layers, training=False)
    else:
        network, fields, shape = CASES[name]
        span = 40.0 if MODELS[network].author_scale == "pixels" else 1.0
        if hasattr(MODELS[network], "width"):
            fields = {"width": WIDTH, **fields}
        model = create_model(network, num_classes=num_classes, training=False, **fields)
    variables = random_variables(model, shape)
    drawn = np.random.default_rng(1).normal(size=(2, *shape))
    image = (span * drawn).astype(np.float32)
    return model, variables, image


def logits_of(model, variables, image):
    return np.asarray(jax.jit(model.apply)(variables, image))


def channels_first(image):
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))
