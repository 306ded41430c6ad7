import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.cpu.switch import forms_of
from alexnet_jax.layers.dense import Dense
from tests.helpers import noise


@pytest.mark.heavy
def test_precision():
    layer = Dense(5, precision="highest")
    x = noise(3, 8)
    variables = layer.init(jax.random.key(1), x)
    gradient = jax.jit(jax.grad(lambda v: layer.apply(v, x).sum()))
    text = gradient.lower(variables).as_text()
    assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("dot_general")


@pytest.mark.heavy
@pytest.mark.usefixtures("on_cpu")
def test_no_copy_of_the_kernels_in_a_step():
    """On a CPU, where the new kernel is written into the old one's place."""
    x = noise(4, 512)

    def planned(kind):
        layers = nn.Sequential([kind(512) for _ in range(3)])

        def step(variables, x):
            def loss(variables):
                return jnp.square(layers.apply(variables, x)).sum()

            gradients = jax.grad(loss)(variables)
            return jax.tree.map(lambda a, g: a - 0.1 * g, variables, gradients)

        variables = layers.init(jax.random.key(0), x)
        compiled = jax.jit(step, donate_argnums=0).lower(variables, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    a_kernel = 4 * 512**2
    assert planned(Dense) < planned(nn.Dense) - 0.9 * a_kernel


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_in_order_on_nvidia_gpus(dtype):
    """The kernel's own after the input's, of the same values as XLA's."""
    x = noise(3, 8).astype(dtype)
    layers = Dense(5, dtype=dtype), nn.Dense(5, dtype=dtype)
    variables = layers[0].init(jax.random.key(1), x)

    def gradients(layer):
        def loss(variables, x):
            return jnp.square(layer.apply(variables, x)).sum()

        return jax.jit(jax.grad(loss, (0, 1)))

    with forms_of("cuda"):
        lowered = gradients(layers[0]).lower(variables, x)
        got = lowered.compile()(variables, x)
    wanted = gradients(layers[1])(variables, x)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    text = lowered.as_text()
    by_x, by_kernel = text.split("stablehlo.optimization_barrier")
    assert "dot_general" in by_x and by_kernel.count("dot_general") == 1
