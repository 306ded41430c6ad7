import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.cpu.relu_pool import (
    join_relu_and_pool,
    max_pool_of_relu,
    relu,
)
from alexnet_jax.layers.cpu.switch import forms_of, plain_forms
from alexnet_jax.layers.pooling import MAX_POOLS, max_pool
from alexnet_jax.layers.sequential import join_layers
from tests.helpers import noise


@pytest.mark.heavy
@pytest.mark.parametrize("pool", MAX_POOLS)
@pytest.mark.parametrize(
    ("platform", "dtype"),
    [
        *itertools.product(["cpu", "cuda"], ["float32", "bfloat16"]),
        ("tpu", "float32"),
    ],
)
def test_it_is_one_after_the_other(pool, dtype, platform):
    """Windows without a positive unit, ties and infinities included."""
    x = jnp.round(2 * noise(2, 8, 9, 3)).astype(dtype)
    x = x.at[0, :4].set(-1).at[1, 5, 5].set(jnp.inf).at[1, 0, 0].set(-jnp.inf)
    ways = (lambda x: max_pool_of_relu(x, pool)), (lambda x: pool(nn.relu(x)))

    def value_and_gradient(way):
        @jax.jit
        def found(x):
            y, backward = jax.vjp(way, x)
            gradient = jnp.arange(1, y.size + 1).reshape(y.shape).astype(dtype)
            return y, backward(gradient)

        return found(x)

    with forms_of(platform):
        got = value_and_gradient(ways[0])
    with plain_forms():
        wanted = value_and_gradient(ways[1])
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


@pytest.mark.heavy
@pytest.mark.usefixtures("on_cpu")
def test_what_was_pooled_need_not_stay():
    """On a CPU; with ReLU first its gradient wants every unit."""
    image, kernels = (
        jnp.ones((4, 33, 33, 64), jnp.float32),
        [jnp.zeros((64, 64), jnp.float32)] * 2,
    )

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


def test_layers_are_joined_in_pairs():
    layers = [nn.relu, max_pool, nn.tanh, max_pool, nn.relu, nn.relu, max_pool]
    joined = join_relu_and_pool(layers, MAX_POOLS)
    assert [getattr(layer, "func", layer) for layer in joined] == [
        *(max_pool_of_relu, nn.tanh, max_pool, relu, max_pool_of_relu)
    ]
    x = noise(1, 70, 70, 2)
    wanted, got = (
        nn.Sequential(each).apply({}, x) for each in (layers, join_layers(layers))
    )
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_relu_of_its_output(dtype):
    """As on NVIDIA GPUs: at zeros, NaN and infinities, in both modes."""
    x = jnp.asarray([-1, -0.0, 0, 1, 2, jnp.nan, jnp.inf, -jnp.inf], dtype)
    gradient = jnp.arange(1, 9).astype(dtype)

    def found(relu):
        y, backward = jax.vjp(relu, x)
        made = y, backward(gradient), jax.jvp(relu, (x,), (gradient,))
        return jax.tree.map(np.float32, made)  # NumPy takes no NaN of bfloat16 as equal

    with forms_of("cuda"):
        got = found(relu)
    jax.tree.map(np.testing.assert_array_equal, got, found(nn.relu))


def test_only_the_output_is_kept_on_nvidia_gpus():
    """Else cuDNN could not put ReLU into the convolution before it."""

    def lowered(platform):
        traced = jax.jit(jax.grad(lambda x: relu(2 * x).sum())).trace(noise(8))
        return traced.lower(lowering_platforms=(platform,)).as_text()

    # Without it XLA looks at the input after all: max(x, 0) > 0 is x > 0.
    assert "optimization_barrier" in lowered("cuda")
    assert "optimization_barrier" not in lowered("cpu")
