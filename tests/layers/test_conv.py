import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import CEIL, Conv, ceil_padding, space_to_depth
from alexnet_jax.layers.cpu import winograd


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def assert_close(got, wanted, share):
    """Compares, but for a share of the largest value."""
    atol = share * np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def convolutions(conv, *inputs, platform="cpu"):
    """Counts XLA's convolutions in what a layer compiles to."""
    traced = jax.jit(conv.apply).trace(*inputs)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    return text.count("stablehlo.convolution")


@pytest.mark.parametrize(
    ("size", "window", "stride", "after", "count"),
    [(224, 11, 4, 3, 55), (227, 11, 4, 0, 55), (27, 3, 2, 0, 13), (54, 3, 2, 1, 27)],
)
def test_ceil_padding(size, window, stride, after, count):
    assert ceil_padding(size, window, stride) == (0, after)
    assert (size + after - window) // stride + 1 == count


class TestConv:
    def test_ceil_is_valid_on_the_canvas_of_227(self):
        image = noise(2, 224, 224, 3)
        ceil = Conv(8, (11, 11), strides=4, padding=CEIL, name="conv1")
        valid = nn.Conv(8, (11, 11), strides=4, padding="VALID")
        variables = ceil.init(jax.random.key(1), image)
        made = ceil.apply(variables, image)
        assert made.shape == (2, 55, 55, 8)
        canvas = jnp.pad(image, ((0, 0), (0, 3), (0, 3), (0, 0)))
        np.testing.assert_array_equal(made, valid.apply(variables, canvas))
        # Only the last row and column see the zeros.
        inner = valid.apply(variables, image)
        np.testing.assert_allclose(made[:, :54, :54], inner, atol=1e-5)

    @pytest.mark.parametrize("groups", [2, 3])
    def test_groups_are_linens(self, groups):
        x = noise(2, 9, 7, 12)
        ours, linens = (
            kind(24, (5, 5), padding=2, feature_group_count=groups)
            for kind in (Conv, nn.Conv)
        )
        variables = ours.init(jax.random.key(1), x)
        kernel = variables["params"]["kernel"]
        assert kernel.shape == (5, 5, 12 // groups, 24)

        def loss(layer):
            def of(variables, x):
                y = layer.apply(variables, x)
                return (y * jnp.cos(y)).sum(), y

            return jax.jit(jax.value_and_grad(of, argnums=(0, 1), has_aux=True))

        (_, y), grads = loss(ours)(variables, x)
        (_, expected), expected_grads = loss(linens)(variables, x)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
            grads,
            expected_grads,
        )

    def test_groups_are_two_towers_side_by_side(self):
        x = noise(1, 8, 8, 6)
        conv = Conv(4, (3, 3), feature_group_count=2)
        variables = conv.init(jax.random.key(1), x)
        kernel = variables["params"]["kernel"]
        towers = [
            lax.conv_general_dilated(
                x[..., 3 * t : 3 * t + 3],
                kernel[..., 2 * t : 2 * t + 2],
                (1, 1),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            for t in range(2)
        ]
        both = jnp.concatenate(towers, axis=-1)
        np.testing.assert_allclose(conv.apply(variables, x), both, atol=1e-5)

    def test_one_convolution_a_group_on_the_cpu_and_one_in_all_elsewhere(self):
        conv = Conv(4, (3, 3), feature_group_count=2)
        x = jnp.zeros((1, 8, 8, 6))
        variables = conv.init(jax.random.key(1), x)
        counts = {
            platform: convolutions(conv, variables, x, platform=platform)
            for platform in ("cpu", "cuda")
        }
        assert counts == {"cpu": 2, "cuda": 1}

    @pytest.mark.parametrize(
        ("channels", "features", "what"), [(5, 4, "in"), (4, 5, "out")]
    )
    def test_groups_that_do_not_divide(self, channels, features, what):
        conv = Conv(features, (3, 3), feature_group_count=2, name="conv2")
        line = f"conv2: channels {what} must be a multiple of its 2 groups; got 5"
        with pytest.raises(InputError, match=line):
            conv.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels)))


def value_and_gradients(conv, variables, x):
    y, backward = jax.vjp(conv.apply, variables, x)
    (kernel_and_bias, to_x) = backward(noise(*y.shape, seed=2))
    return y, kernel_and_bias, to_x


