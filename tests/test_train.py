"""The loop: resuming, records, checkpoints, stopping."""

import dataclasses
import json
import os
import signal
import threading
from contextlib import closing

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alexnet_jax import loop, models, train
from alexnet_jax.data import Batches, Data, DataSpec
from alexnet_jax.data.statistics import KRIZHEVSKY, measure
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.optim import OPTIMIZERS
from alexnet_jax.run.checkpoints import Checkpoints
from alexnet_jax.run.folder import RunFolder
from alexnet_jax.run.rows import read_rows
from alexnet_jax.run.signals import Stopped
from alexnet_jax.train import train_and_evaluate
from tests.helpers import AUGMENTED, UserNet, checkpoint_of, metrics_of


def saved(workdir):
    with closing(Checkpoints(workdir / "checkpoints", keep=2)) as checkpoints:
        return checkpoints.steps()


@pytest.fixture
def user_net(config, monkeypatch):
    """The config of a network with dropout and running statistics."""
    monkeypatch.setitem(models.MODELS, "user", UserNet)
    config.model.name = "user"
    config.optim.learning_rate = 0.05
    return config


@pytest.mark.heavy
@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_uninterrupted_one(user_net, devices, tmp_path):
    """Interrupted inside an epoch and again in the next."""
    user_net.parallel.data = devices
    if devices == 1:
        user_net.optim.name, user_net.optim.weight_decay = "sgd_2012", 5e-4
        user_net.data.scale = "standard"
    else:
        user_net.augment.update(AUGMENTED)
        user_net.eval.views = 10
    user_net.log.every_steps = 3
    for workdir, stops in (("whole", (7,)), ("parts", (2, 6, 7))):
        for user_net.num_train_steps in stops:
            result = train_and_evaluate(user_net, tmp_path / workdir)
    whole, parts = (checkpoint_of(tmp_path / name, 7) for name in ("whole", "parts"))
    assert whole["model_state"]["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    names = ("step", "train/loss", "train/top1", "test/loss")
    whole, parts = (metrics_of(tmp_path / name, *names) for name in ("whole", "parts"))
    # The stops left rows of their own; all others are the same.
    assert [row for row in parts if row[0] not in (2, 6)] == whole
    assert result["test/top1"] > (0.5 if devices == 1 else 0.3)


@pytest.mark.heavy
def test_losses_of_one_and_four_devices_agree(config, tmp_path):
    for devices in (1, 4):
        config.parallel.data = devices
        train_and_evaluate(config, tmp_path / str(devices))
    names = ("train/loss", "train/top1", "test/loss", "test/top1")
    one, four = (np.array(metrics_of(tmp_path / n, *names)) for n in ("1", "4"))
    assert one.shape == (2, 4)
    np.testing.assert_allclose(one, four, rtol=1e-4)


@pytest.mark.heavy
def test_a_checkpoint_of_four_devices_opens_on_one(config, tmp_path):
    for devices, epochs in ((4, 1), (1, 2)):
        config.parallel.data, config.num_epochs = devices, epochs
        train_and_evaluate(config, tmp_path / "moved")
    config.parallel.data = 4
    train_and_evaluate(config, tmp_path / "stayed")
    moved, stayed = (
        np.array(metrics_of(tmp_path / name, "train/loss", "test/loss"))
        for name in ("moved", "stayed")
    )
    np.testing.assert_allclose(moved, stayed, rtol=1e-4)


@pytest.mark.slow
def test_events_come_at_their_intervals(config, tmp_path):
    """Every interval key, by counting: 12 steps in epochs of 4."""
    config.num_epochs = 3
    config.log.every_steps = 2
    config.eval.every_epochs = 2
    config.checkpoint.every_epochs = 2
    config.checkpoint.every_steps = 5
    config.checkpoint.keep = 10
    train_and_evaluate(config, tmp_path)
    rows = metrics_of(tmp_path, "step", "test/loss")
    assert [step for step, _ in rows] == [2, 4, 6, 8, 10, 12]
    assert [step for step, loss in rows if loss is not None] == [8, 12]
    assert saved(tmp_path) == [5, 8, 10, 12]


@pytest.mark.slow
def test_the_newest_and_the_best_are_kept(config, tmp_path, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.6, 0.7, 0.1])

    def evaluate(self, state):
        return {"test/loss": 1.0, "test/top1": next(accuracies)}

    monkeypatch.setattr(loop.Trainer, "evaluate", evaluate)
    config.checkpoint.every_steps = 6
    for config.num_epochs in (3, 5):  # the best is known after a restart, too
        result = train_and_evaluate(config, tmp_path)
    assert saved(tmp_path) == [8, 18, 20]
    with closing(Checkpoints(tmp_path / "checkpoints", keep=2)) as checkpoints:
        assert checkpoints.best_step() == 8
    assert result["best/top1"] == 0.9 and result["best/epoch"] == 2
    assert result["test/top1"] == 0.1


