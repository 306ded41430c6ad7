import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.pooling import (
    adaptive_avg_pool,
    avg_pool,
    avg_pool_3x3,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
)
from tests.helpers import noise


@pytest.mark.parametrize("size", [3, 4, 5, 6, 13, 54])
def test_max_pools(size):
    x = np.asarray(noise(2, size, size, 3))
    full = (size - 3) // 2 + 1
    assert max_pool(jnp.asarray(x)).shape == (2, full, full, 3)
    ceil = -(-(size - 3) // 2) + 1
    expected = np.array(
        [
            [
                x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
                for j in range(ceil)
            ]
            for i in range(ceil)
        ]
    ).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(max_pool_ceil(jnp.asarray(x)), expected)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), expected[:, :full, :full])


@pytest.mark.parametrize("size", [3, 4, 5])
def test_pools_of_the_ablations(size):
    """Windows that hang over the end see what there is."""
    x = np.asarray(noise(2, size, size, 3))

    def windows(width, count, reduce):
        return np.array(
            [
                [
                    reduce(x[:, 2 * i : 2 * i + width, 2 * j : 2 * j + width], (1, 2))
                    for j in range(count)
                ]
                for i in range(count)
            ]
        ).transpose(2, 0, 1, 3)

    expected = windows(2, -(-size // 2), np.max)
    np.testing.assert_array_equal(max_pool_2x2(jnp.asarray(x)), expected)
    expected = windows(3, -(-(size - 3) // 2) + 1, np.mean)
    np.testing.assert_allclose(avg_pool_3x3(jnp.asarray(x)), expected, atol=1e-6)
    narrow = avg_pool_3x3(jnp.ones((1, 4, 4, 2), jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16 and (narrow == 1).all()


def test_average_pools():
    x = noise(2, 6, 6, 3)
    expected = x.reshape(2, 3, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(avg_pool(x), expected, atol=1e-6)
    assert adaptive_avg_pool(x) is x
    repeated = adaptive_avg_pool(noise(1, 1, 1, 4))
    assert repeated.shape == (1, 6, 6, 4) and (repeated == repeated[:, :1, :1]).all()
    wide = adaptive_avg_pool(noise(1, 12, 18, 2))
    halves = noise(1, 12, 18, 2).reshape(1, 6, 2, 6, 3, 2).mean((2, 4))
    np.testing.assert_allclose(wide, halves, atol=1e-6)
