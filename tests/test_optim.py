from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config, validate
from alexnet_jax.errors import InputError
from alexnet_jax.optim import (
    after_epoch,
    create_optimizer,
    create_schedule,
    divide_on_plateau,
    group_of,
    rate_of_step,
)
from alexnet_jax.train import train_and_evaluate
from tests.helpers import checkpoint_of, metrics_of


def schedule(**changes):
    config = default_config().optim
    config.update(changes)
    rates = create_schedule(config, 0.1, steps_per_epoch=10, num_epochs=8)
    assert set(rates) == {"all"}
    return rates["all"]


def test_constant():
    rates = schedule()
    assert float(rates(0)) == float(rates(79)) == pytest.approx(0.1)


def test_step_divides_after_the_named_epochs():
    rates = schedule(schedule="step", decay_epochs=(3, 6))
    got = [float(rates(step)) for step in (0, 29, 30, 59, 60, 79)]
    assert got == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    late = schedule(schedule="step", decay_epochs=(3,), decay_rate=0.5, warmup_steps=5)
    assert [float(late(step)) for step in (29, 30)] == pytest.approx([0.1, 0.05])


def test_step_divides_after_the_named_steps():
    rates = schedule(schedule="step", decay_steps=(7, 33))
    got = [float(rates(step)) for step in (0, 6, 7, 32, 33, 79)]
    assert got == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def rates_at(name, epochs, groups):
    """The rates from 0.01 at these moments of 90 epochs of 10 steps, in a dict."""
    config = default_config().optim
    config.schedule = name
    rates = create_schedule(config, 0.01, steps_per_epoch=10, num_epochs=90)
    return {
        epoch: [float(rates[group](round(epoch * 10))) for group in groups]
        for epoch in epochs
    }


def test_configuration_145():
    expected = {
        # epochs done: kernels, conv1's kernel, biases, conv1's bias
        0: (1e-2, 1e-2, 1e-2, 1e-2),
        24.9: (1e-2, 1e-2, 1e-2, 1e-2),
        25: (1e-3, 1e-3, 1e-2, 1e-2),
        50.9: (1e-3, 1e-3, 1e-2, 1e-2),
        51: (1e-4, 1e-4, 1e-2, 1e-2),
        66.9: (1e-4, 1e-4, 1e-2, 1e-2),
        67: (1e-4, 1e-5, 1e-2, 1e-2),
        71.9: (1e-4, 1e-5, 1e-2, 1e-2),
        72: (1e-4, 0.0, 1e-2, 0.0),
        78.9: (1e-4, 0.0, 1e-2, 0.0),
        79: (1e-5, 0.0, 1e-2, 0.0),
        90.9: (1e-5, 0.0, 1e-2, 0.0),
    }
    groups = ("all", "conv1/kernel", "bias", "conv1/bias")
    got = rates_at("2012", expected, groups)
    assert got == {epoch: pytest.approx(row) for epoch, row in expected.items()}


def test_one_weird_trick():
    expected = {
        0: (0.01, 0.01),
        22.4: (0.01, 0.01),
        22.5: (0.0015874, 0.01),
        44.9: (0.0015874, 0.01),
        45: (0.00025198, 0.001),
        67.4: (0.00025198, 0.001),
        67.5: (0.00004, 0.001),
        89.9: (0.00004, 0.001),
    }
    got = rates_at("one_weird_trick", expected, ("all", "bias"))
    assert got == {
        epoch: pytest.approx(row, rel=1e-4) for epoch, row in expected.items()
    }


def test_a_quarter_that_is_no_whole_step_is_rounded_up():
    config = default_config().optim
    config.schedule = "one_weird_trick"
    rates = create_schedule(config, 1.0, steps_per_epoch=5, num_epochs=1)["bias"]
    assert [float(rates(step)) for step in (2, 3)] == pytest.approx([1.0, 0.1])


def test_every_group_is_warmed_up():
    config = default_config().optim
    config.schedule, config.warmup_steps = "2012", 20
    rates = create_schedule(config, 0.1, steps_per_epoch=10, num_epochs=90)
    for group in rates:
        assert float(rates[group](5)) == pytest.approx(0.025)
        assert float(rates[group](20)) == pytest.approx(0.1)
    assert float(rates["all"](249)) == pytest.approx(0.1)
    assert float(rates["all"](250)) == pytest.approx(0.01)


def test_cosine_ends_at_zero_with_the_run():
    rates = schedule(schedule="cosine")
    got = [float(rates(step)) for step in (0, 40, 80)]
    assert got == pytest.approx([0.1, 0.05, 0.0], abs=1e-7)


def test_warm_up_is_linear():
    rates = schedule(warmup_steps=20)
    got = [float(rates(step)) for step in (0, 5, 20, 50)]
    assert got == pytest.approx([0.0, 0.025, 0.1, 0.1])


