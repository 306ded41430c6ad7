"""Layers with weights of their own at each place, against a loop over places."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import CEIL, Conv, ceil_pad
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.models import Classifier
from tests.helpers import noise


def draw_arrays(*shapes):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def by_hand(x, kernel, bias, stride, before):
    """Place by place, in float64; zeros wherever a window leaves the image."""
    down, across, inputs, _ = kernel.shape
    size = round((inputs / x.shape[-1]) ** 0.5)
    canvas = np.pad(np.float64(x), ((0, 0), (before, 99), (before, 99), (0, 0)))
    made = np.empty((x.shape[0], *bias.shape))
    for i in range(down):
        for j in range(across):
            top, left = stride * i, stride * j
            seen = canvas[:, top : top + size, left : left + size].reshape(len(x), -1)
            made[:, i, j] = seen @ np.float64(kernel[i, j]) + bias[i, j]
    return made


# Settings, height and width, those of the output, and zeros before.
CASES = {
    "3×3": ((5, 3, 1, 1), (7, 8), (7, 8), 1),
    "no padding": ((4, 2, 2), (6, 4), (3, 2), 0),
    "what is left is not seen": ((4, 3, 2), (6, 8), (2, 3), 0),
    "ceil": ((4, 3, 2, CEIL), (6, 8), (3, 4), 0),
    "ceil with zeros before": ((4, 3, 2, ceil_pad(1)), (6, 7), (4, 4), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_a_loop_over_places(case):
    settings, size, places, before = CASES[case]
    layer = LocallyConnected(*settings)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), image)["params"]
    kernel_shape = (*places, layer.kernel_size**2 * 3, layer.features)
    assert shapes["kernel"].shape == kernel_shape
    assert shapes["bias"].shape == (*places, layer.features)
    x, step, kernel, turn, bias, weight = draw_arrays(
        *[image.shape] * 2,
        *[kernel_shape] * 2,
        shapes["bias"].shape,
        (2, *places, layer.features),
    )

    @jax.jit
    def run(params, x, weight):
        y, pull = jax.vjp(lambda p, x: layer.apply({"params": p}, x), params, x)
        return y, *pull(weight)

    made = run({"kernel": kernel, "bias": bias}, x, weight)
    y, by_params, by_x = jax.device_get(made)
    sides = layer.strides, before
    by_loop = by_hand(x, kernel, bias, *sides)
    np.testing.assert_allclose(y, by_loop, rtol=1e-4, atol=1e-4)
    # It is linear: a step of any length changes the sum by the gradient's product.
    moved = by_hand(step, kernel, 0 * bias, *sides)
    np.testing.assert_allclose((by_x * step).sum(), (moved * weight).sum(), rtol=1e-3)
    moved = by_hand(x, turn, 0 * bias, *sides)
    change = (by_params["kernel"] * turn).sum()
    np.testing.assert_allclose(change, (moved * weight).sum(), rtol=1e-3)
    np.testing.assert_allclose(by_params["bias"], weight.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.heavy
def test_with_one_kernel_everywhere_it_is_a_convolution():
    x = noise(2, 9, 9, 4)
    settings = {"strides": 2, "padding": ceil_pad(2)}
    conv, local = Conv(6, (3, 3), **settings), LocallyConnected(6, 3, **settings)
    params = conv.init(jax.random.key(0), x)["params"]
    expected = conv.apply({"params": params}, x)
    places = expected.shape[1:3]
    kernel = jnp.broadcast_to(params["kernel"].reshape(-1, 6), (*places, 36, 6))
    bias = jnp.broadcast_to(params["bias"], (*places, 6))
    made = local.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def draw(**fields):
    layer = LocallyConnected(32, 3, **fields)
    made = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 6, 6, 8), jnp.float32))
    return jax.device_get(made["params"])


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("lecun", 72**-0.5),
        ("he", (2 / 72) ** 0.5),
        ("xavier", (2 / (72 + 9 * 32)) ** 0.5),
        ("2012", 0.01),
        ("torch", 72**-0.5 / 3**0.5),
    ],
)
def test_each_place_is_drawn_as_a_convolution(scheme, deviation):
    drawn = draw(initializer=scheme)
    kernel = drawn["kernel"]
    np.testing.assert_allclose(kernel.std((2, 3)), deviation, rtol=0.1)
    assert abs(np.corrcoef(kernel[0, 0].ravel(), kernel[0, 1].ravel())[0, 1]) < 0.1
    bound = 72**-0.5 if scheme == "torch" else 0.0
    assert np.abs(drawn["bias"]).max() <= np.float32(bound)
    assert (np.abs(drawn["bias"]).max() > 0.9 * bound) or not bound


def test_without_a_scheme_it_follows_its_own_inits():
    ones = nn.initializers.ones
    drawn = draw(kernel_init=nn.initializers.normal(2.0), bias_init=ones)
    np.testing.assert_allclose(drawn["kernel"].std((2, 3)), 2.0, rtol=0.1)
    assert (drawn["bias"] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LocallyConnected, PlaceBias])
def test_bfloat16_stays(kind):
    layer = kind(4, 3) if kind is LocallyConnected else kind()
    x = noise(1, 5, 5, 4).astype(jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x.astype(jnp.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    assert layer.apply(narrow, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"features": 0}, "features must be at least 1; got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1; got 0"),
        ({"strides": 0}, "strides must be at least 1; got 0"),
        ({"padding": -1}, "padding must be 0 or more zeros, CEIL or of .*; got -1"),
        ({"padding": "SAME"}, "padding must be 0 or more zeros, .*; got 'SAME'"),
    ],
)
def test_settings_out_of_range(fields, line):
    with pytest.raises(InputError, match=f"^local3: {line}$"):
        LocallyConnected(**{"features": 4, "kernel_size": 3} | fields, name="local3")


class Net(Classifier):
    def setup(self):
        self.net = nn.Sequential([LocallyConnected(4, 5)])


def test_images_that_are_too_small():
    with pytest.raises(InputError, match="image_size 4 is too small for Net"):
        Net().layer_shapes((1, 4, 4, 1))


@pytest.mark.heavy
def test_a_bias_for_each_unit():
    x = noise(2, 3, 4, 5)
    layer = PlaceBias(bias_init=nn.initializers.normal(1.0))
    variables = layer.init(jax.random.key(0), x)
    bias = np.asarray(variables["params"]["bias"])
    assert bias.shape == (3, 4, 5)
    made = layer.apply(variables, x)
    for place in np.ndindex(x.shape):
        assert made[place] == x[place] + bias[place[1:]]
    gradient = jax.grad(lambda v: (layer.apply(v, x) * x).sum())(variables)
    np.testing.assert_allclose(gradient["params"]["bias"], x.sum(0), rtol=1e-6)
