"""Runs of a network of files: their texts go with the run."""

import json
import re

import jax
import numpy as np
import pytest

from alexnet_jax import train
from alexnet_jax.config import default_config, learning_rate
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.models import LeNet
from alexnet_jax.models.cuda_convnet import read_text
from alexnet_jax.models.cuda_convnet.updates import ArrayUpdate, LayerUpdates, Rate
from alexnet_jax.parallel import create_parallel
from alexnet_jax.run import layer_files
from alexnet_jax.train import train_and_evaluate
from tests.helpers import checkpoint_of, metrics_of


def read_cfg(name, params):
    layers = read_text(name.removeprefix("cfg:"), "model.name")
    return layers, read_text(params, "optim.params") if params else None


def create_configured(config):
    """LeNet, whose arrays all have the rate that the file's text is."""
    model = LeNet(lr=learning_rate(config.optim), initializer="he")
    layers = model.variable_shapes((1, 28, 28, 1))["params"]
    rate = Rate(float(config.model.cfg_params or 0), "dexp", 10.0, 2)
    arrays = {
        f"{layer}/{name}": ArrayUpdate(rate, 0.9, 5e-4 * (name == "kernel"))
        for layer, arrays in layers.items()
        for name in arrays
    }
    made = type("LeNet", (LeNet,), {"layer_updates": LayerUpdates(arrays)})
    return made(lr=model.lr, initializer="he")


@pytest.fixture
def cfg(config, tmp_path, monkeypatch):
    """The config of such a run."""
    monkeypatch.setattr(layer_files, "read_cfg", read_cfg)
    monkeypatch.setattr(train, "create_configured", create_configured)
    monkeypatch.setattr(
        train, "create_parallel", lambda *of: create_parallel(*of[:3], "lenet5")
    )
    layers, params = tmp_path / "layers.cfg", tmp_path / "params.cfg"
    layers.write_text("[conv1]\n")
    params.write_text("0.02\n")
    config.model.name, config.optim.params = f"cfg:{layers}", str(params)
    config.data.scale, config.num_epochs = "standard", 1
    config.optim.momentum, config.optim.learning_rate = 0.0, None
    return config


@pytest.mark.slow
def test_a_run_goes_on_without_the_files(cfg, tmp_path, capsys):
    layers, params = tmp_path / "layers.cfg", tmp_path / "params.cfg"
    cfg.num_train_steps = 2
    train_and_evaluate(cfg, tmp_path / "run")
    assert "\nrates     params.cfg: as written\n" in capsys.readouterr().out
    assert cfg.model.cfg_layers is None  # the caller's own
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert stored["model"]["cfg_layers"] == "[conv1]\n"
    assert stored["model"]["cfg_params"] == "0.02\n"
    cfg.num_train_steps = None
    loss = train_and_evaluate(cfg, tmp_path / "whole")["test/loss"]

    moved = layers.rename(tmp_path / "b.cfg"), params.rename(tmp_path / "q.cfg")
    cfg.model.name, cfg.optim.params = f"cfg:{moved[0]}", str(moved[1])
    assert train_and_evaluate(cfg, tmp_path / "run")["test/loss"] == loss
    for path in moved:
        path.unlink()
    config = default_config()
    config.update(cfg.to_dict())
    config.model.cfg_layers, config.model.cfg_params = "[conv1]\n", "0.02\n"
    assert train_and_evaluate(config, tmp_path / "run")["test/loss"] == loss
    # Each array has a rate of its own.
    assert {*metrics_of(tmp_path / "whole", "learning_rate")} == {(None,)}
    results = [checkpoint_of(tmp_path / name, 4) for name in ("run", "whole")]
    jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.slow
def test_the_same_command_after_the_files_are_gone(cfg, tmp_path, capsys):
    layers, params = tmp_path / "layers.cfg", tmp_path / "params.cfg"
    cfg.num_train_steps, workdir = 1, tmp_path / "run"
    train_and_evaluate(cfg, workdir)
    layers.unlink()
    params.write_text("0.01\n")
    cfg.num_train_steps = 2
    gone = f"model.name: cannot read '{layers}': No such file or directory"
    with pytest.raises(InputError, match=f"^{gone}$"):  # and the other has changed
        train_and_evaluate(cfg, workdir)
    params.unlink()
    (workdir / "config.json").write_text("")  # a checkpoint has it too
    assert train_and_evaluate(cfg, workdir)["step"] == 2
    out = capsys.readouterr().out
    assert f"warning   {gone}; the run's own copy is taken\n" in out
    with pytest.raises(InputError, match=f"^{gone}$"):
        train_and_evaluate(cfg, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.heavy
def test_changed_files_are_another_run(cfg, tmp_path, capsys, monkeypatch):
    cfg.num_train_steps, workdir = 1, tmp_path / "run"
    train_and_evaluate(cfg, workdir)
    layers, params = tmp_path / "layers.cfg", tmp_path / "params.cfg"
    params.write_text("0.01\n")
    said = f"run: the text of optim.params '{params}' has changed; choose another"
    with pytest.raises(InputError, match=said):
        train_and_evaluate(cfg, workdir)
    params.write_text("0.02\n")
    layers.write_text("[conv2]\n")
    with pytest.raises(InputError, match=f"the text of model.name 'cfg:{layers}' has"):
        train_and_evaluate(cfg, workdir)
    layers.write_text("[conv1]\n")
    capsys.readouterr()
    cfg.num_epochs = 2
    train_and_evaluate(cfg, workdir)
    assert "note" not in capsys.readouterr().out  # no rate has a schedule
    monkeypatch.setattr("alexnet_jax.run.kept._SCHEDULED", re.compile("02"))
    cfg.num_epochs = 3
    train_and_evaluate(cfg, workdir)
    said = "this step on the learning rates follow optim.params over the new length\n"
    assert f"num_epochs was 1, is 3: from {said}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_learning_rate_instead_of_the_files(cfg, tmp_path, capsys):
    cfg.num_train_steps, cfg.optim.learning_rate = 2, 0.04
    train_and_evaluate(cfg, tmp_path / "run")
    said = "0.04 for kernels, 0.08 for biases; momentum and decay of params.cfg"
    assert f"\nrates     {said}\n" in capsys.readouterr().out
    cfg.model.name, cfg.optim.params, cfg.optim.name = "lenet5", None, "sgd_2012"
    cfg.optim.momentum, cfg.optim.weight_decay = 0.9, 5e-4
    train_and_evaluate(cfg, tmp_path / "other")
    results = [checkpoint_of(tmp_path / name, 2)["params"] for name in ("run", "other")]
    jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.heavy
def test_rates_that_are_too_high(cfg, tmp_path):
    (tmp_path / "params.cfg").write_text("1e30\n")
    with pytest.raises(RunError, match=r"kept. Set .*, below the rates of optim.param"):
        train_and_evaluate(cfg, tmp_path / "run")


@pytest.mark.slow
def test_a_run_of_before_goes_on_where_the_rate_is_not_set(config, tmp_path):
    config.optim.learning_rate, config.num_train_steps = 0.01, 1
    train_and_evaluate(config, tmp_path)
    config.optim.learning_rate, config.num_train_steps = None, 2
    assert train_and_evaluate(config, tmp_path)["step"] == 2
    config.optim.learning_rate = 0.02
    said = "optim.learning_rate was 0.01, is 0.02"
    with pytest.raises(InputError, match=said):
        train_and_evaluate(config, tmp_path)