def test_the_rate_of_a_step_is_the_kernels():
    """Of the step that was taken, counted from 1; as short as float32 tells it."""
    optim = default_config().optim
    optim.schedule, optim.warmup_steps = "2012", 4
    rate = rate_of_step(create_schedule(optim, 0.01, 10, 90), 0.1)
    assert [rate(n, ()) for n in (1, 2, 5, 250, 251)] == [0, 0.0025, 0.01, 0.01, 0.001]


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 5e-4)])
def test_updates_are_pytorchs(momentum, decay):
    """v ← μv + g + λw; w ← w - ηv, as `torch.optim.SGD` does."""
    config = default_config().optim
    config.momentum, config.weight_decay = momentum, decay
    tx = create_optimizer(config, create_schedule(config, 0.1, 10, 1))
    params = {"w": jnp.array([1.0, -2.0], jnp.float32)}
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
        tx = create_optimizer(config, {"all": lambda step: jnp.asarray(rates)[step]})
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


class TestAdamW:
    @pytest.mark.heavy
    def test_updates_are_optaxs(self):
        optim = default_config().optim
        optim.update(name="adamw", weight_decay=0.1, b1=0.8, b2=0.95, eps=1e-6)
        rates = create_schedule(optim, 0.03, steps_per_epoch=10, num_epochs=8)
        ours = create_optimizer(optim, rates)
        theirs = optax.adamw(0.03, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1)
        params = {"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
        states = [tx.init(params) for tx in (ours, theirs)]
        for step in range(4):
            key = jax.random.key(step)
            grads = {"kernel": jax.random.normal(key, (2, 3)), "bias": jnp.ones(3)}
            made = []
            for index, tx in enumerate((ours, theirs)):
                mode = "strict" if tx is ours else "standard"
                with jax.numpy_dtype_promotion(mode):
                    found = tx.update({"fc": grads}, states[index], params)
                updates, states[index] = found
                made.append(updates)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), *made)
            params = optax.apply_updates(params, made[0])

    @pytest.mark.heavy
    def test_a_resumed_run_is_the_uninterrupted_one(self, config, tmp_path):
        config.optim.name, config.optim.momentum = "adamw", 0.0
        config.optim.learning_rate, config.optim.weight_decay = 1e-3, 0.01
        config.num_epochs = 1
        train_and_evaluate(config, tmp_path / "whole")
        for config.num_train_steps in (2, 4):
            train_and_evaluate(config, tmp_path / "parts")
        whole, parts = (
            checkpoint_of(tmp_path / name, 4) for name in ("whole", "parts")
        )
        jax.tree.map(np.testing.assert_array_equal, whole, parts)

    @pytest.mark.parametrize(
        ("name", "key", "value"), [("adamw", "momentum", 0.9), ("sgd", "b1", 0.8)]
    )
    def test_another_optimizers_settings(self, name, key, value):
        config = default_config()
        config.optim.update({"name": name, key: value})
        with pytest.raises(InputError, match=f"optim.{key} is not read .* got {value}"):
            validate(config)


class TestGroups:
    """Rates of their own for conv1 and for biases."""

    def schedule(self, frozen_from):
        def conv1(step):
            return jnp.where(step < frozen_from, 0.1, 0.0)

        return {
            "all": lambda step: 0.1,
            "bias": lambda step: 0.01,
            "conv1/kernel": conv1,
            "conv1/bias": conv1,
        }

    def test_the_narrowest_group_of_a_parameter(self):
        params = {
            "net": {"conv1": {"kernel": 0, "bias": 0}},  # a user's, one deeper
            "conv2": {"kernel": 0, "bias": 0},
            "norm": {"scale": 0},
        }
        groups = jax.tree_util.tree_map_with_path(
            lambda path, _: group_of(path, self.schedule(0)), params
        )
        assert groups == {
            "net": {"conv1": {"kernel": "conv1/kernel", "bias": "conv1/bias"}},
            "conv2": {"kernel": "all", "bias": "bias"},
            "norm": {"scale": "all"},
        }

    @pytest.mark.parametrize("name", ["sgd", "sgd_2012"])
    def test_a_frozen_layer_stands_still_with_its_velocity(self, name):
        config = default_config().optim
        config.name, config.momentum, config.weight_decay = name, 0.9, 5e-4
        tx = create_optimizer(config, self.schedule(frozen_from=3))
        layer = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
        params = {"conv1": layer, "conv2": layer}
        state = tx.init(params)
        states = []
        for _ in range(6):
            updates, state = tx.update(
                jax.tree.map(jnp.ones_like, params), state, params
            )
            params = jax.tree.map(jnp.add, params, updates)
            velocity = optax.tree_utils.tree_get(state, "trace")
            states.append({"params": params, "velocity": velocity})
        for name in ("kernel", "bias"):
            for kind in ("params", "velocity"):
                conv1 = [float(at[kind]["conv1"][name][0]) for at in states]
                conv2 = [float(at[kind]["conv2"][name][0]) for at in states]
                assert conv1[2] == conv1[3] == conv1[5] != 0
                assert len({*conv1[:3]}) == 3 and len({*conv2}) == 6
        # Biases learn at a tenth of the kernels' rate (of 2012: at twice that).
        moved = [1 - float(states[0]["params"]["conv2"][n][0]) for n in layer]
        assert moved[1] / moved[0] == pytest.approx(
            0.2 if config.name == "sgd_2012" else 0.1, rel=2e-3
        )

    def test_a_run_with_frozen_groups_has_the_state_of_any_other(self):
        params = {"conv1": {"kernel": jnp.ones(2)}}
        shapes = []
        for name in ("constant", "2012"):
            config = default_config().optim
            config.name, config.schedule, config.momentum = "sgd_2012", name, 0.9
            tx = create_optimizer(config, create_schedule(config, 0.1, 10, 1))
            shapes.append(jax.tree.structure(tx.init(params)))
        assert shapes[0] == shapes[1]


