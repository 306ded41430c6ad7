"""Measuring a checkpoint, and how one that cannot be opened is answered."""

import json
import math
import os
import re
import shutil

import numpy as np
import pytest

from alexnet_jax.evaluate import main
from alexnet_jax.loop import Trainer
from alexnet_jax.models import create_configured
from alexnet_jax.parallel import create_parallel
from alexnet_jax.run.checksums import CHECKSUMS
from alexnet_jax.run.rows import read_rows
from alexnet_jax.trained import TrainedModel


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the tiny run, to be damaged."""
    return shutil.copytree(trained, tmp_path / "copy")


def newest(workdir):
    return max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))


def measured(capsys, *argv):
    main([str(word) for word in argv])
    return json.loads(capsys.readouterr().out)


def test_it_finds_what_the_run_had_found(trained, capsys):
    rows = [row for row in read_rows(trained / "metrics.jsonl") if "test/loss" in row]
    assert len(rows) == 2
    for row in rows:
        found = measured(capsys, trained / f"checkpoints/{row['step']}", "--json")
        assert found["step"] == row["step"] and found["examples"] == 297
        assert found["top1"] == pytest.approx(row["test/top1"])
        assert found["loss"] == pytest.approx(row["test/loss"], rel=1e-5)
    assert measured(capsys, trained, "--json") == found  # the newest


def test_classes_add_up(trained, capsys):
    found = measured(capsys, trained, "--split=train", "--json")
    assert found["examples"] == 1500
    classes = found["classes"]
    assert [one["class"] for one in classes] == [str(digit) for digit in range(10)]
    assert sum(one["examples"] for one in classes) == 1500
    right = sum(one["top1"] * one["examples"] for one in classes)
    assert right == pytest.approx(1500 * found["top1"])


def test_text(trained, capsys):
    main([str(trained)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "data        digits 1.0.0, test: 297 images, 1 view of each"
    assert re.fullmatch(r"ECE         \d+\.\d\d %, 15 equal bins", lines[5])
    assert lines[7] == "class  images  top-1, %  most often confused with (images)"
    assert len(lines) == 18


def test_a_damaged_checkpoint_is_skipped_with_a_warning(copy, capsys):
    next((newest(copy) / "default").rglob("*/d/*")).write_bytes(b"damaged")
    main([str(copy)])
    out, err = capsys.readouterr()
    assert f"{copy}, step 4" in out
    assert err.startswith("warning: checkpoint of step 8: ") and err.endswith(
        "; skipped\n"
    )
    assert "is damaged" in err


@pytest.fixture
def refused(error_line):
    def check(argv, line):
        assert line in error_line(main, *argv)

    return check


def test_no_checkpoint(trained, copy, tmp_path, refused):
    for folder in (tmp_path / "nothing", trained / "checkpoints"):
        refused([folder], "holds no intact checkpoint; give a run's workdir, or")
    for folder in (copy / "checkpoints").iterdir():
        (folder / CHECKSUMS).unlink()
    refused([copy], "holds no intact checkpoint (checkpoint of step 8: seal.json is")
    refused([newest(copy)], "holds no intact checkpoint (checkpoint of step 8: seal")


def change_config(workdir, **changes):
    path = workdir / "config.json"
    record = json.loads(path.read_text())
    for key, value in changes.items():
        record["config"][key] = value
    path.write_text(json.dumps(record))


def test_another_model(copy, refused):
    record = json.loads((copy / "config.json").read_text())["config"]
    change_config(copy, model=record["model"] | {"num_classes": 12})
    refused([copy], "another model: params/fc5/bias is (10,) in the checkpoint, (12,)")


def test_another_version(copy, refused):
    change_config(copy, unheard_of=3)
    refused([copy], "config.json is of another version of the program: ")
    (copy / "config.json").write_text("{")
    refused([copy], "has no readable config.json; give a run's workdir")


def test_a_key_that_the_run_did_not_know_has_its_default(copy, capsys):
    record = json.loads((copy / "config.json").read_text())
    del record["config"]["dtype"], record["config"]["debug"]
    (copy / "config.json").write_text(json.dumps(record))
    assert measured(capsys, copy, "--json")["step"] == 8


def test_inputs_that_are_gone(copy, refused):
    (copy / "statistics.npz").write_bytes(b"")
    refused([copy], "has no readable data.json and statistics.npz, which describe")
    (copy / "data.json").unlink()
    refused([copy], "run the training command again to write them")


@pytest.mark.parametrize("text", ["5", "[]", "null", "NaN", "[[", '{"config": 5}'])
def test_files_that_are_odd_json(text, copy, refused):
    (copy / "config.json").write_text(text)
    refused([copy], "has no readable config.json; give a run's workdir")


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("eval", "metrics", 5),
        ("eval", "metrics", [[]]),
        ("eval", "batch_size", 10**400),
        ("model", "name", []),
        ("model", "init", "\x1b[2J"),
        ("data", "name", {}),
        ("data", "data_dir", 5),
        ("data", "image_size", 10**9),
        ("optim", "momentum", None),
        ("parallel", "coordinator", 5),
    ],
)
def test_values_of_another_type(group, key, value, copy, refused):
    record = json.loads((copy / "config.json").read_text())["config"]
    change_config(copy, **{group: record[group] | {key: value}})
    refused([copy], "")


@pytest.mark.parametrize(
    "lengths", [[8, 8, math.inf], [-8, 8, 1], [0, 8, 1], [8.5, 8, 1], [10**9, 8, 1], 5]
)
def test_lengths_that_are_none(lengths, copy, refused):
    path = copy / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_shape": lengths}))
    refused([copy], "has no readable data.json and statistics.npz")


def test_a_name_that_would_move_the_cursor(copy, capsys):
    path = copy / "data.json"
    path.write_text(path.read_text().replace('"digits 1.0.0"', '"\\u001b[2J\\nfake"'))
    main([str(copy)])
    out = capsys.readouterr().out
    assert r"data        \u001b[2J\u000afake, test: 297 images" in out


@pytest.mark.parametrize("name", ["config.json", "data.json", "statistics.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_pipe_or_a_device_is_not_waited_for(name, kind, copy, refused):
    path = copy / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    refused([copy], "has no readable ")


def test_other_classes(copy, refused):
    path = copy / "data.json"
    path.write_text(path.read_text().replace('"9"', '"nine"'))
    refused([copy], "has other classes than digits 1.0.0, which the network was")


def test_weights_that_are_not_finite(copy, monkeypatch, refused):
    from alexnet_jax import trained as module

    def load(folder):
        weights = load_weights(folder)
        weights["params"]["fc5"]["bias"] = np.full(10, np.nan, np.float32)
        return weights

    load_weights = module.load_weights
    monkeypatch.setattr(module, "load_weights", load)
    refused([copy], "checkpoints/8: fc5/bias holds NaN or inf; take an earlier one")


def test_wrong_arguments(trained, refused):
    refused([trained, "--split=validation"], "argument --split: invalid choice")
    refused([], "the following arguments are required: RUN")


def test_a_metric_of_another_version(copy, refused):
    record = json.loads((copy / "config.json").read_text())["config"]
    metrics = {"metrics": ["loss", "top1", "f1"]}
    change_config(copy, eval=record["eval"] | metrics)
    refused([copy], "eval.metrics must name metrics of ")


@pytest.mark.heavy
def test_ten_views(trained, capsys):
    """As the loop's own evaluation, which has a canvas to crop from."""
    found = measured(capsys, trained, "--views=10", "--json")
    network = TrainedModel(trained)
    config = network.config
    config.augment.canvas, config.eval.views = 32, 10
    config.batch_size = 297
    test = network.open_split("test")
    parallel = create_parallel(1, 1, config.batch_size, config.model.name)
    loop = Trainer(config, create_configured(config), test, test, parallel)
    state = loop.draw().replace(params=network.weights["params"])
    row = loop.evaluate(state)
    assert found["views"] == 10
    for name in ("loss", "top1", "top5"):
        assert found[name] == pytest.approx(row[f"test/{name}"], rel=1e-5)
    assert found["loss"] != measured(capsys, trained, "--json")["loss"]
