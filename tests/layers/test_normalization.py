"""Normalisation against its formulas, in every convention."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.cpu.switch import forms_of
from alexnet_jax.layers.normalization import CONVENTIONS, LocalResponseNorm, MapNorm

# One pixel, eight channels: alpha 1e-4, beta 0.75, windows of five.
PIXEL = np.arange(10.0, 90.0, 10.0).reshape(1, 1, 1, 8)
GOLDEN = {
    "paper": "5.651838 10.708635 14.866753 17.999544 20.192328 21.619856 26.028212 "
    "31.330759",
    "2012": "5.884357 11.631335 17.135998 22.295521 27.036509 31.312557 36.904087 "
    "42.862497",
    "caffe": "9.795016 19.144790 27.741441 35.330394 41.794315 47.123977 55.953933 "
    "65.786074",
    "torch": "9.795016 19.144790 27.741441 35.330394 41.794315 47.123977 55.953933 "
    "65.786074",
}


def by_hand(layer, x):
    """The formula, channel by channel, in float64."""
    x = np.asarray(x, np.float64)
    width = x.shape[-1] // layer.groups
    made = np.empty_like(x)
    for i in range(x.shape[-1]):
        first = i // width * width
        low = max(first, i - layer.size // 2)
        high = min(first + width, i - layer.size // 2 + layer.size)
        total = np.square(x[..., low:high]).sum(-1)
        made[..., i] = x[..., i] / (layer.constant + layer.scale * total) ** layer.beta
    return made


def noise(*shape, seed=0):
    return 100 * np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_golden_pixel(convention):
    expected = np.array(GOLDEN[convention].split(), float)
    made = LocalResponseNorm(convention)(jnp.asarray(PIXEL, jnp.float32))
    np.testing.assert_allclose(np.ravel(made), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        LocalResponseNorm("paper"),
        LocalResponseNorm("2012", groups=2),
        LocalResponseNorm("2012", size=4),
        LocalResponseNorm("caffe", size=3, alpha=1e-3, beta=0.5, k=4.0),
        LocalResponseNorm("torch", size=2, groups=3),
        LocalResponseNorm("torch", size=1),
    ],
    ids=str,
)
class TestFormulas:
    def test_values(self, layer):
        x = noise(2, 3, 3, 12)
        made = layer(jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(made, by_hand(layer, x), rtol=1e-5)

    @pytest.mark.heavy
    def test_gradient_against_finite_differences(self, layer):
        x, weight = noise(1, 2, 2, 12), noise(1, 2, 2, 12, seed=1)

        def loss(x):
            return (layer(x) * weight).sum()

        with jax.enable_x64(True):
            gradient = np.asarray(jax.grad(loss)(jnp.asarray(x, jnp.float64)))
            assert gradient.dtype == np.float64
        numeric = np.empty_like(x)
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = 1e-3
            up, down = by_hand(layer, x + step), by_hand(layer, x - step)
            numeric[place] = ((up - down) * weight).sum() / 2e-3
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


def test_denominators_at_the_ends():
    ones = jnp.ones((1, 1, 1, 9))
    layer = LocalResponseNorm("torch", alpha=5.0, beta=1.0, k=1e-30)
    denominators = 1 / layer(ones)
    np.testing.assert_allclose(
        np.ravel(denominators), [3, 4, 5, 5, 5, 5, 5, 4, 3], 1e-6
    )


def test_even_windows_reach_further_down():
    impulse = jnp.zeros((1, 1, 1, 8)).at[..., 3].set(1.0)
    for size, channels in ((2, [3, 4]), (4, [2, 3, 4, 5])):
        layer = LocalResponseNorm("torch", size=size, alpha=float(size), beta=1.0)

        def outputs(x, layer=layer):
            return layer(x + 1e-3) / (x + 1e-3)

        raised = np.ravel(outputs(impulse) < 0.9 * outputs(jnp.zeros_like(impulse)))
        assert list(np.flatnonzero(raised)) == channels


def test_k_and_alpha_trade_places():
    """LRN(k=2, α) = 2^-0.75 · LRN(k=1, α/2)."""
    x = jnp.asarray(noise(1, 2, 2, 16), jnp.float32)
    two = LocalResponseNorm("2012", alpha=1e-4)(x)
    one = LocalResponseNorm("caffe", alpha=5e-5)(x)
    np.testing.assert_allclose(two, 2**-0.75 * one, rtol=1e-6)


def test_groups_do_not_see_each_other():
    layer = LocalResponseNorm("2012", groups=2)
    x = noise(1, 2, 2, 12)
    halves = [
        dataclasses.replace(layer, groups=1)(jnp.asarray(part, jnp.float32))
        for part in np.split(x, 2, axis=-1)
    ]
    made = layer(jnp.asarray(x, jnp.float32))
    np.testing.assert_array_equal(made, np.concatenate(halves, axis=-1))


@pytest.mark.parametrize("layer", [LocalResponseNorm("paper"), MapNorm()], ids=str)
def test_bfloat16_is_summed_in_float32(layer):
    x = jnp.asarray(noise(1, 6, 6, 8), jnp.bfloat16)
    exact = layer(x.astype(jnp.float32))
    made = layer(x)
    assert made.dtype == jnp.bfloat16
    np.testing.assert_array_equal(made, exact.astype(jnp.bfloat16))
    gradient = jax.grad(lambda x: layer(x).astype(jnp.float32).sum())(x)
    wide = jax.grad(lambda x: layer(x).sum())(x.astype(jnp.float32))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, wide.astype(jnp.bfloat16))


@pytest.mark.heavy
@pytest.mark.parametrize("layer", [LocalResponseNorm("2012"), MapNorm()], ids=str)
@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_the_gradient_on_nvidia_gpus(layer, dtype, near):
    """Parts of the sums are rounded to the input's dtype, the sums are not."""
    x, weight = (jnp.asarray(noise(1, 6, 6, 8, seed=n), dtype) for n in (0, 1))

    def gradient(x, weight):
        return jax.grad(lambda x: (layer(x) * weight).sum())(x)

    wanted = np.asarray(gradient(*(y.astype(jnp.float32) for y in (x, weight))))
    with forms_of("cuda"):
        got = gradient(x, weight)
    assert got.dtype == dtype
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(got.astype(jnp.float32), wanted, atol=near * scale)


