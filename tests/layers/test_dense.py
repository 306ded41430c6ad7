import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.dense import Dense, TowerDense
from tests.helpers import noise


@pytest.mark.heavy
@pytest.mark.parametrize(("dtype", "near"), [("float32", 0), ("bfloat16", 0.01)])
@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8)])
def test_dense_is_linens(shape, dtype, near):
    x = noise(*shape)
    ours, linens = (kind(5, dtype=dtype) for kind in (Dense, nn.Dense))
    variables = ours.init(jax.random.key(1), x)

    def value_and_gradients(layer):
        y, backward = jax.vjp(jax.jit(layer.apply), variables, x)
        return y, backward(noise(*y.shape, seed=2).astype(y.dtype))

    for got, wanted in zip(
        *(jax.tree.leaves(value_and_gradients(layer)) for layer in (ours, linens)),
        strict=True,
    ):
        assert got.dtype == wanted.dtype
        pair = (np.asarray(array, np.float32) for array in (got, wanted))
        np.testing.assert_allclose(*pair, rtol=near, atol=near)


@pytest.mark.heavy
def test_a_dense_layer_of_towers_is_two_dense_layers():
    x = noise(2, 3, 3, 8)
    layer = TowerDense(10, groups=2)
    params = layer.init(jax.random.key(0), x)["params"]
    assert params["kernel"].shape == (3 * 3 * 4, 10)
    params["bias"] = noise(10, seed=1)
    expected = [
        half.reshape(2, -1) @ kernel + bias[None]
        for half, kernel, bias in zip(
            jnp.split(x, 2, axis=-1),
            jnp.split(params["kernel"], 2, axis=-1),
            jnp.split(params["bias"], 2),
            strict=True,
        )
    ]
    got = layer.apply({"params": params}, x)
    np.testing.assert_allclose(got, jnp.concatenate(expected, -1), atol=1e-5)
