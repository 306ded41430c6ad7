import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import (
    CEIL,
    Conv,
    ceil_pad,
    ceil_padding,
    explicit_padding,
    zeros_before_ceil,
)
from tests.helpers import noise


@pytest.mark.parametrize(
    ("size", "window", "stride", "after", "count"),
    [(224, 11, 4, 3, 55), (227, 11, 4, 0, 55), (27, 3, 2, 0, 13), (54, 3, 2, 1, 27)],
)
def test_ceil_padding(size, window, stride, after, count):
    assert ceil_padding(size, window, stride) == (0, after)
    assert (size + after - window) // stride + 1 == count


@pytest.mark.parametrize(
    ("size", "window", "stride", "before", "count"),
    [(32, 5, 1, 2, 32), (24, 5, 2, 2, 13), (9, 3, 2, 1, 5), (10, 3, 2, 1, 6),
     (7, 5, 3, 4, 5), (224, 11, 4, 0, 55)],
)  # fmt: skip
def test_ceil_pad(size, window, stride, before, count):
    """The count is the source's: 1 + ceil((2 · before + size - window) / stride)."""
    assert count == 1 + np.ceil((2 * before + size - window) / stride)
    ((top, bottom),) = explicit_padding(ceil_pad(before), [size], [window], [stride])
    assert top == before and before <= bottom < before + stride
    assert (size + top + bottom - window) / stride + 1 == count


def test_paddings_with_a_rounded_up_count():
    assert ceil_pad(0) == CEIL
    assert [zeros_before_ceil(ceil_pad(n)) for n in (0, 3, 12)] == [0, 3, 12]
    for other in ("SAME", "CEIL+", "CEIL-1", 2, ((1, 1), (1, 1)), None):
        assert zeros_before_ceil(other) is None
        assert explicit_padding(other, (8, 8), (3, 3), (1, 1)) is other


class TestConv:
    @pytest.mark.heavy
    @pytest.mark.parametrize("groups", [1, 2])
    def test_ceil_pad_is_zeros_on_each_side_and_then_ceil(self, groups):
        x = noise(2, 10, 9, 4)
        settings = {"strides": 2, "feature_group_count": groups}
        padded = Conv(6, (3, 3), padding=ceil_pad(1), **settings)
        bare = Conv(6, (3, 3), padding="VALID", **settings)
        variables = padded.init(jax.random.key(1), x)
        made = padded.apply(variables, x)
        assert made.shape == (2, 6, 5, 6)
        canvas = jnp.pad(x, ((0, 0), (1, 2), (1, 1), (0, 0)))
        np.testing.assert_allclose(made, bare.apply(variables, canvas), atol=1e-5)

    @pytest.mark.heavy
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

    @pytest.mark.slow
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

    @pytest.mark.heavy
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

    @pytest.mark.parametrize(
        ("channels", "features", "what"), [(5, 4, "input"), (4, 5, "output")]
    )
    def test_groups_that_do_not_divide(self, channels, features, what):
        conv = Conv(features, (3, 3), feature_group_count=2, name="conv2")
        line = f"conv2: {what} channels must be a multiple of its 2 groups; got 5"
        with pytest.raises(InputError, match=line):
            conv.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels), jnp.float32))
