import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.channels import RandomChannels
from tests.helpers import noise


@pytest.mark.heavy
def test_groups_read_permutations_one_after_the_other():
    layer = RandomChannels(3, seed=3)
    chosen = layer.connections(8)
    draw = np.random.RandomState(3)
    expected = np.concatenate([draw.permutation(8) for _ in range(3)])
    np.testing.assert_array_equal(chosen, expected)
    x = noise(2, 3, 3, 8)
    made = layer(x)
    assert made.shape == (2, 3, 3, 24)
    for place, read in enumerate(expected):
        assert (made[..., place] == x[..., read]).all()


def test_maps_are_the_same_in_every_run_and_others_with_another_seed():
    first, again, other = (RandomChannels(2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.connections(16), again.connections(16))
    assert (first.connections(16) != other.connections(16)).any()


@pytest.mark.slow
def test_gradient_is_the_sum_over_the_places_that_read_a_map():
    layer, x = RandomChannels(2, 5), noise(2, 3, 3, 6)
    weight = np.asarray(noise(2, 3, 3, 12, seed=1))
    gradient = jax.grad(lambda x: (layer(x) * weight).sum())(x)
    expected = np.zeros(x.shape, np.float32)
    for place, read in enumerate(layer.connections(6)):
        expected[..., read] += weight[..., place]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_bfloat16_stays():
    made = RandomChannels(1)(jnp.ones((1, 1, 1, 2), jnp.bfloat16))
    assert made.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ((0,), "rounds must be at least 1; got 0"),
        ((2, -1), r"seed must be from 0 to 2\*\*32 - 1; got -1"),
    ],
)
def test_values_out_of_range(fields, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        RandomChannels(*fields)
