"""Towers on one device: the first half of the maps is tower a's, the second b's."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.models import create_model
from tests.helpers import activations, init_keys

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


@pytest.mark.slow
def test_tower_a_sees_tower_b_from_conv3_on():
    model = create_model("alexnet_2012", num_classes=10, training=False, width=0.25)
    image = 100 * jax.random.normal(jax.random.key(2), (1, 90, 90, 3))
    variables = jax.jit(model.init)(init_keys(), image)
    changed = jax.tree.map(jnp.copy, variables)
    for layer in ("conv1", "conv2"):
        for part, array in changed["params"][layer].items():
            half = array.shape[-1] // 2
            changed["params"][layer][part] = array.at[..., half:].multiply(2.0)
    before = activations(model, variables, image)
    after = activations(model, changed, image)
    for name in ("conv1", "norm1", "pool1", "conv2", "norm2", "mapnorm2", "pool2"):
        half = before[name].shape[-1] // 2
        a, b = np.split(np.asarray(before[name]), [half], axis=-1)
        new_a, new_b = np.split(np.asarray(after[name]), [half], axis=-1)
        np.testing.assert_array_equal(a, new_a, err_msg=name)
        assert not np.allclose(b, new_b), name
    half = before["conv3"].shape[-1] // 2
    assert not np.allclose(before["conv3"][..., :half], after["conv3"][..., :half])


@pytest.mark.heavy
def test_merged_normalisation_changes_the_border_alone():
    model = create_model("alexnet_2012", num_classes=10, training=False)
    image = 100 * jax.random.normal(jax.random.key(3), (1, 40, 40, 3))
    kernel = 0.01 * jax.random.normal(jax.random.key(4), (11, 11, 3, 96))
    conv1 = jax.lax.conv_general_dilated(
        image, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    (norm1,) = (layer for layer in norms_of(model) if layer.groups == 2)
    merged = dataclasses.replace(norm1, groups=1)
    differs = np.asarray(norm1(conv1) != merged(conv1)).any((0, 1, 2))
    assert list(np.flatnonzero(differs)) == [46, 47, 48, 49]


def norms_of(model):
    """The kinds of normalisation across maps that a network has."""
    found = []

    def look(self, x):
        layers = (layer for layer, _ in self.layer_outputs(x))
        found.extend(x for x in layers if isinstance(x, LocalResponseNorm))

    jax.eval_shape(
        lambda: nn.Module.init(
            model,
            init_keys(),
            jnp.zeros((1, 90, 90, 3), jnp.float32),
            method=look,
        )
    )
    return set(found)
