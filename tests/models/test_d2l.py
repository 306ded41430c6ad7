"""d2l's networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.models import AlexNet, create_model
from tests.helpers import init_keys, shapes_of

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")
D2L_SUMMARY = """\
Conv output shape:\t (1, 54, 54, 96)
custom_jvp output shape:\t (1, 54, 54, 96)
function output shape:\t (1, 26, 26, 96)
Conv output shape:\t (1, 26, 26, 256)
custom_jvp output shape:\t (1, 26, 26, 256)
function output shape:\t (1, 12, 12, 256)
Conv output shape:\t (1, 12, 12, 384)
custom_jvp output shape:\t (1, 12, 12, 384)
Conv output shape:\t (1, 12, 12, 384)
custom_jvp output shape:\t (1, 12, 12, 384)
Conv output shape:\t (1, 12, 12, 256)
custom_jvp output shape:\t (1, 12, 12, 256)
function output shape:\t (1, 5, 5, 256)
function output shape:\t (1, 6400)
Dense output shape:\t (1, 4096)
custom_jvp output shape:\t (1, 4096)
Dropout output shape:\t (1, 4096)
Dense output shape:\t (1, 4096)
custom_jvp output shape:\t (1, 4096)
Dropout output shape:\t (1, 4096)
Dense output shape:\t (1, 10)
"""


def test_layer_summary_prints_d2ls_lines(capsys):
    AlexNet(training=False).layer_summary((1, 224, 224, 1), key=jax.random.key(0))
    assert capsys.readouterr().out == D2L_SUMMARY


def test_layer_summary_allocates_no_weights():
    before = sum(array.nbytes for array in jax.live_arrays())
    AlexNet(training=True).layer_shapes((1, 224, 224, 1))
    after = sum(array.nbytes for array in jax.live_arrays())
    assert after - before < 1_000_000  # the weights take 187 MB


def test_layers_carry_their_names():
    shapes = shapes_of(AlexNet(), (1, 224, 224, 1))
    convs, denses = [f"conv{i}" for i in range(1, 6)], ["fc6", "fc7", "fc8"]
    assert sorted(shapes) == convs + denses
    assert shapes["conv1"]["kernel"].shape == (11, 11, 1, 96)
    assert shapes["fc8"]["bias"].shape == (10,)


@pytest.mark.slow
def test_keras_has_its_softmax_on_request():
    plain, softmax = (
        create_model(
            "alexnet_keras",
            num_classes=10,
            training=False,
            width=1 / 16,
            softmax=softmax,
        )
        for softmax in (False, True)
    )
    image = jnp.linspace(0, 1, 2 * 67 * 67).reshape(2, 67, 67, 1)
    variables = jax.jit(plain.init)(init_keys(), image)
    expected = jax.nn.softmax(plain.apply(variables, image))
    np.testing.assert_allclose(softmax.apply(variables, image), expected, rtol=1e-6)