@pytest.mark.heavy
def test_what_a_run_leaves(config, tmp_path, capsys):
    config.log.tensorboard = True
    config.log.every_steps = 2
    result = train_and_evaluate(config, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    left = {
        ".lock",
        "config.json",
        "data.json",
        "statistics.npz",
        "metrics.jsonl",
        "curves.png",
        "checkpoints",
        "tensorboard",
    }
    assert names == left
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["config"]["batch_size"] == 400
    assert {"jax", "flax", "optax", "python", "alexnet_jax"} <= record[
        "versions"
    ].keys()
    rows = read_rows(tmp_path / "metrics.jsonl")
    keys = ["step", "epoch", "train/loss", "train/top1", "images_per_s", "time_s"]
    keys.append("learning_rate")
    assert all(row.keys() >= set(keys) for row in rows)
    assert [row["epoch"] for row in rows] == [0.5, 1, 1.5, 2]
    assert rows[-1]["test/top1"] == result["test/top1"]
    assert rows[-1]["train/loss"] < rows[1]["train/loss"]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("test/top1")] == [4, 8]
    assert [event.step for event in board.Scalars("train/loss")] == [2, 4, 6, 8]
    assert {event.value for event in board.Scalars("learning_rate")} == {0.5}
    out = capsys.readouterr()
    for start in ("device    1 × cpu", "model     lenet5, 61,706 parameters, float32"):
        assert start in out.out
    assert "data      digits 1.0.0, 1,500 train and 297 test images" in out.out
    assert f"workdir   {tmp_path}" in out.out
    assert "epoch 2/2 | train loss " in out.out
    assert out.err == ""  # no bar where there is no terminal