def test_denominators_are_computed_anew_on_nvidia_gpus():
    """A barrier hides the input, so that XLA keeps no denominators for the gradient."""
    layer, x = LocalResponseNorm("2012"), jnp.ones((1, 2, 2, 8), jnp.float32)

    def barriers(platform):
        traced = jax.jit(jax.grad(lambda x: layer(x).sum())).trace(x)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        names = "optimization_barrier", '"stablehlo.reduce_window"'
        return tuple(text.count(name) for name in names)

    assert barriers("cpu") == (0, 2)
    assert barriers("cuda") == (2, 3)


class TestMapNorm:
    def by_hand(self, x, k=1):
        padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
        return x / (k + 0.001 / 25 * np.square(windows).sum((-1, -2))) ** 0.75

    def test_values(self):
        x = noise(2, 7, 6, 3)
        made = MapNorm()(jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(made, self.by_hand(x), rtol=1e-5)
        made = MapNorm(k=2.5)(jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(made, self.by_hand(x, 2.5), rtol=1e-5)

    def test_gradient_against_finite_differences(self):
        x, weight = noise(1, 6, 5, 1), noise(1, 6, 5, 1, seed=1)
        with jax.enable_x64(True):
            wide = jnp.asarray(x, jnp.float64)
            gradient = np.asarray(
                jax.grad(lambda x: (MapNorm()(x) * weight).sum())(wide)
            )
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = 1e-3
            change = self.by_hand(x + step) - self.by_hand(x - step)
            numeric = (change * weight).sum() / 2e-3
            assert gradient[place] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"convention": "tf"}, r"convention must be one of \('paper', .*; got 'tf'"),
        ({"convention": "paper", "size": 4}, "size must be an odd integer .* got 4"),
        ({"convention": "caffe", "size": 2}, "size must be an odd integer .* got 2"),
        ({"convention": "torch", "size": 0}, "size must be an integer .* got 0"),
        ({"convention": "torch", "size": 2.5}, "size must be an integer .* got 2.5"),
        (
            {"convention": "2012", "alpha": -1.0},
            "alpha must be at least 0, and .* -1.0",
        ),
        (
            {"convention": "2012", "alpha": float("inf")},
            "alpha must be .* finite; got inf",
        ),
        ({"convention": "2012", "beta": float("nan")}, "beta must be .*; got nan"),
        (
            {"convention": "2012", "k": 0.0},
            "k must be greater than 0, and finite; got 0.0",
        ),
        ({"convention": "2012", "groups": 0}, "groups must be at least 1; got 0"),
    ],
)
def test_values_out_of_range(settings, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        LocalResponseNorm(**settings)


def test_groups_must_divide_the_channels():
    layer = LocalResponseNorm("2012", groups=2)
    with pytest.raises(InputError, match="groups must divide the channels, 5; got 2"):
        layer(jnp.zeros((1, 2, 2, 5)))
