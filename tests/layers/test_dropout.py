import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.dropout import MaskDropout
from tests.helpers import noise


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

    @pytest.mark.heavy
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
