"""Every network, ablation and size that is exported, with random variables."""

import jax
import numpy as np

from alexnet_jax.models import MODELS, create_model
from tests.helpers import init_keys

WIDTH = 1 / 16
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


def random_variables(model, input_shape, seed=0):
    """Random variables, large enough that every layer has a say in the logits."""
    image = jax.ShapeDtypeStruct((1, *input_shape), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(init_keys(), x), image)
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        drawn = generator.normal(size=leaf.shape).astype(np.float32)
        part = path[-1].key
        if part == "kernel":
            return drawn * np.float32((2 / np.prod(leaf.shape[:-1])) ** 0.5)
        if part in ("var", "scale"):
            return np.abs(drawn) + np.float32(0.5)
        return drawn * np.float32(0.1)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def create_case(name, num_classes=7):
    """Returns the network, its variables, a batch as it sees it, and its logits."""
    network, fields, shape = CASES[name]
    if hasattr(MODELS[network], "width"):
        fields = {"width": WIDTH, **fields}
    model = create_model(
        network, num_classes=num_classes, initializer="lecun", training=False, **fields
    )
    variables = random_variables(model, shape)
    span = 40.0 if MODELS[network].author_scale == "pixels" else 1.0
    drawn = np.random.default_rng(1).normal(size=(2, *shape))
    image = (span * drawn).astype(np.float32)
    logits = np.asarray(jax.jit(model.apply)(variables, image))
    return model, variables, image, logits
