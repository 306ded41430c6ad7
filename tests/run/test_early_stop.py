"""A run ends when it has not become better for so long; it can be gone on with."""

import pytest

from alexnet_jax.loop import Trainer
from alexnet_jax.run.read import read_run
from alexnet_jax.run.rows import stopped_early
from alexnet_jax.train import train_and_evaluate
from tests.helpers import metrics_of

TOP1 = (0.3, 0.5, 0.5, 0.4, 0.6, 0.2, 0.2, 0.2, 0.7)
LINE = "stopped   early at epoch 4: no better test top-1 since epoch 2\n"


def rows_of(*top1, every=1, last=0.0):
    rows = [
        {"step": 4 * epoch, "epoch": float(epoch), "test/top1": value}
        for epoch, value in zip(range(every, 99, every), top1, strict=False)
    ]
    rows.insert(1, {"step": 5, "epoch": 5 / 4})
    return [*rows, {"step": 99, "epoch": 24.75, "test/top1": last}]


@pytest.mark.parametrize(
    ("top1", "patience", "said"),
    [
        ((), 1, None),
        ((0.1,), 1, None),
        ((0.1, 0.1), 1, "early at epoch 2: no better test top-1 since epoch 1"),
        ((0.1, 0.2), 1, None),
        ((0.1, 0.2, 0.1), 2, None),
        ((0.1, 0.2, 0.1, 0.2), 2, "early at epoch 4: no better test top-1 since epoch"),
        ((0.1, 0.2, 0.1, 0.2), None, None),
    ],
)
def test_the_rule(top1, patience, said):
    found = stopped_early(rows_of(*top1), patience)
    assert found is None if said is None else found.startswith(said)


def test_only_evaluated_epochs_count():
    """Of every third epoch one; an evaluation within an epoch is none."""
    assert stopped_early(rows_of(0.5, 0.4, every=3, last=0.9), 2) is None
    found = stopped_early(rows_of(0.5, 0.4, 0.3, every=3, last=0.9), 2)
    assert found == "early at epoch 9: no better test top-1 since epoch 3"


@pytest.fixture
def scripted(config, monkeypatch):
    """A run whose test top-1 is known beforehand; an epoch of two steps."""
    config.batch_size, config.num_epochs = 800, 9
    config.log.every_steps = 1
    evaluate = Trainer.evaluate

    def known(self, state):
        epoch = int(state.step) // self.steps_per_epoch
        return evaluate(self, state) | {"test/top1": TOP1[epoch - 1]}

    monkeypatch.setattr(Trainer, "evaluate", known)
    return config


@pytest.mark.heavy
def test_a_run_stops_early_and_is_finished(scripted, tmp_path, capsys):
    scripted.early_stop.patience = 2
    scripted.checkpoint.every_epochs = 3  # and the last all the same
    result = train_and_evaluate(scripted, tmp_path)
    out = capsys.readouterr().out
    assert LINE in out and out.rstrip().splitlines()[-1].startswith("finished  test")
    # Epoch 3 is as good as 2, and no better; of the two its checkpoint is kept.
    assert result["step"] == 8 and result["best/epoch"] == 3
    again = train_and_evaluate(scripted, tmp_path)
    out = capsys.readouterr().out
    assert again == result and LINE in out and "finished  earlier, at step 8" in out
    (note,) = read_run(tmp_path, "run").notes()
    assert note == f"{tmp_path.name} {LINE.strip().replace('   ', ' ')}."


@pytest.mark.slow
def test_it_goes_on_with_more_patience_and_counts_from_its_records(
    scripted, tmp_path, capsys
):
    """Interrupted while it waits: at epoch 3, and within epoch 7."""
    scripted.early_stop.patience = 2
    for scripted.num_train_steps in (6, None):
        train_and_evaluate(scripted, tmp_path)
    assert metrics_of(tmp_path, "step")[-1] == (8,)
    scripted.early_stop.patience = 3
    for scripted.num_train_steps in (13, None):
        train_and_evaluate(scripted, tmp_path)
    assert "stopped   early at epoch 8: no better" in capsys.readouterr().out
    assert metrics_of(tmp_path, "step")[-1] == (16,)
    scripted.early_stop.patience = None
    assert train_and_evaluate(scripted, tmp_path)["step"] == 18
    assert "stopped" not in capsys.readouterr().out
    assert [row[0] for row in metrics_of(tmp_path, "step")] == [*range(1, 19)]


@pytest.mark.slow
def test_of_epochs_that_are_evaluated(scripted, tmp_path, capsys):
    """Epochs 2, 4, 6, 8: 0.5, 0.4, 0.2."""
    scripted.early_stop.patience, scripted.eval.every_epochs = 2, 2
    assert train_and_evaluate(scripted, tmp_path)["step"] == 12
    assert "at epoch 6: no better test top-1 since epoch 2" in capsys.readouterr().out