@pytest.mark.heavy
def test_a_finished_run_is_left_as_it_is(config, tmp_path, capsys):
    result = train_and_evaluate(config, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert train_and_evaluate(config, tmp_path) == result
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert before == after
    out = capsys.readouterr().out
    assert f"finished  earlier, at step 8: test top-1 {result['test/top1']:.4f}" in out


@pytest.mark.heavy
def test_a_finished_run_whose_metrics_are_gone(config, tmp_path, capsys):
    config.num_epochs = 1
    result = train_and_evaluate(config, tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert train_and_evaluate(config, tmp_path) == result
    out = capsys.readouterr().out
    assert "metrics.jsonl lacks the rows of step 4; taken" in out
    with pytest.raises(InputError, match="its metrics.jsonl holds no result"):
        train._result(config, tmp_path, [])


@pytest.mark.heavy
def test_a_run_is_finished_when_its_last_checkpoint_is_written(
    config, tmp_path, monkeypatch, capsys
):
    def fail(self, step, *args):
        raise OSError("No space left")

    monkeypatch.setattr(Checkpoints, "_write", fail)
    config.num_train_steps = 1
    with pytest.raises(RunError, match="checkpoint: .*No space left"):
        train_and_evaluate(config, tmp_path)
    assert "step 1/8, in epoch 1/2 | " in (out := capsys.readouterr().out)
    assert "finished  " not in out


def test_input_that_cannot_be_used_leaves_no_checkpoints(config, tmp_path):
    config.data.name = "didgits"
    with pytest.raises(InputError, match="data.name must be one of"):
        train_and_evaluate(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_run_goes_on_with_other_metrics(config, tmp_path):
    config.num_train_steps = 4
    train_and_evaluate(config, tmp_path)
    config.num_train_steps, config.eval.metrics = 8, ("loss", "top1", "balanced")
    result = train_and_evaluate(config, tmp_path)
    assert "test/balanced" in result
    first, second = metrics_of(tmp_path, "test/top5", "test/balanced")
    assert first[1] is None and second[0] is None


@pytest.mark.slow
def test_rows_past_the_restored_step_are_dropped(config, tmp_path):
    train_and_evaluate(config, tmp_path)
    path = tmp_path / "metrics.jsonl"
    whole = metrics_of(tmp_path, "step", "train/loss", "test/loss")
    path.write_text(path.read_text() + '{"step": 9, "epoch": 2.25}\n{"step": 10, "ep')
    config.num_epochs = 3
    train_and_evaluate(config, tmp_path)
    rows = metrics_of(tmp_path, "step", "train/loss", "test/loss")
    assert rows[:2] == whole
    assert [row[0] for row in rows] == [4, 8, 12]


@pytest.mark.heavy
def test_another_configs_run_is_not_gone_on_with(config, tmp_path):
    config.num_epochs = 1
    train_and_evaluate(config, tmp_path)
    config.batch_size, config.optim.momentum = 300, 0.5
    with pytest.raises(InputError) as error:
        train_and_evaluate(config, tmp_path)
    assert "batch_size was 400, is 300; optim.momentum was 0.9, is 0.5" in str(
        error.value
    )
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="batch_size was 400, is 300"):
        train_and_evaluate(config, tmp_path)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "checkpoints" / "4" / "config.json").unlink()  # as of an old version
    with pytest.raises(InputError, match="no readable config.json"):
        train_and_evaluate(config, tmp_path)


@pytest.mark.slow
def test_what_only_lengthens_places_or_reports_may_change(config, tmp_path):
    config.num_epochs = 1
    train_and_evaluate(config, tmp_path)
    config.num_epochs, config.num_train_steps = 3, 6
    config.name = "renamed"
    config.parallel.data = 2
    config.eval.batch_size = 100
    config.checkpoint.keep = 1
    config.log.every_steps = 1
    assert train_and_evaluate(config, tmp_path)["step"] == 6


@pytest.mark.heavy
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.heavy)]
)
def test_a_signal_saves_and_stops(number, config, tmp_path, monkeypatch):
    config.num_epochs = 2
    train_and_evaluate(config, tmp_path / "whole")
    batch = Batches.batch

    def send(self, step, rows):
        if step == 5 and threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), number)
        return batch(self, step, rows)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "batch", send)
        with pytest.raises(Stopped) as stopped:
            train_and_evaluate(config, tmp_path / "stopped")
    assert (stopped.value.number, stopped.value.step) == (number, 6)
    assert signal.getsignal(number) is before
    assert saved(tmp_path / "stopped") == [4, 6]
    train_and_evaluate(config, tmp_path / "stopped")
    whole, parts = (checkpoint_of(tmp_path / name, 8) for name in ("whole", "stopped"))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.heavy)]
)
def test_a_signal_waits_for_the_last_checkpoint(number, config, tmp_path, monkeypatch):
    write = Checkpoints._write

    def send(self, step, *args):
        if step == 8:
            os.kill(os.getpid(), number)
        write(self, step, *args)

    monkeypatch.setattr(Checkpoints, "_write", send)
    assert train_and_evaluate(config, tmp_path)["step"] == 8
    assert saved(tmp_path) == [4, 8]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "devices", "asked"),
    [("gpu", 2, True), ("gpu", 1, False), ("cpu", 1, True)],
)
def test_deterministic_on_gpus(backend, devices, asked, config, tmp_path, monkeypatch):
    """Both steps get XLA's settings, on a GPU and where they are asked for."""
    seen, compile_it = [], jax.stages.Lowered.compile

    def compiled(self, compiler_options=None, **rest):
        seen.append(compiler_options)
        return compile_it(self, compiler_options, **rest)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiled)
    monkeypatch.setattr(loop.jax, "default_backend", lambda: backend)
    config.num_train_steps, config.parallel.data = 1, devices
    config.debug.deterministic = asked
    train_and_evaluate(config, tmp_path)
    assert seen == 2 * [loop._DETERMINISTIC if asked and backend == "gpu" else None]


