import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.conv import ceil_padding
from alexnet_jax.layers.cpu.switch import forms_of, plain_forms
from alexnet_jax.layers.pooling import (
    MAX_POOLS,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
)
from alexnet_jax.layers.sequential import join_layers
from tests.helpers import noise


@pytest.fixture(params=["cpu", "cuda", "tpu"])
def forms(request):
    """Those of CPUs, of NVIDIA GPUs and of all others, computed here."""
    with forms_of(request.param):
        yield request.param


@pytest.mark.heavy
@pytest.mark.parametrize("pool", [max_pool, max_pool_2x2])
def test_the_gradient_survives_what_xla_fuses(forms, pool):
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


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("forms", "pool", "size", "dtype"),
    [
        *itertools.product(["cpu"], [max_pool, max_pool_ceil], [3, 4, 7], ["float32"]),
        ("cpu", max_pool_2x2, 3, "float32"),
        *itertools.product(["cpu"], [max_pool, max_pool_2x2], [4], ["bfloat16"]),
        ("cuda", max_pool, 7, "bfloat16"),
        ("cuda", max_pool_ceil, 4, "float32"),
        ("cuda", max_pool_2x2, 3, "float32"),
    ],
    indirect=["forms"],
)
def test_the_gradient_of_max_pools_is_xlas(forms, pool, size, dtype):
    """Ties included: half of the units are 0, as after ReLU."""
    x = nn.relu(noise(2, size, size + 1, 3)).astype(dtype)
    window = 2 if pool is max_pool_2x2 else 3
    padding = [(0, 0), (0, 0)]
    if pool is not max_pool:
        padding = [ceil_padding(length, window, 2) for length in x.shape[1:3]]

    def plain(x):
        return nn.max_pool(x, (window, window), strides=(2, 2), padding=padding)

    def found(way):
        @jax.jit
        def value_and_gradient(x, gradient):
            y, backward = jax.vjp(way, x)
            return y, backward(gradient)[0].astype(jnp.float32)

        shape = jax.eval_shape(way, x).shape
        return value_and_gradient(x, noise(*shape, seed=1).astype(dtype))

    (y, got), (expected, wanted) = found(pool), found(plain)
    np.testing.assert_array_equal(y, expected)
    near = 1e-6 if dtype == "float32" else 4e-2  # the order of sums
    np.testing.assert_allclose(got, wanted, atol=near)
    np.testing.assert_array_equal(got != 0, wanted != 0)


@pytest.mark.parametrize("with_relu", [False, True])
@pytest.mark.parametrize("pool", MAX_POOLS)
def test_windows_with_nan_and_infinities(forms, pool, with_relu):
    """The gradient goes where XLA's goes."""
    generator = np.random.default_rng(0)
    shape = 64, 8, 7, 3
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    x = generator.integers(-2, 3, shape).astype(np.float32)
    x = np.where(generator.random(shape) < 0.3, generator.choice(odd, shape), x)
    (layer,) = join_layers([nn.relu, pool] if with_relu else [pool])

    def gradient(x):
        y, backward = jax.vjp(layer, x)
        return backward(jnp.arange(1, y.size + 1, dtype=x.dtype).reshape(y.shape))[0]

    got = jax.jit(gradient)(x)
    with plain_forms():
        wanted = jax.jit(gradient)(x)  # traced anew
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.heavy
@pytest.mark.parametrize("with_relu", [False, True])
@pytest.mark.usefixtures("on_cpu")
def test_two_opaque_calls_and_none_inside(with_relu):
    """Where places are looked for, and where the gradient is put back."""
    (layer,) = join_layers([nn.relu, max_pool] if with_relu else [max_pool])
    x = noise(2, 9, 9, 3)

    def loss(x):
        return jnp.square(layer(x + 1)).sum()

    text = jax.jit(jax.grad(loss)).lower(x).compile().as_text()
    assert sum(" call(" in line for line in text.splitlines()) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("with_relu", [False, True])
@pytest.mark.parametrize("pool", MAX_POOLS)
def test_no_scatter_on_nvidia_gpus(pool, with_relu):
    """Whose additions have no order, so that two runs differ."""
    (layer,) = join_layers([nn.relu, pool] if with_relu else [pool])

    def lowered(platform):
        traced = jax.jit(jax.grad(lambda x: layer(x).sum())).trace(noise(2, 9, 8, 3))
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "scatter" not in lowered("cuda")
    assert "select_and_scatter" in lowered("tpu")


@pytest.mark.heavy
def test_the_smallest_units_of_float16_are_positive(forms):
    (layer,) = join_layers([nn.relu, max_pool])
    x = (noise(2, 9, 9, 3) * 1e-5).astype(jnp.float16)  # subnormal

    def gradient(x):
        y, backward = jax.vjp(layer, x)
        return backward(jnp.ones_like(y))[0]

    got = jax.jit(gradient)(x)
    with plain_forms():
        wanted = jax.jit(gradient)(x)
    assert wanted.any()
    np.testing.assert_array_equal(got, wanted)
