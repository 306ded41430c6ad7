import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.dense import Dense, MaskDropout, TowerDense


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


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


class TestDense:
    @pytest.mark.parametrize(("dtype", "near"), [("float32", 0), ("bfloat16", 0.01)])
    @pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8)])
    def test_it_is_linens(self, shape, dtype, near):
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

    def test_precision(self):
        layer = Dense(5, precision="highest")
        x = noise(3, 8)
        variables = layer.init(jax.random.key(1), x)
        gradient = jax.jit(jax.grad(lambda v: layer.apply(v, x).sum()))
        text = gradient.lower(variables).as_text()
        assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("dot_general")

    def test_no_copy_of_the_kernels_in_a_step(self):
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


class TestMaskDropout:
    def apply(self, x, rate=0.5, deterministic=False, seed=0):
        layer = MaskDropout(rate, deterministic=deterministic)
        return layer.apply({}, x, rngs={"dropout": jax.random.key(seed)})

    def test_it_masks_without_scaling_and_halves_at_test(self):
        x = noise(200, 200)
        dropped = np.asarray(self.apply(x, rate=0.3))
        kept = dropped != 0
        assert abs(kept.mean() - 0.7) < 0.01
        np.testing.assert_array_equal(dropped[kept], np.asarray(x)[kept])
        at_test = self.apply(x, rate=0.3, deterministic=True)
        np.testing.assert_allclose(at_test, 0.7 * x, rtol=1e-6)
        assert not np.array_equal(dropped, self.apply(x, rate=0.3, seed=1))

    def test_it_keeps_the_dtype(self):
        x = noise(4, 4).astype(jnp.bfloat16)
        for deterministic in (False, True):
            assert self.apply(x, deterministic=deterministic).dtype == jnp.bfloat16

    def test_it_is_todays_dropout_with_other_weights_rates_and_decay(self):
        """Following weights W, rate η and decay λ are W/2, η/4 and 4λ today."""
        features = np.random.default_rng(0).normal(size=(20, 8))
        masks = np.random.default_rng(1).random((20, 8)) < 0.5
        target = np.random.default_rng(2).normal(size=20)

        def train(weight, rate, decay, scale):
            velocity = np.zeros(8)
            for x, mask, wanted in zip(features, masks, target, strict=True):
                x = x * mask * scale
                gradient = 2 * (x @ weight - wanted) * x
                velocity = 0.9 * velocity - rate * (gradient + decay * weight)
                weight = weight + velocity
            return weight

        start = np.linspace(-1, 1, 8)
        old = train(start, 0.01, 5e-3, scale=1)
        new = train(start / 2, 0.01 / 4, 4 * 5e-3, scale=2)
        np.testing.assert_allclose(old, 2 * new, rtol=1e-12)
