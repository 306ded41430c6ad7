import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import Dense, TowerDense
from alexnet_jax.layers.initializers import SCHEMES, gaussian, gaussian_scheme
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.models.krizhevsky import AlexNetPaper
from tests.helpers import init_keys, shapes_of
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
def draw(name, scheme, **fields):
    if hasattr(MODELS[name], "width"):
        fields["width"] = 0.25
    model = create_model(
        name, num_classes=10, training=True, initializer=scheme, **fields
    )
    key = jax.random.key(0, impl="rbg")  # it compiles in half the time
    keys = {"params": key, "dropout": key}
    variables = jax.jit(model.init)(keys, jnp.zeros((1, 67, 67, 1), jnp.float32))
    return jax.device_get(variables)["params"]


def check_uniform(layer, name):
    """PyTorch's: kernel and bias within 1/√fan_in."""
    kernel, bias = layer["kernel"], layer["bias"]
    bound = np.float32(1 / np.sqrt(np.prod(kernel.shape[:-1])))
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


@pytest.mark.heavy
def test_torch_is_uniform_with_fan_in():
    for name, layer in draw("alexnet_paper", "torch").items():  # groups' fan-in, too
        check_uniform(layer, name)


@pytest.mark.heavy
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


@pytest.mark.slow
def test_layers_do_not_share_draws():
    params = draw("alexnet_half", "torch")
    corner = (slice(8), slice(8))
    fc6, fc7 = (params[name]["kernel"][corner] for name in ("fc6", "fc7"))
    assert np.abs(np.corrcoef(fc6.ravel(), fc7.ravel())[0, 1]) < 0.5


def params_of(layer, shape):
    draw = jax.jit(lambda key: layer.init(key, jnp.zeros(shape, jnp.float32))["params"])
    return jax.device_get(draw(jax.random.key(0)))


def test_layers_of_other_names_and_without_a_bias():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = Conv(16, (9, 9), use_bias=False, initializer="2012")(x)
            return nn.BatchNorm(use_running_average=True)(x)

    drawn = params_of(Two(), (1, 9, 9, 8))
    check_normal(drawn["Conv_0"]["kernel"], 0.01, "Conv_0")
    assert drawn["Conv_0"].keys() == {"kernel"}
    np.testing.assert_array_equal(drawn["BatchNorm_0"]["scale"], np.ones(16))


@pytest.mark.parametrize(
    "layer",
    [
        Conv(32, (3, 3), feature_group_count=2, initializer="torch"),
        Dense(256, initializer="torch"),
        TowerDense(256, 2, initializer="torch"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_bias_is_drawn_by_the_fan_in_of_its_kernel(layer):
    check_uniform(params_of(layer, (1, 4, 4, 32)), "layer")


def test_a_layer_without_a_scheme_follows_its_own_inits():
    inits = {"kernel_init": nn.initializers.ones, "bias_init": nn.initializers.ones}
    for layer in (Conv(2, (3, 3), **inits), Dense(2, **inits)):
        drawn = params_of(layer, (1, 3, 3, 2))
        assert all((leaf == 1).all() for leaf in jax.tree.leaves(drawn))


@pytest.mark.parametrize("layer", [Conv(2, (3, 3)), Dense(2), TowerDense(2)])
def test_an_unknown_scheme(layer):
    layer = layer.clone(initializer="kaiming", name="head")
    with pytest.raises(InputError, match="^head: initializer must be None or one of "):
        layer.init(jax.random.key(0), jnp.zeros((1, 3, 3, 2), jnp.float32))


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", SCHEMES)
def test_kernels_and_biases_of_all_layers(scheme):
    """What a scheme draws for names and shapes, apart from any network."""
    deviations = dict(zip(LAYERS, AUTHORS.get(scheme, ([], []))[0], strict=False))
    biases = dict(zip(LAYERS, AUTHORS.get(scheme, ([], []))[1], strict=False))
    for name in LAYERS:
        shape = (3, 3, 4, 64) if name in CONVS else (72, 32)
        inits = SCHEMES[scheme](name, shape)
        drawn = [
            np.asarray(init(jax.random.key(3), part, jnp.float32))
            for init, part in zip(inits, (shape, shape[-1:]), strict=True)
        ]
        layer = dict(zip(("kernel", "bias"), drawn, strict=True))
        assert [part.shape for part in drawn] == [shape, shape[-1:]]
        if scheme in AUTHORS:
            check_normal(layer["kernel"], deviations[name], name)
            np.testing.assert_array_equal(layer["bias"], np.float32(biases[name]))
        elif scheme == "torch" or (scheme == "ungrouped" and name not in CONVS):
            check_uniform(layer, name)
        elif scheme != "ungrouped":
            assert not layer["bias"].any()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "fields"),
    [*((name, {}) for name in MODELS), ("alexnet_paper", {"links": False})],
)
def test_each_layer_of_a_network_asks_the_scheme(name, fields, monkeypatch):
    """By its own name, with its kernel's shape, whichever scheme it is."""
    asked = {}

    def recorder(scheme):
        def ask(layer, kernel_shape):
            asked[layer, scheme] = kernel_shape
            return schemes[scheme](layer, kernel_shape)

        return ask

    schemes = dict(SCHEMES)
    for scheme in schemes:
        monkeypatch.setitem(SCHEMES, scheme, recorder(scheme))
    by_author = TABLE[name].scheme
    for initializer, scheme in (("author", by_author), ("he", "he")):
        asked.clear()
        model = create_model(
            name, num_classes=10, training=True, initializer=initializer, **fields
        )
        params = shapes_of(model, (1, 67, 67, 1))
        assert asked == {
            (layer, scheme): leaves["kernel"].shape for layer, leaves in params.items()
        }


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "fields"),
    [*((name, {}) for name in MODELS if name != "lenet5")]
    + [("alexnet_paper", {"links": False})],
)
def test_networks_are_drawn_as_by_their_authors(name, fields):
    for layer, leaves in draw(name, "author", **fields).items():
        scheme = TABLE[name].scheme
        if scheme in AUTHORS:
            place = LAYERS.index(layer.replace("conv6", "conv5"))
            deviation, bias = (column[place] for column in AUTHORS[scheme])
            check_normal(leaves["kernel"], deviation, layer)
            np.testing.assert_array_equal(leaves["bias"], np.float32(bias), layer)
        elif scheme == "torch":
            check_uniform(leaves, layer)
        elif scheme in ("lecun", "xavier"):
            *field, fan_in, fan_out = leaves["kernel"].shape
            fans = np.prod(field) * np.array([fan_in, fan_out])
            variance = 1 / (fans[0] if scheme == "lecun" else fans.mean())
            np.testing.assert_allclose(leaves["kernel"].var(), variance, rtol=0.1)
            assert not leaves["bias"].any()