# (image, kernel, stride, padding, groups): d2l's and the paper's, and odd ones.
ROADS = {
    "conv1": ((29, 29, 1), 11, 4, 1, 1),
    "conv1 of the paper": ((33, 29, 3), 11, 4, CEIL, 1),
    "conv2": ((13, 13, 16), 5, 1, 2, 1),
    "conv2 in groups": ((9, 13, 32), 5, 1, 2, 2),
    "conv3": ((12, 12, 16), 3, 1, 1, 1),
    "no padding": ((7, 5, 16), 5, 1, "VALID", 1),
    "padding on one side": ((6, 7, 16), 3, 1, ((0, 2), (1, 0)), 1),
    "smaller than a tile": ((3, 4, 16), 3, 1, 0, 1),
}


class TestWinograd:
    @pytest.mark.parametrize("road", ROADS)
    def test_agrees_with_xla(self, monkeypatch, road):
        """Value and gradients, 2 images of 5 at a time: the last part is padded."""
        monkeypatch.setattr(winograd, "_parts", lambda *_: 3)
        shape, kernel, stride, padding, groups = ROADS[road]
        x = noise(5, *shape)
        conv = Conv(
            32, (kernel, kernel), stride, padding=padding, feature_group_count=groups
        )
        exact = conv.clone(precision="highest")
        variables = exact.init(jax.random.key(1), x)
        assert convolutions(conv, variables, x) == 0
        assert convolutions(exact, variables, x) == groups
        assert convolutions(conv, variables, x, platform="cuda") == 1
        got = value_and_gradients(conv, variables, x)
        wanted = value_and_gradients(exact, variables, x)
        jax.tree.map(lambda *pair: assert_close(*pair, share=1e-4), got, wanted)

    def test_parts_fit_the_workspace(self):
        mega = 10**6
        sizes = ((128, 1), (128, 3), (3, 300), (0, 1))
        counts = [winograd._parts(batch, mega * each) for batch, each in sizes]
        assert counts == [1, 2, 3, 1]

    def test_a_part_leaves_its_workspace_to_the_next(self, monkeypatch):
        conv, x = Conv(32, (3, 3)), noise(8, 24, 24, 32)
        variables = conv.init(jax.random.key(1), x)

        def planned(parts):
            monkeypatch.setattr(winograd, "_parts", lambda *_: parts)
            # A function of its own: JAX remembers what it traced.
            forward = jax.jit(lambda variables, x: conv.apply(variables, x))
            compiled = forward.lower(variables, x).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        assert planned(8) < planned(1) / 2

    def test_no_image(self):
        x = noise(0, 9, 9, 16)
        conv = Conv(16, (3, 3))
        variables = conv.init(jax.random.key(1), x)
        assert conv.apply(variables, x).shape == (0, 9, 9, 16)

    @pytest.mark.parametrize(
        ("outputs", "size", "step"),
        [((54, 54), 3, 6), ((55, 55), 3, 5), ((26, 26), 5, 4), ((13, 13), 3, 5)],
    )
    def test_the_step_needs_the_fewest_multiplications(self, outputs, size, step):
        assert winograd._best_step(outputs, size) == step

    def test_several_images_at_a_time_are_one_by_one(self):
        x = noise(3, 9, 9, 16)
        conv = Conv(16, (3, 3))
        variables = conv.init(jax.random.key(1), x)
        alone = jnp.concatenate([conv.apply(variables, one[None]) for one in x])
        assert_close(conv.apply(variables, x), alone, share=1e-6)
        mapped = jax.vmap(conv.apply, in_axes=(None, 0))(variables, x[:, None])
        assert_close(mapped[:, 0], alone, share=1e-6)

    def test_precision_turns_it_off(self):
        x = noise(1, 9, 9, 16)
        conv = Conv(16, (3, 3))
        variables = conv.init(jax.random.key(1), x)
        with jax.default_matmul_precision("highest"):
            assert convolutions(conv, variables, x) == 1
        with jax.default_matmul_precision("default"):
            assert convolutions(conv, variables, x) == 0

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
    def test_leaves_the_rest_to_xla(self, shape, settings):
        settings = {"features": 16, "kernel_size": (3, 3)} | settings
        x = noise(2, *shape)
        conv, linens = Conv(**settings), nn.Conv(**settings)
        variables = conv.init(jax.random.key(1), x)
        np.testing.assert_array_equal(
            conv.apply(variables, x), linens.apply(variables, x)
        )
        assert convolutions(conv, variables, x) == 1


@pytest.mark.parametrize("size", [11, 14])
@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (8, 4), (3, 2), (5, 1)])
def test_over_blocks(size, kernel, stride):
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
