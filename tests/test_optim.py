import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.optim import create_optimizer, create_schedule


def schedule(**changes):
    config = default_config().optim
    config.update(changes)
    return create_schedule(config, 0.1, steps_per_epoch=10, num_epochs=8)


def test_constant():
    rates = schedule()
    assert float(rates(0)) == float(rates(79)) == pytest.approx(0.1)


def test_step_divides_after_the_named_epochs():
    rates = schedule(schedule="step", decay_epochs=(3, 6))
    got = [float(rates(step)) for step in (0, 29, 30, 59, 60, 79)]
    assert got == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    late = schedule(schedule="step", decay_epochs=(3,), decay_rate=0.5, warmup_steps=5)
    assert [float(late(step)) for step in (29, 30)] == pytest.approx([0.1, 0.05])


def test_cosine_ends_at_zero_with_the_run():
    rates = schedule(schedule="cosine")
    got = [float(rates(step)) for step in (0, 40, 80)]
    assert got == pytest.approx([0.1, 0.05, 0.0], abs=1e-7)


def test_warm_up_is_linear():
    rates = schedule(warmup_steps=20)
    got = [float(rates(step)) for step in (0, 5, 20, 50)]
    assert got == pytest.approx([0.0, 0.025, 0.1, 0.1])


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 5e-4)])
def test_updates_are_pytorchs(momentum, decay):
    """v ← μv + g + λw; w ← w - ηv, as `torch.optim.SGD` does."""
    config = default_config().optim
    config.momentum, config.weight_decay = momentum, decay
    tx = create_optimizer(config, create_schedule(config, 0.1, 10, 1))
    params = {"w": jnp.array([1.0, -2.0])}
    state = tx.init(params)
    weight, velocity = np.array([1.0, -2.0]), np.zeros(2)
    for step in range(4):
        gradient = np.array([0.3, -0.1]) * (step + 1)
        grads = {"w": jnp.asarray(gradient, jnp.float32)}
        updates, state = tx.update(grads, state, params)
        params = {"w": params["w"] + updates["w"]}
        velocity = momentum * velocity + gradient + decay * weight
        weight = weight - 0.1 * velocity
        np.testing.assert_allclose(params["w"], weight, rtol=1e-5)


class TestSgd2012:
    """v ← μv - ηλw - ηg; w ← w + v; biases at 2η and without decay."""

    def run(self, rates, *, name="sgd_2012", decay=0.0, start=1.0, layer="kernel"):
        config = default_config().optim
        config.name, config.momentum, config.weight_decay = name, 0.9, decay
        tx = create_optimizer(config, lambda step: jnp.asarray(rates)[step])
        params = {"fc6": {layer: jnp.array([start])}}
        grads = jax.tree.map(jnp.ones_like, params)
        state = tx.init(params)
        for _ in rates:
            updates, state = tx.update(grads, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return float(params["fc6"][layer][0])

    def by_hand(self, rates, decay=0.0, factor=1.0):
        weight, velocity = 1.0, 0.0
        for rate in rates:
            velocity = 0.9 * velocity - rate * factor * (1.0 + decay * weight)
            weight += velocity
        return weight

    def test_it_coasts_on_after_a_drop_of_the_rate(self):
        rates = [0.01] * 5 + [0.001] * 5
        assert self.run(rates) == pytest.approx(0.704486, abs=5e-7)
        assert self.run(rates, name="sgd") == pytest.approx(0.840322, abs=5e-7)

    def test_they_are_one_while_the_rate_is_constant(self):
        rates = [0.01] * 10
        assert self.run(rates) == pytest.approx(self.run(rates, name="sgd"), abs=1e-6)

    def test_kernels_decay(self):
        rates = [0.01] * 4
        made = self.run(rates, decay=0.5)
        assert made == pytest.approx(self.by_hand(rates, decay=0.5), abs=1e-6)
        assert abs(made - self.run(rates)) > 0.01

    def test_biases_learn_at_twice_the_rate_and_do_not_decay(self):
        rates = [0.01, 0.02, 0.005]
        made = self.run(rates, decay=0.5, layer="bias")
        assert made == pytest.approx(self.by_hand(rates, factor=2.0), abs=1e-6)

    def test_a_norms_scale_is_no_kernel(self):
        rates = [0.01] * 3
        made = self.run(rates, decay=0.5, layer="scale")
        assert made == pytest.approx(self.by_hand(rates), abs=1e-6)
