"""Contrast normalization against a loop over units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.contrast import MapContrastNorm


def window_of(layer, array, i, j):
    _, height, width, _ = array.shape
    top, left = i - layer.size // 2, j - layer.size // 2
    rows = slice(max(top, 0), max(min(top + layer.size, height), 0))
    return array[:, rows, max(left, 0) : min(left + layer.size, width)]


def means_by_hand(layer, x):
    means = np.empty_like(x)
    for i, j in np.ndindex(x.shape[1:3]):
        means[:, i, j] = window_of(layer, x, i, j).mean((1, 2))
    return means


def by_hand(layer, x, means=None):
    """Unit by unit, in float64; `means` of each neighborhood, if they are given."""
    x = np.asarray(x, np.float64)
    difference = x - (means_by_hand(layer, x) if means is None else means)
    made = np.empty_like(x)
    for i, j in np.ndindex(x.shape[1:3]):
        total = np.square(window_of(layer, difference, i, j)).sum((1, 2))
        denominator = layer.k + layer.scale / layer.size**2 * total
        made[:, i, j] = x[:, i, j] / denominator**layer.power
    return made


def noise(*shape, seed=0):
    return 10 * np.random.default_rng(seed).normal(size=shape) + 5


LAYERS = [
    MapContrastNorm(3, 0.5, 0.75),
    MapContrastNorm(4, 1.0, 0.5, k=2.0),
    MapContrastNorm(9, 0.1, 1.0),
    MapContrastNorm(1, 1.0, 1.0, k=0.5),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_values(layer):
    x = noise(2, 6, 7, 3)
    made = layer(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(made, by_hand(layer, x), rtol=1e-4)


@pytest.mark.heavy
@pytest.mark.parametrize("layer", LAYERS[:2], ids=str)
def test_gradient_takes_the_means_for_constants(layer):
    """As the kernels of cuda-convnet do: their gradient gets the differences as is."""
    x, weight = noise(1, 4, 5, 2), noise(1, 4, 5, 2, seed=1)
    with jax.enable_x64(True):
        wide = jnp.asarray(x, jnp.float64)
        gradient = np.asarray(jax.grad(lambda x: (layer(x) * weight).sum())(wide))
    means = means_by_hand(layer, x)
    numeric = np.empty_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-4
        up, down = (by_hand(layer, x + one, means) for one in (step, -step))
        numeric[place] = ((up - down) * weight).sum() / 2e-4
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_computed_in_float32():
    x = jnp.asarray(noise(1, 6, 6, 8), jnp.bfloat16)
    made = LAYERS[0](x)
    assert made.dtype == jnp.bfloat16
    exact = LAYERS[0](x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(made, exact)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"size": 0}, "size must be an integer of at least 1; got 0"),
        ({"scale": -1.0}, "scale must be at least 0, and finite; got -1.0"),
        ({"power": float("nan")}, "power must be at least 0, and finite; got nan"),
        ({"k": 0.0}, "k must be greater than 0, and finite; got 0.0"),
    ],
)
def test_values_out_of_range(fields, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        MapContrastNorm(**{"size": 3, "scale": 1.0, "power": 0.75} | fields)
