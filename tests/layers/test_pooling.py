import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.conv import ceil_padding
from alexnet_jax.layers.pooling import (
    MAX_POOLS,
    adaptive_avg_pool,
    avg_pool,
    avg_pool_3x3,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
    max_pool_of_relu,
)


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


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


@pytest.mark.parametrize("pool", [max_pool, max_pool_2x2])
def test_the_gradient_survives_what_xla_fuses(pool):
    """After ReLU and BatchNorm, which XLA computes twice, to other last bits.

    The zeros of ReLU are ties that hold only as long as both agree.
    """

    def loss(pool, x):
        x = nn.relu(x)
        mean = x.mean((0, 1, 2), keepdims=True)
        variance = jnp.square(x).mean((0, 1, 2), keepdims=True) - mean**2
        y = pool((x - mean) * jax.lax.rsqrt(variance + 1e-5) * 1.1 + 0.3)
        return (y * noise(*y.shape, seed=1)).sum()

    def plain(x):
        window = 2 if pool is max_pool_2x2 else 3
        return nn.max_pool(x, (window, window), strides=(2, 2))

    x = noise(2, 12, 12, 3)
    got, expected = (
        jax.jit(jax.grad(lambda x, way=way: loss(way, x)))(x) for way in (pool, plain)
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)


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


@pytest.mark.parametrize(
    ("pool", "size", "dtype"),
    [
        *itertools.product([max_pool, max_pool_ceil], [3, 4, 7], ["float32"]),
        (max_pool_2x2, 3, "float32"),
        *itertools.product([max_pool, max_pool_2x2], [4], ["bfloat16"]),
    ],
)
def test_the_gradient_of_max_pools_is_xlas(pool, size, dtype):
    """Ties included: half of the units are 0, as after ReLU."""
    x = nn.relu(noise(2, size, size + 1, 3)).astype(dtype)
    window = 2 if pool is max_pool_2x2 else 3
    padding = [(0, 0), (0, 0)]
    if pool is not max_pool:
        padding = [ceil_padding(length, window, 2) for length in x.shape[1:3]]

    def plain(x):
        return nn.max_pool(x, (window, window), strides=(2, 2), padding=padding)

    y, backward = jax.vjp(pool, x)
    expected, expected_backward = jax.vjp(plain, x)
    np.testing.assert_array_equal(y, expected)
    gradient = noise(*y.shape, seed=1).astype(dtype)
    got, wanted = (
        np.asarray(way(gradient)[0], np.float32)
        for way in (backward, expected_backward)
    )
    near = 1e-6 if dtype == "float32" else 4e-2  # the order of sums
    np.testing.assert_allclose(got, wanted, atol=near)
    np.testing.assert_array_equal(got != 0, wanted != 0)


class TestMaxPoolOfRelu:
    @pytest.mark.parametrize("pool", MAX_POOLS)
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_it_is_one_after_the_other(self, pool, dtype):
        """Windows without a positive unit, ties and infinities included."""
        x = jnp.round(2 * noise(2, 8, 9, 3)).astype(dtype)
        x = x.at[0, :4].set(-1).at[1, 5, 5].set(jnp.inf).at[1, 0, 0].set(-jnp.inf)
        ways = (lambda x: max_pool_of_relu(x, pool)), (lambda x: pool(nn.relu(x)))

        def value_and_gradient(way):
            y, backward = jax.vjp(jax.jit(way), x)
            return y, backward(jnp.arange(1, y.size + 1).reshape(y.shape).astype(dtype))

        got, wanted = (value_and_gradient(way) for way in ways)
        jax.tree.map(np.testing.assert_array_equal, got, wanted)

    def test_what_was_pooled_need_not_stay(self):
        """On a CPU; with ReLU first its gradient wants every unit."""
        image, kernels = jnp.ones((4, 33, 33, 64)), [jnp.zeros((64, 64))] * 2

        def planned(way):
            def loss(kernels):
                x = image
                for kernel in kernels:
                    x = way(x @ kernel)
                return x.sum()

            step = jax.jit(jax.grad(loss)).lower(kernels).compile()
            return step.memory_analysis().temp_size_in_bytes

        together = planned(lambda x: max_pool_of_relu(x, max_pool))
        apart = planned(lambda x: max_pool(nn.relu(x)))
        assert together <= apart - image.nbytes // 2


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