@pytest.mark.slow
def test_the_optimizer_is_the_reader_of_lr(config, tmp_path):
    config.num_train_steps = 1
    config.optim.momentum = 0.0
    states = []
    for rate in (0.0, 0.5):
        config.optim.learning_rate = rate
        train_and_evaluate(config, tmp_path / str(rate))
        states.append(checkpoint_of(tmp_path / str(rate), 1)["params"])
    fresh, moved = states
    same = jax.tree.map(np.array_equal, fresh, moved)
    assert not any(jax.tree.leaves(same))


class TestBadInput:
    def check(self, config, workdir, message):
        with pytest.raises(InputError, match=message) as error:
            train_and_evaluate(config, workdir)
        assert "\n" not in str(error.value)

    @pytest.mark.usefixtures("eight_devices")
    def test_more_devices_than_there_are(self, config, tmp_path):
        config.parallel.data = 9
        message = "must be at most 8, the number of cpu .*; JAX_NUM_CPU_DEVICES=9 in"
        self.check(config, tmp_path, message)

    @pytest.mark.usefixtures("eight_devices")
    def test_a_batch_that_the_devices_cannot_share(self, config, tmp_path):
        config.parallel.data, config.batch_size = 4, 30
        self.check(config, tmp_path, "batch_size must be a multiple of the 4 devices")

    def test_a_batch_of_more_than_all_images(self, config, tmp_path):
        config.batch_size = 1501
        self.check(config, tmp_path, "batch_size must be at most 1500, the training")

    def test_too_few_classes(self, config, tmp_path):
        config.model.num_classes = 9
        message = "model.num_classes must be at least 10, the classes of digits; got 9"
        self.check(config, tmp_path, message)

    def test_too_small_an_image(self, config, tmp_path):
        config.data.image_size = 11
        self.check(config, tmp_path, "image_size 11 is too small for LeNet")

    def test_unknown_model_and_init(self, config, tmp_path):
        config.model.init = "zeros"
        self.check(config, tmp_path, "model.init must be one of .*got 'zeros'")
        config.model.name = "vgg"
        self.check(config, tmp_path, "model.name must be one of .*got 'vgg'")

    def test_unknown_scale_and_a_width_that_is_not_there(self, config, tmp_path):
        config.data.scale = "bytes"
        line = r"data.scale must be one of \('author', 'unit', .*got 'bytes'"
        self.check(config, tmp_path, line)
        config.model.width = 0.5
        line = "model.width must be 1 with lenet5, which has one width; got 0.5"
        self.check(config, tmp_path, line)

    def test_a_workdir_that_cannot_be_written(self, config, tmp_path):
        (tmp_path / "file").touch()
        message = "workdir: .*file/run cannot be written .*choose another --workdir"
        self.check(config, tmp_path / "file" / "run", message)


def test_what_is_not_read_is_noted(config, tmp_path, capsys):
    config.model.dropout_rate, config.optim.patience = 0.3, 2
    config.checkpoint.init_from = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="^checkpoint.init_from: "):
        train_and_evaluate(config, tmp_path / "run")
    out = capsys.readouterr().out
    assert "note      model.dropout_rate is not read: lenet5 has none\n" in out
    assert "note      optim.patience is not read: it is of optim.schedule 'pl" in out


def test_settings_that_the_data_do_not_read_are_noted(config, tmp_path, capsys):
    config.data.fit, config.data.on_broken, config.data.workers = "warp", "skip", 2
    config.num_train_steps, config.num_epochs = 1000, 1
    train_and_evaluate(config, tmp_path / "run")
    out = capsys.readouterr().out
    for key in ("fit", "on_broken", "workers"):
        line = f"note      data.{key} is not read: the images of digits are arrays of"
        assert out.count(line) == 1
    assert out.count("is not read") == 3
    line = "note      num_train_steps 1,000 is not reached: num_epochs 1 ends the run"
    assert line in out
    config.num_epochs = 2
    train_and_evaluate(config, tmp_path / "run")
    assert "is not read" not in capsys.readouterr().out  # of a run that goes on


