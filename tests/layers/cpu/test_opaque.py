import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.cpu.opaque import opaque, pullback


def mask(x):
    return jnp.where(jnp.sin(x) > 0, 1.0, 0.0)


def by_calls(x):
    whole = opaque(mask)(x)
    return x * whole, jnp.cos(x) * whole, x - whole


@pytest.mark.usefixtures("on_cpu")
def test_the_call_stays_and_what_it_calls_is_inlined():
    x = jnp.linspace(-3, 3, 100)
    compiled = jax.jit(by_calls).lower(x).compile()
    calls = [line for line in compiled.as_text().splitlines() if " call(" in line]
    assert len(calls) == 1 and "jit(mask)" in calls[0], calls
    plain = x * mask(x), jnp.cos(x) * mask(x), x - mask(x)
    np.testing.assert_allclose(compiled(x), plain, atol=1e-6)


def test_it_maps_and_differentiates_as_the_function():
    x = jnp.linspace(-3, 3, 12).reshape(3, 4)

    def loss(function, x):
        return (function(jnp.square)(x) * x).sum()

    for way in (jax.grad, jax.value_and_grad):
        got = way(lambda x: loss(opaque, x))(x)
        jax.tree.map(
            np.testing.assert_array_equal, got, way(lambda x: loss(lambda f: f, x))(x)
        )
    np.testing.assert_array_equal(jax.vmap(opaque(jnp.square))(x), x * x)


def test_pullback_is_the_gradient_of_every_argument():
    def function(x, y):
        return jnp.square(x) * jnp.sin(y)

    x, y, gradient = jnp.linspace(-3, 3, 12).reshape(3, 4)
    expected = jax.vjp(function, x, y)[1](gradient)
    got = pullback(function)(x, y, gradient)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
