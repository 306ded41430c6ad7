import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.initializers import SCHEMES, initialize
from alexnet_jax.models import MODELS, create_model
from tests.models.table import TABLE

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
LAYERS = (*CONVS, "fc6", "fc7", "fc8")
# Deviations and biases of the layers, in order, as the authors' files have them.
AUTHORS = {
    "paper": ([0.01] * 8, [0, 1, 0, 1, 1, 1, 1, 0]),
    "2012": ([0.01, 0.01, 0.03, 0.03, 0.03] + [0.01] * 3, [0, 1, 0, 1, 1, 1, 1, 0]),
    "one_weird_trick": (
        [0.01, 0.01, 0.03, 0.03, 0.03] + [0.01] * 3,
        [0, 1, 0, 1, 1, 1, 1, -7],
    ),
    "caffe": (
        [0.01] * 5 + [0.005, 0.005, 0.01],
        [0, 0.1, 0, 0.1, 0.1, 0.1, 0.1, 0],
    ),
    "caffenet": ([0.01] * 5 + [0.005, 0.005, 0.01], [0, 1, 0, 1, 1, 1, 1, 0]),
}


@functools.cache
def draw(name, scheme):
    fields = {"width": 0.25} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, initializer=scheme, **fields)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(model.init)(keys, jnp.zeros((1, 67, 67, 1), jnp.float32))
    return jax.device_get(variables)["params"]


def check_uniform(layer, name):
    """PyTorch's: kernel and bias within 1/√fan_in."""
    kernel, bias = layer["kernel"], layer["bias"]
    bound = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
    assert max(np.abs(kernel).max(), np.abs(bias).max()) <= bound, name
    assert np.abs(kernel).max() > 0.99 * bound, name
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)
    assert np.abs(bias).max() > 0.5 * bound, name


def check_normal(kernel, deviation, name):
    error = deviation / math.sqrt(2 * kernel.size)
    assert abs(kernel.std() - deviation) < 5 * error, name
    assert abs(kernel.mean()) < 5 * deviation / math.sqrt(kernel.size), name
    assert 3.0 < np.abs(kernel).max() / deviation < 7.0, name  # has tails


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", AUTHORS)
def test_authors_deviations_and_biases(scheme):
    params = draw("alexnet_paper", scheme)
    assert tuple(params) == LAYERS
    for name, deviation, bias in zip(LAYERS, *AUTHORS[scheme], strict=True):
        check_normal(params[name]["kernel"], deviation, name)
        np.testing.assert_array_equal(params[name]["bias"], np.float32(bias), name)


def test_conv6_is_drawn_like_conv5():
    conv6 = draw("alexnet_2012_conv6", "author")["conv6"]
    check_normal(conv6["kernel"], 0.03, "conv6")
    assert (conv6["bias"] == 1).all()


def test_torch_is_uniform_with_fan_in():
    for name, layer in draw("alexnet_paper", "torch").items():  # groups' fan-in, too
        check_uniform(layer, name)


def test_ungrouped_mixes_the_papers_with_pytorchs():
    params = draw("alexnet_ungrouped", "author")
    for name, bias in zip(CONVS, (0, 1, 0, 1, 1), strict=True):
        check_normal(params[name]["kernel"], 0.01, name)
        assert (params[name]["bias"] == bias).all()
    for name in ("fc6", "fc7", "fc8"):
        check_uniform(params[name], name)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("scheme", "variance"),
    [
        ("lecun", lambda fan_in, fan_out: 1 / fan_in),
        ("he", lambda fan_in, fan_out: 2 / fan_in),
        ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    ],
)
def test_variances(scheme, variance):
    params = draw("lenet5", scheme)
    for name in ("conv2", "fc3", "fc4"):
        kernel = params[name]["kernel"]
        field = np.prod(kernel.shape[:-2])
        fans = field * kernel.shape[-2], field * kernel.shape[-1]
        np.testing.assert_allclose(kernel.var(), variance(*fans), rtol=0.1)
        assert not params[name]["bias"].any()


def test_every_scheme_is_tested():
    assert {*AUTHORS, "torch", "ungrouped", "lecun", "he", "xavier"} == SCHEMES.keys()


def test_each_networks_author_has_a_scheme():
    made = {name: network.author_initializer for name, network in MODELS.items()}
    assert made == {name: known.scheme for name, known in TABLE.items()}


@pytest.mark.parametrize("name", ["alexnet_2012", "lenet5"])
def test_author_is_the_default(name):
    by_author, by_name = draw(name, "author"), draw(name, TABLE[name].scheme)
    assert jax.tree.all(jax.tree.map(np.array_equal, by_author, by_name))


@pytest.mark.heavy
def test_layers_do_not_share_draws():
    params = draw("alexnet_half", "torch")
    corner = (slice(8), slice(8))
    fc6, fc7 = (params[name]["kernel"][corner] for name in ("fc6", "fc7"))
    assert np.abs(np.corrcoef(fc6.ravel(), fc7.ravel())[0, 1]) < 0.5


def test_layers_of_other_names_and_without_a_bias():
    params = {
        "layers_0": {"kernel": jnp.zeros((9, 9, 8, 16))},
        "norm": {"scale": jnp.ones(16), "bias": jnp.zeros(16)},
    }
    drawn = initialize(params, jax.random.key(0), "2012")
    check_normal(np.asarray(drawn["layers_0"]["kernel"]), 0.01, "layers_0")
    assert drawn["layers_0"].keys() == {"kernel"}
    np.testing.assert_array_equal(drawn["norm"]["scale"], params["norm"]["scale"])
