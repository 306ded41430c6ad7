"""The norms of gradients: those of the step, on any devices, and harmless."""

import jax
import numpy as np
import optax
import pytest

from alexnet_jax.data.statistics import measure
from alexnet_jax.models import create_model
from alexnet_jax.parallel import create_parallel
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.run.rows import read_rows
from alexnet_jax.step import create_state, make_train_step
from alexnet_jax.train import train_and_evaluate
from tests.helpers import checkpoint_of, padded_batch

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


@pytest.mark.slow
def test_they_are_the_steps_own():
    """At rate 1 plain SGD moves the parameters by the gradient; with dropout."""
    batch = padded_batch((8, 16, 16, 1), 3)  # the second row has padding alone
    parallel = create_parallel(2, 2, 8, "alexnet_paper")
    model = create_model(
        "alexnet_paper",
        num_classes=10,
        training=True,
        width=1 / 16,
        initializer="torch",
    )
    tx = optax.sgd(1.0)
    step = make_train_step(
        parallel.local_model(model),
        tx,
        create_pipeline("standard", lambda: measure([batch["image"]]), 67),
        steps_per_epoch=9,
        log_every_steps=9,
        gradient_norms=True,
        axis_name=parallel.axis_name,
    )
    state = create_state(model, tx, (1, 67, 67, 1), jax.random.key(0))
    state, key = parallel.put(state), parallel.replicate(jax.random.key(1))
    train_step = parallel.compile_train(step)
    after, norms = train_step(state, parallel.shard_batch(batch), key)
    assert norms.keys() == set(LAYERS)
    for layer in LAYERS:
        old, new = (
            np.asarray(params[layer]["kernel"], np.float64)
            for params in jax.device_get((state.params, after.params))
        )
        moved = np.linalg.norm(new - old)
        assert moved > 0
        assert norms[layer] == pytest.approx(moved, rel=1e-3), layer


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_rows_have_them_and_the_run_is_the_same(config, devices, tmp_path):
    """Asked for in the middle of it: nothing that is saved knows of them."""
    config.parallel.data, config.num_epochs = devices, 1
    config.log.every_steps = 3
    train_and_evaluate(config, tmp_path / "without")
    for config.num_train_steps, config.log.gradients in ((1, False), (4, True)):
        train_and_evaluate(config, tmp_path / "with")
    without, with_ = (checkpoint_of(tmp_path / name, 4) for name in ("without", "with"))
    jax.tree.map(np.testing.assert_array_equal, without, with_)
    plain = read_rows(tmp_path / "without" / "metrics.jsonl")
    first, *rows = read_rows(tmp_path / "with" / "metrics.jsonl")
    layers = {f"grad/{layer}" for layer in ("conv1", "conv2", "fc3", "fc4", "fc5")}
    assert first["step"] == 1 and first.keys().isdisjoint(layers)
    for expected, row in zip(plain, rows, strict=True):
        assert row.keys() - expected.keys() == layers
        assert row["train/loss"] == expected["train/loss"]
        assert all(row[layer] > 0 for layer in layers)
    assert rows[0]["grad/fc5"] != rows[1]["grad/fc5"]
