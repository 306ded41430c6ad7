"""Checkpoints on bad days: damage, full disks, other models, two runs at once."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from alexnet_jax import models
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.reporting.text import checkpoints_text
from alexnet_jax.run.checkpoints import Checkpoints
from alexnet_jax.run.checksums import CHECKSUMS, find_fault, step_folders
from alexnet_jax.run.folder import workdir_lock
from alexnet_jax.run.rows import read_rows
from alexnet_jax.run.weights import load_weights
from alexnet_jax.train import train_and_evaluate
from tests.faults.damage import KINDS, empty_folder
from tests.helpers import checkpoint_of, metrics_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A place for runs that tests copy before they break them."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def run(config, trained, tmp_path):
    """A run of eight steps with checkpoints of the steps 4 and 8, to be broken."""
    if not (trained / "run").exists():
        train_and_evaluate(config, trained / "run")
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def go_on(config, workdir, steps=12):
    config.num_epochs = steps // 4
    train_and_evaluate(config, workdir)
    return checkpoint_of(workdir, steps)


def files_of_newest(workdir):
    newest = workdir / "checkpoints" / "8"
    return sorted(path for path in newest.rglob("*") if path.is_file())


class TestChecksums:
    @pytest.mark.heavy
    def test_a_checkpoint_is_intact_as_written(self, run):
        for folder in step_folders(run / "checkpoints").values():
            assert find_fault(folder) is None
            sums = json.loads((folder / CHECKSUMS).read_text())["sha256"]
            assert len(sums) >= 8 and CHECKSUMS not in sums

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_damage_to_every_file_is_found(self, run, kind):
        newest = run / "checkpoints" / "8"
        for path in files_of_newest(run):
            content = path.read_bytes()
            KINDS[kind](path)
            fault = find_fault(newest)
            assert fault is not None, path
            name = str(path.relative_to(newest))
            assert name in fault or path.name == CHECKSUMS, (name, fault)
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)
        assert find_fault(newest) is None

    def test_an_emptied_folder_is_found(self, run):
        empty_folder(run / "checkpoints" / "8")
        assert find_fault(run / "checkpoints" / "8") == "its folder is empty"


@pytest.mark.slow
def test_the_one_before_a_damaged_one_is_used(run, config, tmp_path, capsys):
    whole = go_on(config, tmp_path / "whole")
    KINDS["flipped bit"](max(files_of_newest(run), key=lambda p: p.stat().st_size))
    capsys.readouterr()
    parts = go_on(config, run)
    out = capsys.readouterr().out
    assert "warning   checkpoint of step 8: " in out and "resuming  at step 4" in out
    assert (run / "damaged" / "8").is_dir()
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    names = ("step", "train/loss", "test/loss")
    assert metrics_of(run, *names) == metrics_of(tmp_path / "whole", *names)


def test_none_intact_and_nothing_is_changed(run, config):
    for folder in step_folders(run / "checkpoints").values():
        KINDS["flipped bit"](folder / "default" / "manifest.ocdbt")
    before = sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*") if p.is_file())
    config.num_epochs = 3
    with pytest.raises(InputError, match="none in .* is intact .*nothing was changed"):
        train_and_evaluate(config, run)
    after = sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*") if p.is_file())
    assert before == after


@pytest.mark.slow
def test_what_a_killed_save_left_is_not_taken(run, config, tmp_path):
    whole = go_on(config, tmp_path / "whole")
    checkpoints = run / "checkpoints"
    shutil.copytree(checkpoints / "8", checkpoints / "9.orbax-checkpoint-tmp")
    parts = go_on(config, run)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    assert not (checkpoints / "9.orbax-checkpoint-tmp").exists()


def test_a_checkpoint_of_another_shape_names_the_arrays(run, config):
    record = json.loads((run / "config.json").read_text())
    config.num_epochs, config.model.num_classes = 3, 12
    record["config"]["model"]["num_classes"] = 12
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="of another model: ") as error:
        train_and_evaluate(config, run)
    assert "fc5/bias is (10,) in the checkpoint, (12,) in the model" in str(error.value)
    assert "\n" not in str(error.value)


class TestInitFrom:
    @pytest.mark.slow
    def test_a_run_starts_from_anothers_weights(self, run, config, tmp_path, capsys):
        config.checkpoint.init_from = str(run)
        config.optim.learning_rate, config.optim.momentum = 0.0, 0.0
        config.num_train_steps = 1
        train_and_evaluate(config, tmp_path / "new")
        old, new = (
            checkpoint_of(run, 8)["params"],
            checkpoint_of(tmp_path / "new", 1)["params"],
        )
        jax.tree.map(np.testing.assert_array_equal, old, new)
        assert f"weights   from {run}" in capsys.readouterr().out

    def test_one_checkpoint_can_be_named(self, run):
        first = load_weights(run / "checkpoints" / "4")["params"]
        jax.tree.map(
            np.testing.assert_array_equal, first, checkpoint_of(run, 4)["params"]
        )

    @pytest.mark.heavy
    def test_a_damaged_one_is_skipped(self, run, config, tmp_path, capsys):
        (run / "checkpoints" / "8" / CHECKSUMS).write_text("{")
        config.checkpoint.init_from = str(run)
        config.optim.learning_rate, config.optim.momentum = 0.0, 0.0
        config.num_train_steps = 1
        train_and_evaluate(config, tmp_path / "new")
        old, new = (
            checkpoint_of(run, 4)["params"],
            checkpoint_of(tmp_path / "new", 1)["params"],
        )
        jax.tree.map(np.testing.assert_array_equal, old, new)
        line = "warning   checkpoint of step 8: seal.json is damaged; skipped"
        assert line in capsys.readouterr().out

    def test_a_folder_that_holds_none(self, config, tmp_path):
        config.checkpoint.init_from = str(tmp_path / "nothing")
        with pytest.raises(
            InputError, match="checkpoint.init_from: .* holds no intact"
        ):
            train_and_evaluate(config, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("name", ["seed-0", "learning_rate-0.1,seed-0"])
    def test_a_folder_of_several_runs(self, config, tmp_path, name):
        (tmp_path / "old" / name / "checkpoints").mkdir(parents=True)
        config.checkpoint.init_from = str(tmp_path / "old")
        with pytest.raises(InputError, match=f"several runs, .* as .*/old/{name}"):
            train_and_evaluate(config, tmp_path / "new")

    @pytest.mark.slow
    def test_other_classes(self, run, config, tmp_path, capsys):
        """The last layer is drawn as a new run of this seed draws it."""
        config.checkpoint.init_from = str(run)
        config.model.num_classes, config.seed = 11, 5
        config.optim.learning_rate, config.num_train_steps = 0.0, 1
        train_and_evaluate(config, tmp_path / "new")
        out = capsys.readouterr().out
        config.checkpoint.init_from = None
        train_and_evaluate(config, tmp_path / "scratch")
        old, new, scratch = (
            checkpoint_of(*where)["params"]
            for where in (
                (run, 8),
                (tmp_path / "new", 1),
                (tmp_path / "scratch", 1),
            )
        )
        for layer in new:
            source = scratch if layer == "fc5" else old
            jax.tree.map(np.testing.assert_array_equal, new[layer], source[layer])
        assert "weights   taken: conv1, conv2, fc3, fc4\n" in out
        assert (
            "weights   drawn fresh: fc5 (bias (10,) there, (11,) here, "
            "kernel (84, 10) there, (84, 11) here)\n"
        ) in out

    @pytest.mark.slow
    def test_nothing_fits(self, run, config, tmp_path):
        config.checkpoint.init_from = str(run)
        config.model.name, config.model.width = "alexnet_half", 1 / 4
        config.data.image_size = 67
        with pytest.raises(
            InputError, match="init_from: no layer fits: conv1 "
        ) as error:
            train_and_evaluate(config, tmp_path / "new")
        assert "--config.model.name=lenet5" in str(error.value)
        assert "as that run did, or choose another" in str(error.value)
        assert "workdir" not in str(error.value)
        assert not (tmp_path / "new" / "data.json").exists()

    @pytest.mark.heavy
    def test_without_its_config_the_remedy_is_general(self, run, config, tmp_path):
        copy = shutil.copytree(
            run / "checkpoints" / "8", tmp_path / "checkpoints" / "8"
        )
        config.checkpoint.init_from = str(copy)
        config.model.name, config.model.width = "alexnet_half", 1 / 4
        config.data.image_size = 67
        with pytest.raises(InputError, match="no layer fits: .*; choose a run of the "):
            train_and_evaluate(config, tmp_path / "new")

    def test_no_such_layer(self, run, config, tmp_path):
        config.checkpoint.init_from = str(run)
        config.checkpoint.init_layers = ("conv*", "fc6")
        with pytest.raises(
            InputError, match="no layer is named 'fc6'; the nearest: fc"
        ):
            train_and_evaluate(config, tmp_path / "new")


class TestFailingWrites:
    @pytest.mark.heavy
    def test_a_full_disk(self, run, config, tmp_path, monkeypatch):
        whole = go_on(config, tmp_path / "whole")

        def save(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(ocp.Checkpointer, "save", save)
            with pytest.raises(RunError, match="No space left.*is of step 8") as error:
                train_and_evaluate(config, run)
        assert "\n" not in str(error.value)
        parts = go_on(config, run)
        jax.tree.map(np.testing.assert_array_equal, whole, parts)

    @pytest.mark.heavy
    @pytest.mark.parametrize("name", ["rename", "replace"])
    def test_no_right_to_rename(self, run, config, monkeypatch, name):
        def refuse(*args, **kwargs):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        config.num_epochs = 3
        monkeypatch.setattr(os, name, refuse)
        with pytest.raises(RunError, match="cannot be written .*not permitted"):
            train_and_evaluate(config, run)

    def test_saving_does_not_wait_for_the_disk(self, run, monkeypatch):
        """Until it is two checkpoints behind the one that it writes."""
        gate, write = threading.Event(), Checkpoints._write

        def slow(self, *args):
            gate.wait()
            write(self, *args)

        monkeypatch.setattr(Checkpoints, "_write", slow)
        state = {"params": {"kernel": np.zeros(3)}}
        with closing(Checkpoints(run / "others", keep=9)) as checkpoints:
            for step in (1, 2, 3):
                checkpoints.save(step, state, {})
            fourth = threading.Thread(target=checkpoints.save, args=(4, state, {}))
            fourth.start()
            fourth.join(0.3)
            assert fourth.is_alive()
            gate.set()
            fourth.join()
        assert list(step_folders(run / "others")) == [1, 2, 3, 4]


@pytest.mark.heavy
def test_a_second_run_in_one_folder_leaves(run, config):
    config.num_epochs = 3
    with (
        workdir_lock(run),
        pytest.raises(InputError, match="another run is writing to"),
    ):
        train_and_evaluate(config, run)
    train_and_evaluate(config, run)


@pytest.mark.slow
def test_a_clock_that_went_back(config, tmp_path, monkeypatch):
    now = time.time()
    config.num_epochs = 1
    train_and_evaluate(config, tmp_path)
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    config.num_epochs = 3
    train_and_evaluate(config, tmp_path)
    rows = metrics_of(tmp_path, "step", "time_s")
    assert [step for step, _ in rows] == [4, 8, 12]
    assert rows == sorted(rows)


@pytest.mark.slow
def test_lengthening_a_cosine_says_so(config, tmp_path, capsys):
    config.optim.schedule = "cosine"
    config.num_epochs = 1
    train_and_evaluate(config, tmp_path)
    assert "note" not in capsys.readouterr().out
    config.num_epochs = 2
    train_and_evaluate(config, tmp_path)
    out = capsys.readouterr().out
    assert "note      num_epochs was 1, is 2: from this step on" in out


class TestNotFinite:
    @pytest.fixture
    def run(self, config, tmp_path):
        """A good state, to go on from with settings whose first update overflows."""
        run = tmp_path / "run"
        config.optim.weight_decay = 1e-4
        train_and_evaluate(config, run)
        record = json.loads((run / "config.json").read_text())
        for settings in (record["config"]["optim"], config.optim):
            settings["learning_rate"], settings["weight_decay"] = 3e38, 1e3
        (run / "config.json").write_text(json.dumps(record))
        config.num_epochs = 4
        return run

    @pytest.mark.heavy
    def test_the_run_stops_and_keeps_what_was_good(self, run, config):
        config.checkpoint.every_steps = 1  # not even the spoilt state is saved
        with pytest.raises(RunError, match="optim.learning_rate .3e.38.") as error:
            train_and_evaluate(config, run)
        assert "loss: step 9 has a loss or an update that is not" in str(error.value)
        assert list(step_folders(run / "checkpoints")) == [4, 8]
        assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [4, 8]

    @pytest.mark.slow
    def test_the_spoilt_parameter_is_named(self, run, config):
        config.debug.nans = True
        with pytest.raises(RunError, match="step 9 .* wrong is the update of conv1/"):
            train_and_evaluate(config, run)

    @pytest.mark.slow
    def test_the_first_bad_layer_is_named(self, config, tmp_path, monkeypatch):
        class Broken(models.LeNet):
            def init(self, *args, **kwargs):
                variables = models.LeNet.init(self, *args, **kwargs)
                variables["params"]["conv2"]["kernel"] *= np.nan
                return variables

        monkeypatch.setitem(models.MODELS, "lenet5", Broken)
        config.debug.nans = True
        with pytest.raises(RunError, match="step 1 .* is the output of layer 4, conv2"):
            train_and_evaluate(config, tmp_path)
        config.debug.nans = False
        with pytest.raises(RunError, match="step 1 .*--config.debug.nans=True"):
            train_and_evaluate(config, tmp_path)
        assert not step_folders(tmp_path / "checkpoints")


class TestListing:
    def test_it_lists_steps_metrics_sizes_and_faults(self, run):
        (run / "checkpoints" / "8" / "metrics" / "metrics").unlink()
        header, first, second = list(checkpoints_text(run))
        assert header.split() == [
            "step",
            "epoch",
            "test",
            "top-1",
            "MB",
            "written",
            "in",
            "state",
        ]
        top1 = metrics_of(run, "test/top1")[0][0]
        assert first.split()[:3] == ["4", "1/2", f"{top1:.4f}"]
        assert first.endswith("intact")
        assert second.endswith("metrics/metrics is missing")

    @pytest.mark.e2e
    def test_the_command(self, run, tmp_path):
        def command(*arguments):
            return subprocess.run(
                [sys.executable, "-m", "alexnet_jax.checkpoint", *arguments],
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
            )

        good, bad, none = command(str(run)), command(str(tmp_path)), command()
        assert (
            good.stdout.splitlines() == list(checkpoints_text(run))
            and good.returncode == 0
        )
        assert bad.returncode == 1 and "holds no checkpoints" in bad.stderr
        assert none.returncode == 1 and none.stderr.startswith(
            "error: the following arg"
        )


def test_the_time_that_saving_took_is_logged(run):
    assert all(row["save_s"] >= 0 for row in read_rows(run / "metrics.jsonl"))
    rows = metrics_of(run, "save_s")
    assert rows[0] == (0.0,) and rows[1][0] > 0  # the first save is in the second row