class Body(nn.Module):
    """A user's module with a network in it, of which it may wrap the class."""

    wrap: Callable = lambda network: network

    @nn.compact
    def __call__(self, x):
        network = self.wrap(AlexNetPaper)(width=1 / 16, name="alexnet")
        return nn.Dense(3)(network(x))


class Nested(nn.Module):
    def setup(self):
        self.body = Body()

    def __call__(self, x):
        return self.body(x)


def check_paper(params):
    np.testing.assert_array_equal(params["conv2"]["bias"], 1)
    check_normal(params["fc6"]["kernel"], 0.01, "fc6")


@pytest.mark.heavy
@pytest.mark.usefixtures("compiled_in_a_hurry")
def test_every_door_draws_the_same():
    model, image = (
        create_model("alexnet_paper", num_classes=10, training=True, width=1 / 16),
        jnp.zeros((1, 67, 67, 1), jnp.float32),
    )
    doors = {
        "init": lambda: model.init(init_keys(), image),
        "init_with_output": lambda: model.init_with_output(init_keys(), image)[1],
        "lazy_init": lambda: model.lazy_init(
            init_keys(), jax.ShapeDtypeStruct(image.shape, image.dtype)
        ),
    }
    drawn = {name: jax.device_get(jax.jit(door)()) for name, door in doors.items()}
    check_paper(drawn["init"]["params"])
    for variables in drawn.values():
        jax.tree.map(np.testing.assert_array_equal, variables, drawn["init"])
    shapes = jax.eval_shape(doors["init"])
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, drawn["init"])


@pytest.mark.heavy
@pytest.mark.usefixtures("compiled_in_a_hurry")
@pytest.mark.parametrize(
    "module", [Nested(), Body(nn.remat), Body(nn.jit)], ids=["nested", "remat", "jit"]
)
def test_a_network_in_a_users_module_is_drawn_as_by_its_author(module):
    image = jnp.zeros((1, 67, 67, 1), jnp.float32)
    params = jax.jit(lambda: module.init(init_keys(), image)["params"])()
    check_paper(jax.device_get(params.get("body", params)["alexnet"]))


@pytest.mark.heavy
@pytest.mark.usefixtures("compiled_in_a_hurry")
def test_networks_side_by_side_are_drawn_apart():
    both = nn.vmap(
        AlexNetPaper,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
    )(width=1 / 16)
    images = jnp.zeros((2, 1, 67, 67, 1), jnp.float32)
    params = jax.device_get(jax.jit(lambda: both.init(init_keys(), images)["params"])())
    for place in range(2):
        check_paper(jax.tree.map(lambda leaf, place=place: leaf[place], params))
    one, other = params["fc6"]["kernel"]
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("scheme", AUTHORS)
def test_a_scheme_is_found_by_what_it_draws(scheme):
    values = dict(zip(LAYERS, zip(*AUTHORS[scheme], strict=True), strict=True))
    assert gaussian_scheme(values) == scheme
    assert gaussian_scheme(values | {"fc8": (0.02, 0.0)}) is None
    assert gaussian_scheme(values | {"fc8": (0.01, 0.5)}) is None


def test_the_first_scheme_of_several():
    assert gaussian_scheme({"conv1": (0.01, 0.0), "fc9": (0.01, 0.0)}) == "2012"
    assert gaussian_scheme({"conv1": (0.01, 0.0), "conv3": (0.01, 0.0)}) == "paper"
    assert gaussian_scheme({"fc6": (0.005, 1.0)}) == "caffenet"


def test_gaussian_draws_as_the_schemes_do():
    key, shape = jax.random.key(3), (3, 3, 4, 8)
    by_scheme, _ = SCHEMES["2012"]("conv4", shape)
    drawn = gaussian(0.03)(key, shape, jnp.float32)
    np.testing.assert_array_equal(drawn, by_scheme(key, shape, jnp.float32))
    flat = jax.random.normal(key, (288,), jnp.float32)
    np.testing.assert_array_equal(drawn, 0.03 * flat.reshape(shape))
