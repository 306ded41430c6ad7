"""The folder of data that a run names is read, and never written to."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax import evaluate
from alexnet_jax.config import default_config
from alexnet_jax.data import create_data
from alexnet_jax.trained import TrainedModel


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def load(own, foreign, name="digits"):
    data = default_config().data
    data.name, data.data_dir, data.stored_size = name, str(own), 16
    return create_data(
        data, batch_size=8, eval_batch_size=8, seed=0, read_from=str(foreign)
    )


@pytest.fixture
def foreign(data_dir, tmp_path):
    """Prepared digits without decoded copies."""
    kept = shutil.ignore_patterns("*-decoded.npz")
    return shutil.copytree(data_dir, tmp_path / "foreign", ignore=kept)


def test_what_is_there_is_read_and_no_copy_kept(foreign, tmp_path, capsys):
    before = listing(foreign)
    data = load(tmp_path / "own", foreign)
    assert data.folder == foreign / "digits" / "1.0.0"
    assert listing(foreign) == before and not (tmp_path / "own").exists()
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "dataset_info.json", "digits-train"]
)
def test_what_it_lacks_is_prepared_elsewhere(damage, foreign, tmp_path, capsys):
    if damage == "missing":
        shutil.rmtree(foreign)
    elif damage == "empty":
        shutil.rmtree(foreign / "digits")
    else:
        (path,) = (foreign / "digits" / "1.0.0").glob(f"{damage}*")
        path.write_text("damaged")
    before = listing(foreign) if foreign.exists() else None
    data = load(tmp_path / "own", foreign)
    assert data.folder == tmp_path / "own" / "digits" / "1.0.0"
    assert len(data.train.label) == 1500
    assert (listing(foreign) if foreign.exists() else None) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note      digits is taken from {tmp_path / 'own'}: ")
    assert f"{foreign}, which the run names, is only read" in line


def test_shapes_are_neither_drawn_nor_measured_there(shapes_dir, tmp_path):
    foreign = tmp_path / "foreign"
    ignored = shutil.ignore_patterns("*statistics.npz")
    shutil.copytree(shapes_dir, foreign, ignore=ignored)
    before = listing(foreign)
    data = load(tmp_path / "own", foreign, "shapes")
    assert np.isfinite(data.spec.statistics.mean).all()
    data.close()
    assert listing(foreign) == before
    shutil.rmtree(foreign)
    foreign.mkdir()
    data = load(shapes_dir, foreign, "shapes")
    data.close()
    assert shapes_dir in data.folder.parents and not list(foreign.iterdir())


@pytest.fixture
def run(trained, tmp_path):
    """A run whose config names a folder of data that was never there."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    path = workdir / "config.json"
    config = json.loads(path.read_text())
    config["config"]["data"]["data_dir"] = str(tmp_path / "theirs")
    path.write_text(json.dumps(config))
    return workdir


@pytest.mark.heavy
def test_evaluate(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "mine"))
    evaluate.main([str(run)])
    captured = capsys.readouterr()
    assert f"taken from {tmp_path / 'mine'}" in captured.err
    assert not (tmp_path / "theirs").exists()
    evaluate.main([str(run), f"--data-dir={tmp_path / 'flag'}"])
    assert (tmp_path / "flag" / "digits").exists()
    assert "taken from" not in capsys.readouterr().err
    assert not (tmp_path / "theirs").exists()


def test_opened_in_python(run, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    model = TrainedModel(run)
    assert model.evaluate()["examples"] == 297
    assert model.open_split("train").num_examples == 1500
    assert not Path(tmp_path / "theirs").exists()
