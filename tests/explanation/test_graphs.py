"""Explanations and features of networks that are no chain, and of local weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import relu

from alexnet_jax.explanation.gradients import find_layer
from alexnet_jax.extraction.outputs import default_layer
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.graph import Add
from alexnet_jax.models import MODELS
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.trained import load
from tests.exporting.runs import make_run
from tests.graphs import Fork, Joined, fork_by_hand

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

SHAPE = (1, 12, 12, 1)


@pytest.fixture
def fork(tmp_path, monkeypatch):
    """A trained network that is no chain, and its parameters."""
    monkeypatch.setitem(MODELS, "fork", Fork)
    changes = {"model.width": 1.0, "data.image_size": 12, "data.scale": "unit"}
    weights = make_run(tmp_path / "run", "fork", SHAPE[1:], **changes)
    return load(tmp_path / "run"), weights["params"]


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, SHAPE[1:], np.uint8)


@pytest.mark.heavy
def test_features_are_the_layers_outputs(fork, image):
    net, params = fork
    images = np.stack([image, 255 - image])
    wanted = fork_by_hand(params, jnp.float32(images) / np.float32(255))
    found = net.features(images, ["subsample", "relu2", "add3", "relu6"])
    for name, block in zip(found, ("small", "conv2", "conv4", "fc6"), strict=True):
        np.testing.assert_allclose(found[name], wanted[block], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_its_explanation_is_that_of_what_is_written_out(fork, image):
    net, params = fork
    label = 3

    def logit(pixels, shift):
        made = fork_by_hand(params, pixels[None])
        conv2, fc6, fc8 = made["conv2"], params["fc6"], params["fc8"]
        units = (made["conv3"] + shift + conv2).reshape(1, -1)
        units = jnp.maximum(units @ fc6["kernel"] + fc6["bias"][None], 0)
        logits = units @ fc8["kernel"] + fc8["bias"][None]
        return logits[0, label], made["conv3"][0]

    pixels, shift = jnp.float32(image) / 255, jnp.zeros((1, 6, 6, 8), jnp.float32)
    slopes, maps = jax.grad(logit, (0, 1), has_aux=True)(pixels, shift)
    found = net.explain(image, label, window=4, stride=4)
    assert found.layer == "relu3"
    saliency = np.abs(slopes[0][..., 0]) / 255
    np.testing.assert_allclose(found.gradient, saliency, rtol=1e-3, atol=1e-6)
    weights = slopes[1][0].mean(axis=(0, 1))
    cam = jnp.maximum((maps * weights[None, None]).sum(axis=-1), 0)
    wanted = jax.image.resize(cam, (12, 12), "bilinear")
    assert wanted.max() > 0
    scale = float(wanted.max())
    np.testing.assert_allclose(found.grad_cam / scale, wanted / scale, atol=1e-4)


def test_the_nonlinearity_of_a_sum_is_that_of_its_last_convolution():
    class Residual(AlexNetBase):
        def setup(self):
            conv = self.conv
            self.net = self.graph(
                ("conv1", "images", [conv("conv1", 4, 3, pad=1), relu]),
                ("conv2", "conv1", [conv("conv2", 4, 3, pad=1)]),
                ("side", "conv1", [jax.nn.softplus]),
                ("sum", ("conv2", "side"), [Add((1.0, 1.0)), relu]),
                ("fc8", "sum", [flatten, self.dense("fc8", self.num_classes)]),
            )

    rows = describe(Residual(), SHAPE)
    names = [row.name for row in rows]
    assert names[2:6] == ["conv2", "softplus2", "add2", "relu2"]
    assert find_layer(rows).name == "relu2"


def test_local_layers_are_explained_by_their_maps():
    assert find_layer(describe(Joined(), SHAPE)).name == "relu2"


def test_what_the_last_layer_reads_need_not_stand_above_it():
    class Late(AlexNetBase):
        def setup(self):
            dense, drop = self.dense, self.dropout()
            self.net = self.graph(
                ("fc6", "images", [flatten, dense("fc6", 8), relu, drop]),
                ("side", "fc6", [jax.nn.softplus]),
                ("fc8", "fc6", [dense("fc8", 8)]),
                ("sum", ("fc8", "side"), [Add((1.0, 1.0))]),
            )

    assert default_layer(describe(Late(), SHAPE)) == "relu6"
    assert default_layer(describe(Fork(), SHAPE)) == "relu6"
