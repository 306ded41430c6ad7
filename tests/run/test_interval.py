"""`checkpoint.every_seconds`, by a clock of its own."""

import pytest

from alexnet_jax import loop
from alexnet_jax.run import interval
from alexnet_jax.run.interval import Interval
from alexnet_jax.run.rows import read_rows
from alexnet_jax.train import train_and_evaluate
from tests.helpers import checkpoint_of


class Clock:
    """Goes on by so many seconds whenever an epoch was evaluated."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def saves(config, tmp_path, monkeypatch):
    """Runs epochs of four steps and 20 s; returns the steps that were saved."""
    clock = Clock()

    def run(top1, workdir=tmp_path, **keys):
        results, seen = iter(top1), []
        config.num_epochs = keys.pop("num_epochs", len(top1))
        for key, value in keys.items():
            setattr(config.checkpoint, key, value)

        def evaluate(self, state):
            clock.now += 20
            return {"test/loss": 1.0, "test/top1": next(results)}

        def save(self, step, state, row):
            seen.append(step)
            return write(self, step, state, row)

        write = loop.Checkpoints.save
        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, "evaluate", evaluate)
            patch.setattr(loop.Checkpoints, "save", save)
            patch.setattr(loop, "Interval", lambda *args: Interval(*args, clock))
            train_and_evaluate(config, workdir)
        return seen

    return run


WORSE = [0.9 - epoch / 100 for epoch in range(8)]


@pytest.mark.slow
def test_events_are_counted(saves, config, tmp_path):
    config.batch_size = 1500  # an epoch is a step
    # The first is the best so far; from then on 60 s are three epochs; then the last.
    assert saves(WORSE[:5], every_seconds=60.0) == [1, 4, 5]
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert checkpoint_of(tmp_path, 5)["step"] == 5
    # A run that goes on knows the best of before, and its clock starts anew.
    assert saves([0.88, 0.91, 0.1, 0.1], num_epochs=9) == [7, 9]


@pytest.mark.slow
def test_every_steps_and_every_epochs_hold(saves, config, tmp_path):
    config.batch_size = 1500
    every_second = {"every_seconds": 30.0, "every_epochs": 2}
    # The first is the best, though it is not one of every two.
    assert saves(WORSE, tmp_path / "a", **every_second) == [1, 4, 6, 8]
    config.checkpoint.every_epochs = 1
    # Whatever saves starts the clock; what is due by steps is not put off.
    steps = {"every_seconds": 60.0, "every_steps": 3}
    assert saves(WORSE, tmp_path / "b", **steps) == [1, 3, 6, 8]
    config.checkpoint.every_steps = None
    assert saves(WORSE, tmp_path / "c", every_seconds=None) == [*range(1, 9)]


def test_the_best_is_saved_at_any_time():
    now = [0.0]
    made = Interval(60.0, 0.5, lambda: now[0])
    assert not made.due({"test/top1": 0.4}) and not made.due({})
    assert made.due({"test/top1": 0.5})  # of two that are equal the later is kept
    made.saved({"test/top1": 0.7})
    assert not made.due({"test/top1": 0.6})
    now[0] = 59.9
    assert not made.due({})
    now[0] = 60.0
    assert made.due({})
    made.saved({})  # between epochs
    assert not made.due({"test/top1": 0.6}) and made.due({"test/top1": 0.7})
    # Of an epoch that `every_epochs` does not name, only the best.
    now[0] = 200.0
    assert made.due({}) and not made.due({}, named=False)
    assert made.due({"test/top1": 0.7}, named=False)
    plain = Interval(None, 0.5, lambda: now[0])
    assert plain.due({}) and not plain.due({"test/top1": 0.7}, named=False)


@pytest.mark.parametrize("primary", [True, False])
def test_the_primary_decides(monkeypatch, primary):
    """Whatever another process's clock says; each is asked the same number of times."""
    asked = []

    def largest(value):  # of this process and another that would save
        asked.append(value)
        return value if primary else 1

    monkeypatch.setattr(interval, "is_primary", lambda: primary)
    monkeypatch.setattr(interval, "largest", largest)
    late = Interval(60.0, 0.9, iter([0.0, 61.0]).__next__)
    assert late.due({}) and asked == [int(primary)]
    early = Interval(60.0, 0.9, iter([0.0, 1.0]).__next__)
    assert early.due({}) is not primary and asked[1:] == [0]
