"""A folder of imported weights is a run like any other."""

import json
import shutil

import jax
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.convert import main as convert
from alexnet_jax.data import digits, imagenet
from alexnet_jax.data.preparation.sources import Files, ImageFile
from alexnet_jax.errors import InputError
from alexnet_jax.evaluate import main as evaluate
from alexnet_jax.report import main as report
from alexnet_jax.reporting.text import checkpoints_text
from alexnet_jax.run.imported import (
    _state,
    imported_statistics,
    new_run,
    read_imported,
)
from alexnet_jax.run.place import IMPORTED_FILE
from alexnet_jax.run.read import read_config, read_run
from alexnet_jax.run.rows import read_rows
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import TrainedModel
from tests.helpers import checkpoint_of
from tests.pictures import picture
from tests.weights import writers
from tests.weights.published import npy_layers, params_of, torch_arrays

CLASSES = imagenet.class_names()
_SMALL = {"eval.batch_size": 4, "data.image_size": 67}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Torchvision's weights at a sixteenth of the width, of ImageNet's classes."""
    folder = tmp_path_factory.mktemp("imported")
    params = params_of("alexnet_torchvision", num_classes=1000)
    writers.save_safetensors(folder / "alexnet.bin", torch_arrays(params))
    convert([str(folder / "alexnet.bin"), f"--to={folder / 'run'}"])
    return folder / "run"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """ImageNet at 256 pixels, of six training images and four others."""
    folder = tmp_path_factory.mktemp("imagenet")
    splits = {}
    for split, count in (("train", 6), ("validation", 4)):
        files = []
        for index in range(count):
            path = folder / f"{split}_{index}.JPEG"
            path.write_bytes(picture(index, (260, 300)))
            label, size = CLASSES[index], path.stat().st_size
            files.append(ImageFile(path.name, label, str(path), 0, size))
        splits[split] = Files.in_order(split, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "list_tars", lambda _: splits)
        imagenet.load_256(folder / "prepared", None, "fail")
    return folder / "prepared"


def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def continued(folder, data_dir, **recipe):
    """The config of the run that goes on, on few images; `recipe` is in its folder."""
    record = json.loads((folder / "config.json").read_text())
    for key, value in {"batch_size": 6, **_SMALL, **recipe}.items():
        group, _, name = key.rpartition(".")
        (record["config"][group] if group else record["config"])[name] = value
    (folder / "config.json").write_text(json.dumps(record))
    config = read_config(folder)
    config.data.data_dir = str(data_dir)
    config.log.tensorboard = False
    config.num_epochs = config.parallel.data = 1
    return config


def page_of(*flags):
    report([str(flag) for flag in flags])


@pytest.mark.heavy
def test_where_the_weights_come_from_is_kept(run):
    found = read_imported(run)
    assert (found.source, found.form) == ("alexnet.bin", "safetensors")
    assert found.bytes == (run.parent / "alexnet.bin").stat().st_size
    assert len(found.sha256) == 64
    name, changes = found.arrays["fc6/kernel"]
    assert name == "classifier.1.weight" and "C,H,W to H,W,C" in changes


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"arrays": 3}', "\x00"])
def test_a_record_that_cannot_be_read_is_none(content, tmp_path):
    (tmp_path / IMPORTED_FILE).write_text(content)
    assert read_imported(tmp_path) is None


def test_the_report_says_what_there_is(run, tmp_path):
    folder = copied(run, tmp_path)
    page_of(folder)
    page = (folder / "report.html").read_text()
    assert "Imported weights" in page and read_imported(run).sha256 in page
    assert "First-layer filters" in page and ">Layers</h2>" in page
    assert "No figures of its predictions" in page  # ImageNet is not at hand
    for absent in ("Final results", "Learning curves", "not finished"):
        assert absent not in page


@pytest.mark.heavy
def test_the_report_of_several_of_which_one_is_imported(run, tmp_path):
    rows = [{"step": 1, "epoch": 1.0, "train/loss": 1.0, "train/top1": 0.5,
             "test/loss": 1.0, "test/top1": 0.25}]  # fmt: skip
    trained = copied(run, tmp_path)
    (trained / IMPORTED_FILE).unlink()
    (trained / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n")
    page_of(run, trained, f"--output={tmp_path / 'page.html'}")
    page = (tmp_path / "page.html").read_text()
    assert "Final results" in page and "25.00" in page and "Imported weights" in page
    assert '<td role="cell" data-column="network">alexnet_torchvision</td>' in page
    assert "<dd>alexnet_torchvision <small>" in page and " parameters</small>" in page


def test_seeds_of_which_one_is_imported(run, tmp_path):
    shutil.copytree(run, tmp_path / "seed-0")
    shutil.copytree(run, tmp_path / "seed-1")
    row = {"step": 3, "epoch": 1.0, "train/loss": 1.0, "train/top1": 0.5}
    (tmp_path / "seed-1" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    found = read_run(tmp_path, "both")
    assert [len(rows) for rows in found.rows] == [0, 1]
    page_of(tmp_path, f"--output={tmp_path / 'page.html'}")
    assert "Imported weights" in (tmp_path / "page.html").read_text()


def test_a_folder_without_rows_or_imported_weights_is_no_run(run, tmp_path):
    folder = copied(run, tmp_path)
    (folder / IMPORTED_FILE).unlink()
    with pytest.raises(InputError, match="no metrics.jsonl with rows"):
        read_run(folder, "x")


@pytest.mark.slow
def test_the_same_command_goes_on_with_every_image(run, data_dir, tmp_path, capsys):
    folder = copied(run, tmp_path)
    config = continued(folder, data_dir, batch_size=2)
    result = train_and_evaluate(config, folder)
    assert "resuming  at step 0 of 3" in capsys.readouterr().out
    assert result["step"] == 3  # none was skipped
    (row,) = read_rows(folder / "metrics.jsonl")
    assert (row["step"], row["epoch"]) == (3, 1.0)
    net, before = TrainedModel(folder), TrainedModel(run)
    assert net.step == 3
    moved = jax.tree.map(np.array_equal, net.weights, before.weights)
    assert not any(jax.tree.leaves(moved))
    page_of(folder, f"--data-dir={data_dir}", f"--output={tmp_path / 'page.html'}")
    page = (tmp_path / "page.html").read_text()
    assert "Test top-1 accuracy" in page and "were trained since" in page


@pytest.mark.heavy
def test_it_begins_with_the_imported_weights(run, data_dir, tmp_path):
    folder = copied(run, tmp_path)
    config = continued(folder, data_dir, **{"optim.learning_rate": 1e-30})
    train_and_evaluate(config, folder)
    jax.tree.map(
        np.testing.assert_array_equal,
        TrainedModel(folder).weights,
        TrainedModel(run).weights,
    )


def test_another_configs_run_is_refused(run, data_dir, tmp_path):
    folder = copied(run, tmp_path)
    config = continued(folder, data_dir)
    config.data.scale = "standard"
    with pytest.raises(InputError, match=r"data\.scale was 'torchvision'"):
        train_and_evaluate(config, folder)


@pytest.mark.slow
def test_caffes_mean_image_is_trained_with(data_dir, tmp_path):
    params = params_of("alexnet_caffe", np.float16, num_classes=1000)
    writers.save_npy(tmp_path / "w", npy_layers(params))
    mean = np.random.default_rng(0).uniform(90, 130, (3, 256, 256)).astype("f4")
    writers.save_mean(tmp_path / "mean", mean)
    folder = tmp_path / "run"
    convert([str(tmp_path / "w"), f"--to={folder}", f"--mean={tmp_path / 'mean'}"])
    kept = TrainedModel(folder).spec
    config = continued(folder, data_dir, **{"data.image_size": 227})
    assert train_and_evaluate(config, folder)["step"] == 1
    assert TrainedModel(folder).spec.matches(kept)
    # The loss at test is that of the images less this mean, not less ImageNet's.
    found = TrainedModel(folder).evaluate("test", str(data_dir))
    (row,) = read_rows(folder / "metrics.jsonl")
    np.testing.assert_allclose(row["test/loss"], found["loss"], rtol=1e-3)
    assert imported_statistics(folder, kept) is not None
    (folder / IMPORTED_FILE).unlink()
    assert imported_statistics(folder, kept) is None


@pytest.mark.slow
def test_evaluation_names_the_classes(run, data_dir, capsys):
    evaluate([str(run), f"--data-dir={data_dir}", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["examples"], found["step"]) == (4, 0)
    assert found["classes"][0]["class"] == "tench (n01440764)"
    assert found["classes"][0]["examples"] == 1


@pytest.mark.slow
def test_other_runs_begin_with_its_weights(run, data_dir, tmp_path, capsys):
    config = default_config()
    stored = read_config(run)
    config.update_from_flattened_dict(
        {"model.name": "alexnet_torchvision", "model.num_classes": 1000,
         "model.width": stored.model.width, "data.name": "imagenet2012_256",
         "data.data_dir": str(data_dir), "data.stored_size": 256, "batch_size": 6,
         "num_epochs": 1, "log.tensorboard": False, "parallel.data": 1, **_SMALL,
         "checkpoint.init_from": str(run)}
    )  # fmt: skip
    assert train_and_evaluate(config, tmp_path / "own")["step"] == 1
    assert f"weights   from {run}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_in_a_hurry")
def test_gray_images_of_other_classes_fine_tune_it(run, config, tmp_path, capsys):
    digits.load(tmp_path / "data")
    config.update_from_flattened_dict(
        {"model.name": "alexnet_torchvision", "model.width": 0.0625, "batch_size": 8,
         "data.image_size": 67, "data.data_dir": str(tmp_path / "data"),
         "num_train_steps": 1, "checkpoint.init_from": str(run),
         "optim.freeze": "conv*", "optim.rates": {"fc8": 10.0}}
    )  # fmt: skip
    train_and_evaluate(config, tmp_path / "tuned")
    out = capsys.readouterr().out
    assert "\nweights   drawn fresh: fc8 (" in out and "\nrates     fc8 × 10\n" in out
    assert "\nfrozen    conv1, conv2, conv3, conv4, conv5: " in out
    theirs = checkpoint_of(run, 0)["params"]["conv1"]["kernel"]
    ours = checkpoint_of(tmp_path / "tuned", 1)["params"]["conv1"]["kernel"]
    np.testing.assert_allclose(ours, theirs.sum(axis=2, keepdims=True), rtol=1e-5)


@pytest.mark.heavy
def test_an_error_removes_what_was_written_alone(run, tmp_path):
    net = TrainedModel(run)
    folder = tmp_path / "run"
    folder.mkdir()

    def written():
        return new_run(folder, net.config, net.spec, **net.weights)

    with pytest.raises(KeyError), written():
        (folder / "notes.txt").write_text("saved meanwhile")
        with pytest.raises(InputError, match="^--to: another run is"), written():
            pass
        assert (folder / "checkpoints" / "0").is_dir()
        raise KeyError
    assert [*folder.iterdir()] == [folder / "notes.txt"]
    (folder / "config.json").write_text("{}")  # another program's
    with pytest.raises(InputError, match="^--to: .* is not a run's"), written():
        pass
    assert {one.name for one in folder.iterdir()} == {"notes.txt", "config.json"}
    text = json.dumps({"config": default_config().to_dict()})  # of a run that began
    (folder / "config.json").write_text(text)
    with pytest.raises(KeyError), written():
        raise KeyError
    assert (folder / "config.json").read_text() == text
    assert {one.name for one in folder.iterdir()} == {"notes.txt", "config.json"}


@pytest.mark.heavy
def test_an_import_without_its_weights_is_not_trained(run, data_dir, tmp_path):
    folder = copied(run, tmp_path)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(InputError, match="holds an import whose weights were not"):
        train_and_evaluate(continued(folder, data_dir), folder)


def test_the_list_of_its_checkpoints(run):
    _, line = checkpoints_text(run)
    assert line.split()[0] == "0" and line.endswith("intact")


def test_its_optimizer_begins_as_that_of_a_new_run(run):
    net = TrainedModel(run)
    config = net.config.copy_and_resolve_references()
    config.optim.schedule = "plateau"
    state = _state(config, net.spec, net.weights["params"])
    errors = [leaf for leaf in jax.tree.leaves(state.opt_state) if not np.ndim(leaf)]
    assert np.inf in errors  # the least error of no epoch
    rest = [leaf for leaf in jax.tree.leaves(state.opt_state) if np.ndim(leaf)]
    assert rest and not any(leaf.any() for leaf in rest)
    layers = {name: value["kernel"] for name, value in state.params.items()}
    for name, value in net.weights["params"].items():
        np.testing.assert_array_equal(layers[name], value["kernel"])


@pytest.mark.heavy
def test_images_that_are_divided_otherwise_are_refused(run, tmp_path):
    """Some of those that were trained on would be validated on."""
    for label in ("cat", "dog"):
        (tmp_path / "zoo" / label).mkdir(parents=True)
        for index in range(6):
            path = tmp_path / "zoo" / label / f"{index}.jpg"
            path.write_bytes(picture(10 * index + len(label), (90, 90)))
    folder = copied(run, tmp_path)
    config = continued(folder, tmp_path / "data", batch_size=4)
    config.data.name, config.data.manual_dir = "image_folder", str(tmp_path / "zoo")
    config.data.val_share, config.model.num_classes = 0.3, 1000
    config.checkpoint.every_epochs = 1
    other = tmp_path / "other"
    config.checkpoint.init_from = str(folder)
    train_and_evaluate(config, other)
    written = (other / "split.csv").read_bytes()
    for index in range(6, 9):
        (tmp_path / "zoo" / "cat" / f"{index}.jpg").write_bytes(
            picture(index, (90, 90))
        )
    config.num_epochs = 2
    with pytest.raises(InputError, match="^data"):
        train_and_evaluate(config, other)
    assert (other / "split.csv").read_bytes() == written