class Recorder:
    """A config that notes the keys read from it."""

    def __init__(self, config, seen, prefix=""):
        self._config, self._seen, self._prefix = config, seen, prefix

    def __getattr__(self, key):
        value = getattr(self._config, key)
        if callable(value):  # a method, which no key is
            return value
        if hasattr(value, "items"):
            return Recorder(value, self._seen, f"{self._prefix}{key}.")
        self._seen.add(self._prefix + key)
        return value

    __getitem__ = __getattr__

    def to_dict(self):
        return self._config.to_dict()


@pytest.mark.heavy
def test_every_key_is_read(config, shapes_dir, tmp_path, monkeypatch):
    """A key that nothing reads is a lie; what `validate` reads does not count."""
    from alexnet_jax.config import flatten_config

    monkeypatch.setattr(train, "validate", lambda config: None)
    monkeypatch.setattr("alexnet_jax.data.DATA_SETS", {"shapes": read_folders})
    config.data.name, config.data.data_dir = "shapes", str(shapes_dir)
    config.data.stored_size = 67
    config.model.name = "alexnet_half"  # which has dropout
    config.data.image_size = 67
    config.model.width = 1 / 8
    config.batch_size = 32  # so that the step is an epoch, which a plateau looks at
    config.num_train_steps = 1
    config.optim.schedule = "plateau"
    seen = set()
    for config.optim.name in OPTIMIZERS:  # each reads keys of its own
        workdir = tmp_path / config.optim.name
        train_and_evaluate(Recorder(config, seen), workdir)
        config.checkpoint.init_from = str(workdir)  # of the next
    # The texts of a network of files: see run/test_cfg_runs.py.
    seen |= {"model.cfg_layers", "model.cfg_params"}
    assert set(flatten_config(config)) == seen


def read_folders(data_dir, config):
    """As ImageNet's loader does, of the shapes."""
    from alexnet_jax.data import shapes

    assert config.manual_dir is None
    return shapes.load(data_dir, config.on_broken)


@pytest.mark.heavy
def test_a_run_goes_on_with_the_statistics_that_it_began_with(config, tmp_path):
    config.num_train_steps = 1
    train_and_evaluate(config, tmp_path)
    kept = DataSpec.load(tmp_path)
    other = dataclasses.replace(kept.statistics, mean=kept.statistics.mean + 1)
    dataclasses.replace(kept, measure=lambda: other).save(tmp_path)
    train_and_evaluate(config, tmp_path)  # has ended: nothing is read
    config.num_train_steps = 2
    with pytest.raises(InputError, match=r"data.data_dir: .*digits.* measured again "):
        train_and_evaluate(config, tmp_path)
    kept.save(tmp_path)
    assert train_and_evaluate(config, tmp_path)["step"] == 2


def test_a_run_that_began_with_published_statistics(config, tmp_path):
    """Of data that are measured now: how to go on with what it began with."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    measured = DataSpec("zoo 1.0.0", ("cat",), (8, 8, 3), lambda: measure([images]))
    kept = dataclasses.replace(measured, measure=lambda: KRIZHEVSKY)
    kept.save(tmp_path)
    record = json.loads((tmp_path / "data.json").read_text())
    assert record["statistics"] == "published for ImageNet (Krizhevsky)"
    folder = RunFolder(tmp_path, config)
    prepared = tmp_path / "prepared"
    data = Data(None, None, measured, prepared)
    with pytest.raises(
        InputError,
        match=r"published for .* now measured .* copy .* to .*prepared/statistics.npz",
    ):
        folder.keep_spec(data, 1, ended=False)
    folder.keep_spec(dataclasses.replace(data, spec=kept), 1, ended=False)
    folder.keep_spec(data, 0, ended=False)  # a new run takes what is measured
    assert "statistics" not in json.loads((tmp_path / "data.json").read_text())