class TestPlateau:
    """÷ 10 when the error stops improving."""

    def run(self, errors, **changes):
        """The number of drops after each epoch."""
        config = default_config().optim
        config.update({"patience": 2, "min_delta": 0.01, **changes})
        state = divide_on_plateau(0.1).init({})
        drops = []
        for error in errors:
            state = after_epoch(state, error, config)
            drops.append(int(state.drops))
        return drops

    def test_it_drops_when_the_patience_is_over(self):
        errors = [0.9, 0.8, 0.8, 0.7, 0.71, 0.7, 0.6, 0.6, 0.6]
        assert self.run(errors) == [0, 0, 0, 0, 0, 1, 1, 1, 2]

    def test_after_a_drop_it_waits_anew(self):
        assert self.run([0.5] * 6) == [0, 0, 1, 1, 2, 2]
        assert self.run([0.5] * 6, patience=1) == [0, 1, 2, 3, 3, 3]

    def test_it_drops_so_often_at_most(self):
        assert self.run([0.5] * 9, max_drops=1) == [0, 0] + [1] * 7

    def test_less_than_min_delta_is_no_better(self):
        assert self.run([0.5, 0.495, 0.492]) == [0, 0, 1]
        assert self.run([0.5, 0.495, 0.492], min_delta=0.0) == [0, 0, 0]

    @pytest.mark.parametrize("name", ["sgd", "sgd_2012"])
    def test_the_updates_are_divided(self, name):
        config = default_config().optim
        config.name, config.schedule = name, "plateau"
        tx = create_optimizer(config, create_schedule(config, 0.5, 10, 1))
        grads = {"fc6": {"kernel": jnp.ones(1)}}
        state = tx.init(grads)
        dropped = optax.tree_utils.tree_set(state, drops=jnp.int32(2))
        for at, expected in ((state, -0.5), (dropped, -0.005)):
            updates, _ = tx.update(grads, at, grads)
            assert float(updates["fc6"]["kernel"][0]) == pytest.approx(expected)

    @pytest.fixture
    def hopeless(self, config):
        """Three epochs of four steps in which nothing improves."""
        config.optim.learning_rate = 1e-6
        config.optim.schedule, config.optim.patience = "plateau", 1
        config.optim.max_drops, config.num_epochs = 2, 3
        return config

    SAID = (
        "plateau   no improvement for 1 epoch: learning rate × 0.1 now\n",
        "plateau   no improvement for 1 epoch: learning rate × 0.01 now\n",
    )

    @pytest.mark.slow
    def test_a_resumed_run_drops_where_the_uninterrupted_one_did(
        self, hopeless, tmp_path, capsys
    ):
        """The stop inside an epoch is evaluated, too, and does not count."""
        for workdir, stops in (("whole", (12,)), ("parts", (6, 12))):
            for hopeless.num_train_steps in stops:
                train_and_evaluate(hopeless, tmp_path / workdir)
            out = capsys.readouterr().out
            assert [out.count(line) for line in self.SAID] == [1, 1]
            rates = metrics_of(tmp_path / workdir, "step", "learning_rate")
            by_epoch = [row for row in rates if row[0] % 4 == 0]
            assert by_epoch == [(4, 1e-6), (8, 1e-6), (12, 1e-7)]
        whole, parts = (
            checkpoint_of(tmp_path / name, 12) for name in ("whole", "parts")
        )
        jax.tree.map(np.testing.assert_array_equal, whole, parts)
        assert optax.tree_utils.tree_get(whole["opt_state"], "drops") == 2

    @pytest.mark.slow
    def test_devices_that_share_a_batch_agree(self, hopeless, tmp_path, capsys):
        hopeless.parallel.data = 2
        train_and_evaluate(hopeless, tmp_path)
        out = capsys.readouterr().out
        assert [out.count(line) for line in self.SAID] == [1, 1]
