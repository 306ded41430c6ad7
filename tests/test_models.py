import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, AlexNet, create_model

# name: (input shape, classes, parameters, multiply-adds an image)
TABLE = {
    "alexnet_d2l": ((1, 224, 224, 1), 10, 46_764_746, 938_146_176),
    "alexnet_half": ((1, 224, 224, 3), 1000, 16_630_440, 311_191_824),
    "lenet5": ((1, 28, 28, 1), 10, 61_706, 416_520),
}

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


def keys():
    return {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def shapes_of(model, input_shape):
    return jax.eval_shape(lambda: model.init(keys(), jnp.zeros(input_shape)))["params"]


def multiply_adds(model, input_shape):
    """Counts them in the traced forward pass."""
    image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
    variables = {"params": shapes_of(model, input_shape)}
    return count(jax.make_jaxpr(model.apply)(variables, image).jaxpr)


def count(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        out = equation.outvars[0].aval
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval  # (kh, kw, in, out)
            total += out.size * kernel.size // kernel.shape[-1]
        elif equation.primitive.name == "dot_general":
            total += out.size * equation.invars[0].aval.shape[-1]
        else:
            for inner in equation.params.values():
                if hasattr(inner, "jaxpr"):
                    total += count(inner.jaxpr)
    return total


def test_every_model_is_in_the_table():
    assert TABLE.keys() == MODELS.keys()


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_multiply_adds(name):
    input_shape, num_classes, parameters, macs = TABLE[name]
    model = create_model(name, num_classes=num_classes, training=False)
    shapes = shapes_of(model, input_shape)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters
    assert multiply_adds(model, input_shape) == macs


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("alexnet_d2l", 3, 46_764_746 + 2 * 11 * 11 * 96),
        ("alexnet_half", 1, 14_590_314),
        ("alexnet_half", 3, 14_601_930),
        ("lenet5", 3, 61_706 + 2 * 5 * 5 * 6),
    ],
)
def test_other_channels(name, channels, parameters):
    size = TABLE[name][0][1]
    shapes = shapes_of(create_model(name), (1, size, size, channels))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_layer_summary_prints_d2ls_lines(capsys):
    AlexNet(training=False).layer_summary((1, 224, 224, 1))
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


@pytest.mark.parametrize(("name", "smallest"), [("alexnet_d2l", 65), ("lenet5", 12)])
def test_too_small_an_image(name, smallest):
    model = create_model(name)
    model.layer_shapes((1, smallest, smallest, 1))
    size = smallest - 1
    with pytest.raises(InputError, match=f"image_size {size} is too small for"):
        model.layer_shapes((1, size, size, 1))


def test_unknown_names():
    with pytest.raises(InputError, match="model.name must be one of .*'vgg'"):
        create_model("vgg")
    model = create_model("lenet5", initializer="kaiming")
    with pytest.raises(InputError, match="model.init must be one of .*'kaiming'"):
        model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))


def test_dropout_is_active_in_training_alone():
    model = create_model("alexnet_half", num_classes=3)
    image = jnp.ones((2, 67, 67, 1))
    variables = model.init(keys(), image)

    def logits(model, seed):
        return model.apply(variables, image, rngs={"dropout": jax.random.key(seed)})

    assert not np.array_equal(logits(model, 0), logits(model, 1))
    model = model.clone(training=False)
    np.testing.assert_array_equal(logits(model, 0), logits(model, 1))
    assert logits(model, 0).shape == (2, 3)


@functools.cache
def draw(name, scheme):
    model = create_model(name, initializer=scheme)
    image = jnp.zeros((1, 67, 67, 1))
    return jax.device_get(jax.jit(model.init)(keys(), image))["params"]


class TestInitializers:
    def test_torch_is_uniform_with_fan_in(self):
        for name, layer in draw("alexnet_half", "torch").items():
            kernel = layer["kernel"]
            bound = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
            for array in layer.values():
                assert np.abs(array).max() <= bound, name
            assert np.abs(kernel).max() > 0.99 * bound, name
            np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)
            assert np.abs(layer["bias"]).max() > 0.5 * bound, name

    @pytest.mark.parametrize(
        ("scheme", "variance"),
        [
            ("lecun", lambda fan_in, fan_out: 1 / fan_in),
            ("he", lambda fan_in, fan_out: 2 / fan_in),
            ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ],
    )
    def test_variances(self, scheme, variance):
        params = draw("lenet5", scheme)
        for name in ("conv2", "fc3", "fc4"):
            kernel = params[name]["kernel"]
            field = np.prod(kernel.shape[:-2])
            fans = field * kernel.shape[-2], field * kernel.shape[-1]
            np.testing.assert_allclose(kernel.var(), variance(*fans), rtol=0.1)
            assert not params[name]["bias"].any()

    def test_author_is_what_each_networks_author_used(self):
        half = draw("alexnet_half", "author"), draw("alexnet_half", "torch")
        assert jax.tree.all(jax.tree.map(np.array_equal, *half))
        bound = np.sqrt(6 / (25 * 6 + 25 * 16))  # Xavier-uniform
        kernel = draw("lenet5", "author")["conv2"]["kernel"]
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert AlexNet().author_initializer is None  # Flax's default is its author's

    def test_layers_do_not_share_draws(self):
        params = draw("alexnet_half", "torch")
        corner = (slice(8), slice(8))
        fc6, fc7 = (params[name]["kernel"][corner] for name in ("fc6", "fc7"))
        assert np.abs(np.corrcoef(fc6.ravel(), fc7.ravel())[0, 1]) < 0.5
