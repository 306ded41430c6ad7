"""A run that version 0.1.0 began: it is resumed, evaluated, reported, predicted with.

`tests/data/run-0.1.0` was stopped after 7 of 15 steps; `expected.json` has what that
version made of it. It has two towers' parameters, BatchNorm's statistics, the velocity
and the plateau's state of `sgd_2012`, and gradients' norms in its records.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import evaluate, predict, report
from alexnet_jax.config import differences
from alexnet_jax.run.read import read_config
from alexnet_jax.run.rows import read_rows
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import load

SOURCE = Path(__file__).parents[1] / "data" / "run-0.1.0"
EXPECTED = json.loads((SOURCE / "expected.json").read_text())


@pytest.fixture
def workdir(tmp_path, data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    return shutil.copytree(SOURCE, tmp_path / "old")


@pytest.mark.heavy
def test_it_is_resumed_to_the_end_that_it_would_have_had(workdir):
    config = read_config(workdir)
    config.num_train_steps, config.parallel.data = None, 1
    train_and_evaluate(config, workdir)
    rows = read_rows(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    for name, value in EXPECTED["last_row"].items():
        assert rows[-1][name] == pytest.approx(value, rel=1e-4), name


def test_keys_that_came_later_are_what_it_did(workdir):
    stored = json.loads((workdir / "config.json").read_text())["config"]
    assert "resize" not in stored["data"]
    config = read_config(workdir)
    assert config.data.resize == "bicubic"
    assert not [*differences(stored, config)]
    config.data.resize = "opencv"
    assert [*differences(stored, config)] == [("data.resize", "bicubic", "opencv")]


@pytest.mark.slow
def test_it_is_evaluated(workdir, capsys):
    evaluate.main([str(workdir), "--json"])
    found = json.loads(capsys.readouterr().out)
    for name, value in EXPECTED["evaluate"].items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.heavy
def test_it_is_reported(workdir, capsys):
    report.main([str(workdir), "--examples=20"])
    assert "report.html" in capsys.readouterr().out
    text = (workdir / "report.html").read_text()
    assert "alexnet_2012" in text
    figures = ("Learning curves", "First-layer filters", "Confusion matrix")
    figures += ("Most confident errors", "Predictions", "Explanations", "Feature maps")
    for title in figures:
        assert f">{title}</h2>" in text, title


@pytest.mark.heavy
def test_it_predicts(workdir, capsys):
    image = load(workdir).open_split("test").image[0]
    Image.fromarray(image[..., 0]).save(workdir / "digit.png")
    predict.main([str(workdir), str(workdir / "digit.png"), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    model = load(workdir)
    probabilities = np.sort(model.predict(image[None]).probabilities[0])[::-1]
    likeliest = [one["probability"] for one in found["predictions"]]
    np.testing.assert_allclose(likeliest, probabilities[:5], rtol=1e-5)
