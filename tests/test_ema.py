"""The moving average of the parameters: what is evaluated, and what is loaded."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax import models
from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.optim import (
    average_parameters,
    create_optimizer,
    create_schedule,
    evaluated_params,
)
from alexnet_jax.run.imported import new_run
from alexnet_jax.run.weights import load_weights
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import load
from tests.helpers import (
    UserNet,
    assert_same_bits,
    checkpoint_of,
    compare,
    metrics_of,
    padded_batch,
    setup_towers,
)


def test_the_average_by_hand():
    """The first step copies; then 1/10, 2/11, ... are kept, at most the decay."""
    tx = average_parameters(optax.sgd(1.0), 0.15)
    params = {"fc": {"kernel": jnp.float32([10.0, -2.0])}}
    gradient = jax.tree.map(jnp.ones_like, params)
    state, expected = tx.init(params), None
    assert evaluated_params(params, state) is params
    for kept in (0.0, 0.1, 0.15, 0.15):
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        new = np.asarray(params["fc"]["kernel"])
        expected = new if expected is None else kept * expected + (1 - kept) * new
        averaged = evaluated_params(params, state)["fc"]["kernel"]
        np.testing.assert_allclose(averaged, expected, rtol=1e-6)
    assert int(state.steps) == 4


def test_without_it_the_state_is_what_it_was():
    optim = default_config().optim
    optim.momentum, schedule = 0.9, create_schedule(default_config().optim, 0.1, 9, 1)
    params = {"fc": {"kernel": jnp.ones(3)}}
    plain = create_optimizer(optim, schedule).init(params)
    optim.ema = 0.9
    averaged = create_optimizer(optim, schedule).init(params)
    assert jax.tree.structure(averaged.inner) == jax.tree.structure(plain)


@pytest.fixture
def user_net(config, monkeypatch):
    """A run of eight steps with dropout, BatchNorm, momentum and an average."""
    monkeypatch.setitem(models.MODELS, "user", UserNet)
    config.model.name = "user"
    config.optim.learning_rate, config.optim.ema = 0.05, 0.9
    return config


@pytest.mark.heavy
@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_average_is_the_uninterrupted_one(user_net, devices, tmp_path):
    user_net.parallel.data, user_net.log.every_steps = devices, 3
    user_net.optim.freeze, user_net.optim.schedule = "layers_0", "plateau"
    user_net.optim.accumulate_steps = 2
    for workdir, stops in (("whole", (7,)), ("parts", (2, 6, 7))):
        for user_net.num_train_steps in stops:
            train_and_evaluate(user_net, tmp_path / workdir)
    whole, parts = (checkpoint_of(tmp_path / name, 7) for name in ("whole", "parts"))
    assert_same_bits(whole, parts)
    names = ("step", "train/loss", "test/loss", "learning_rate")
    whole_rows, rows = (metrics_of(tmp_path / n, *names) for n in ("whole", "parts"))
    assert [row for row in rows if row[0] not in (2, 6)] == whole_rows
    average = whole["opt_state"]["average"]["net"]  # of what learns
    assert "layers_0" not in average and "layers_0" in whole["params"]["net"]


@pytest.mark.slow
def test_what_was_evaluated_is_what_is_loaded(user_net, tmp_path):
    """Also by a run that begins with its weights; and no other decay goes on."""
    result = train_and_evaluate(user_net, tmp_path / "run")
    stored = checkpoint_of(tmp_path / "run", 8)
    model = load(tmp_path / "run")
    assert model.evaluate()["loss"] == pytest.approx(result["test/loss"], rel=1e-5)
    assert_same_bits(model.weights["params"], stored["opt_state"]["average"])
    assert_same_bits(model.weights["model_state"], stored["model_state"])
    dense = [tree["net"]["layers_5"]["kernel"]
             for tree in (model.weights["params"], stored["params"])]  # fmt: skip
    assert np.abs(dense[0] - dense[1]).max() > 1e-4
    user_net.checkpoint.init_from = str(tmp_path / "run")
    user_net.optim.learning_rate, user_net.num_train_steps = 0.0, 1
    train_and_evaluate(user_net, tmp_path / "next")
    compare(load(tmp_path / "next").weights["params"], model.weights["params"])
    user_net.num_train_steps, user_net.optim.ema = None, None
    with pytest.raises(InputError, match=r"optim.ema was 0.9, is None"):
        train_and_evaluate(user_net, tmp_path / "next")


@pytest.mark.heavy
def test_imported_weights_are_what_they_are_until_the_first_step(user_net, tmp_path):
    user_net.num_train_steps = 1
    train_and_evaluate(user_net, tmp_path / "run")
    model = load(tmp_path / "run")
    with new_run(tmp_path / "imported", user_net, model.spec, **model.weights):
        pass
    again = load(tmp_path / "imported")
    assert again.step == 0
    assert_same_bits(again.weights, model.weights)


def test_a_run_of_the_version_before_has_none(trained, tmp_path):
    """Its config has no such key, and its parameters are what is loaded."""
    old = shutil.copytree(trained, tmp_path / "old")
    record = json.loads((old / "config.json").read_text())
    del record["config"]["optim"]["ema"], record["config"]["early_stop"]
    del record["config"]["optim"]["accumulate_steps"]
    (old / "config.json").write_text(json.dumps(record))
    weights = load_weights(old / "checkpoints" / "8")
    assert_same_bits(weights["params"], checkpoint_of(old, 8)["params"])
    assert_same_bits(load(old).weights, weights)


@pytest.mark.slow
def test_each_tower_averages_its_own():
    batch = padded_batch((8, 16, 16, 3), 3)
    states = []
    for towers in (1, 2):
        tx = average_parameters(optax.sgd(0.1), 0.9)
        state, train, _ = setup_towers("alexnet_2012", 1, towers, batch, tx)
        states.append(train(train(state)))
    compare(*[evaluated_params(one.params, one.opt_state) for one in states])
