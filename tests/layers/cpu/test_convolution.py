import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.layers.conv import CEIL, Conv
from alexnet_jax.layers.cpu.convolution import space_to_depth
from alexnet_jax.layers.cpu.switch import forms_of, plain_forms
from tests.helpers import assert_close, count_convolutions, noise


@pytest.mark.heavy
def test_one_convolution_a_group_on_the_cpu_and_one_in_all_elsewhere():
    conv = Conv(4, (3, 3), feature_group_count=2)
    x = jnp.zeros((1, 8, 8, 6), jnp.float32)
    variables = conv.init(jax.random.key(1), x)
    counts = {
        platform: count_convolutions(conv, variables, x, platform=platform)
        for platform in ("cpu", "cuda")
    }
    assert counts == {"cpu": 2, "cuda": 1}


@pytest.mark.slow
def test_precision_turns_winograd_off():
    x = noise(1, 9, 9, 16)
    conv = Conv(16, (3, 3))
    variables = conv.init(jax.random.key(1), x)
    with jax.default_matmul_precision("highest"):
        assert count_convolutions(conv, variables, x) == 1
    with jax.default_matmul_precision("default"):
        assert count_convolutions(conv, variables, x) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((9, 9, 15), {}),
        ((9, 9, 16), {"kernel_size": (3, 5)}),
        ((9, 9, 16), {"kernel_size": (7, 7)}),
        ((9, 9, 16), {"strides": (1, 2)}),
        ((9, 9, 16), {"kernel_dilation": 2}),
        ((9, 9, 16), {"input_dilation": 2, "padding": 1}),
        ((9, 9, 16), {"features": 8}),
        ((9, 9, 16), {"dtype": jnp.bfloat16}),
        ((2, 2, 16), {"padding": "VALID"}),
    ],
)
def test_it_leaves_the_rest_to_xla(shape, settings):
    settings = {"features": 16, "kernel_size": (3, 3)} | settings
    x = noise(2, *shape)
    conv, linens = Conv(**settings), nn.Conv(**settings)
    variables = conv.init(jax.random.key(1), x)
    np.testing.assert_array_equal(conv.apply(variables, x), linens.apply(variables, x))
    assert count_convolutions(conv, variables, x) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("size", [11, 14])
@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (8, 4), (3, 2), (5, 1)])
def test_space_to_depth(size, kernel, stride):
    """The same convolution, whether windows fit or leave a rest."""

    def convolve(x, kernel, stride, padding):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, dimension_numbers=layout
        )

    x, weights = noise(2, size, size + 1, 3), noise(kernel, kernel, 3, 4, seed=1)
    padding = ((1, 0), (0, 2))
    wanted = convolve(x, weights, stride, padding)
    image, blocks, rest = space_to_depth(x, weights, stride, padding)
    assert_close(convolve(image, blocks, 1, rest), wanted, share=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes(axes, groups):
    x = noise(2, *[6] * axes, 4)
    settings = {"features": 6, "kernel_size": (3,) * axes, "strides": (2,) * axes}
    settings["feature_group_count"] = groups
    variables = nn.Conv(**settings).init(jax.random.key(1), x)
    wanted = nn.Conv(**settings).apply(variables, x)
    np.testing.assert_array_equal(Conv(**settings).apply(variables, x), wanted)
    rounded_up = Conv(**settings | {"kernel_size": (4,) * axes, "padding": CEIL})
    y, _ = rounded_up.init_with_output(jax.random.key(1), x)
    assert y.shape == (2, *[2] * axes, 6)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": (11, 11), "strides": 4, "padding": CEIL},
        {"kernel_size": (3, 3), "strides": 2},
        {"kernel_size": (5, 5), "feature_group_count": 2},
    ],
)
def test_no_image(settings):
    conv, x = Conv(32, **settings), noise(0, 13, 13, 32)
    variables = conv.init(jax.random.key(1), x)

    def loss(variables, x):
        return conv.apply(variables, x).sum()

    assert conv.apply(variables, x).shape[0] == 0
    to_kernel, to_x = jax.grad(loss, (0, 1))(variables, x)
    assert not np.any(to_kernel["params"]["kernel"]) and to_x.shape == x.shape


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("shape", "padding", "constraints"),
    [("b, 13, 13, 32", CEIL, ()), ("b, h, w, 32", 2, ("h >= 5", "w >= 5"))],
)
def test_sizes_that_are_no_numbers_yet(shape, padding, constraints):
    conv, x = Conv(32, (5, 5), strides=2, padding=padding), noise(3, 13, 13, 32)
    variables = conv.init(jax.random.key(1), x)
    symbols = jax.export.symbolic_shape(shape, constraints=constraints)
    image = jax.ShapeDtypeStruct(symbols, jnp.float32)
    exported = jax.export.export(jax.jit(conv.apply))(variables, image)
    assert_close(exported.call(variables, x), conv.apply(variables, x), share=1e-4)


IMAGES = {"kernel_size": (11, 11), "strides": 4, "padding": "VALID"}


@pytest.mark.parametrize(
    ("settings", "channels", "kernel"),
    [
        ({}, 1, (3, 3, 16)),
        ({"padding": CEIL}, 3, (3, 3, 48)),
        ({"padding": "SAME", "dtype": "bfloat16"}, 1, (3, 3, 16)),
        ({"strides": 2}, 7, (6, 6, 28)),
        ({"strides": 1}, 1, (11, 11, 1)),
        ({"strides": (4, 2)}, 1, (11, 11, 1)),
        ({}, 8, (11, 11, 8)),
        ({"feature_group_count": 2}, 2, (11, 11, 1)),
        ({"kernel_dilation": 2}, 1, (11, 11, 1)),
        ({"kernel_size": (11, 9)}, 1, (11, 9, 1)),
    ],
)
def test_what_goes_over_blocks_on_nvidia_gpus(settings, channels, kernel):
    conv = Conv(2, **IMAGES | settings)
    x = jax.ShapeDtypeStruct((2, 26, 27, channels), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(1), x)
    traced = jax.jit(conv.apply).trace(variables, x)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    (line,) = (line for line in text.splitlines() if "stablehlo.convolution" in line)
    assert f"tensor<{'x'.join(map(str, kernel))}x2x" in line


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("settings", "channels"),
    [({"padding": CEIL}, 1), ({"strides": 2, "dtype": "bfloat16"}, 3)],
)
def test_over_blocks_it_is_xlas(settings, channels):
    """In value and gradients."""
    conv, x = Conv(2, **IMAGES | settings), noise(2, 17, 18, channels)
    variables = conv.init(jax.random.key(1), x)

    @jax.jit
    def found(variables, x):
        def loss(variables, x):
            return jnp.square(conv.apply(variables, x).astype(jnp.float32)).sum()

        return jax.value_and_grad(loss, (0, 1))(variables, x)

    with forms_of("cuda"):
        got = found(variables, x)
    with plain_forms():
        wanted = found(variables, x)
    share = 2e-2 if "dtype" in settings else 1e-5
    jax.tree.map(lambda one, other: assert_close(one, other, share), got, wanted)
