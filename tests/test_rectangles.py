"""Images that are higher than wide, or wider: a run, and all that reads it."""

import contextlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from alexnet_jax import evaluate, predict, report
from alexnet_jax.config import side_pair
from alexnet_jax.data import create_data
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.run.rows import read_rows
from alexnet_jax.run.weights import find_checkpoint, load_weights
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import TrainedModel, probabilities


def rows_of(workdir):
    """The records without what the clock says."""
    rows = read_rows(workdir / "metrics.jsonl")
    return [
        {
            name: value
            for name, value in row.items()
            if name.startswith(("train/", "test/")) or name in ("step", "epoch")
        }
        for row in rows
    ]


def weights(workdir):
    return jax.tree.leaves(load_weights(find_checkpoint(workdir)[0]))


def assert_same_weights(one, other):
    for ours, theirs in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def augmented(config):
    config.augment.crop, config.augment.mirror = "random", True
    config.augment.shared, config.log.every_steps = 3, 1
    config.num_train_steps = 4
    return config


@pytest.mark.slow
def test_a_square_is_its_side_bit_for_bit(augmented, tmp_path):
    """Also resumed in the other form."""
    config = augmented
    config.augment.canvas, config.num_train_steps = 32, 4
    train_and_evaluate(config, tmp_path / "side")
    config.data.image_size, config.augment.canvas = (28, 28), [32, 32]
    config.num_train_steps = 2
    train_and_evaluate(config, tmp_path / "mixed")
    config.data.image_size, config.augment.canvas = 28, (32, 32)
    config.num_train_steps = 4
    train_and_evaluate(config, tmp_path / "mixed")
    side, mixed = rows_of(tmp_path / "side"), rows_of(tmp_path / "mixed")
    assert [row.pop("step") for row in mixed] == [1, 2, 3, 4]
    # Where a run ends, a row is over the epoch so far.
    assert [mixed[i] for i in (0, 2, 3)] == [
        {name: side[i][name] for name in mixed[i]} for i in (0, 2, 3)
    ]
    assert_same_weights(tmp_path / "side", tmp_path / "mixed")
    config.data.image_size = (28, 29)
    with pytest.raises(InputError, match=r"data.image_size was \[?28.*, is \[28, 29\]"):
        train_and_evaluate(config, tmp_path / "mixed")


@pytest.mark.slow
def test_a_rectangle_from_training_to_the_report(augmented, tmp_path, capsys):
    config = augmented
    config.data.image_size, config.augment.canvas = (28, 40), (32, 45)
    config.data.scale, config.model.init = "pixels", "he"
    config.optim.learning_rate, config.eval.views = 1e-5, 10
    workdir = tmp_path / "whole"
    result = train_and_evaluate(config, workdir)
    assert "8×8×1 shown at 28×40 of 32×45, from " in capsys.readouterr().out
    stored = json.loads((workdir / "config.json").read_text())["config"]
    assert stored["data"]["image_size"] == [28, 40]

    config.num_train_steps = 2
    train_and_evaluate(config, tmp_path / "resumed")
    config.num_train_steps = 4
    train_and_evaluate(config, tmp_path / "resumed")
    assert_same_weights(workdir, tmp_path / "resumed")

    capsys.readouterr()
    evaluate.main([str(workdir), "--json"])
    measured = json.loads(capsys.readouterr().out)
    assert measured["views"] == 10
    assert measured["loss"] == pytest.approx(result["test/loss"], rel=1e-5)

    network = TrainedModel(workdir)
    assert network.input_shape == (1, 28, 40, 1)
    images = network.open_split("test").image[:4]
    np.testing.assert_allclose(
        network.predict(images).probabilities,
        ten_views(network, images, (28, 40), (32, 45)),
        rtol=1e-4,
    )
    features = network.features(images, "conv1")["conv1"]
    assert features.shape[1:3] in ((28, 40), (24, 36))

    Image.fromarray(images[0, ..., 0]).save(tmp_path / "digit.png")
    predict.main([str(workdir), str(tmp_path / "digit.png"), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    likeliest = found["predictions"][0]["probability"]
    expected = network.predict(images[:1]).probabilities.max()
    assert likeliest == pytest.approx(expected, rel=1e-5)

    report.main([str(workdir), "--examples=20", f"--output={tmp_path / 'page'}"])
    page = (tmp_path / "page" / "report.html").read_text()
    assert "input 28×40×1" in page and "No figures" not in page
    assert len([*(tmp_path / "page").glob("*.png")]) == 8


def ten_views(network, images, size, canvas):
    """The mean of the probabilities of ten views, cut by NumPy."""
    whole = jax.image.resize(
        images.astype(np.float32) / np.float32(255),
        (len(images), *canvas, images.shape[-1]),
        "bilinear",
    )
    mean = network.spec.statistics.mean_image.astype(np.float32)[None] / 255
    mean = jax.image.resize(jnp.float32(mean), (1, *canvas, mean.shape[-1]), "bilinear")
    whole, mean = np.asarray(whole), np.asarray(mean)
    down, across = canvas[0] - size[0], canvas[1] - size[1]

    def cut(image, row, column):
        return image[:, row : row + size[0], column : column + size[1]]

    center = cut(mean, down // 2, across // 2)
    found = []
    for row, column in (
        (0, 0),
        (0, across),
        (down // 2, across // 2),
        (down, 0),
        (down, across),
    ):
        part = cut(whole, row, column)
        for view in (part, part[:, :, ::-1]):
            variables = {"params": network.weights["params"]}
            logits = network.model.apply(variables, (view - center) * np.float32(255))
            found.append(probabilities(np.asarray(logits)))
    return np.mean(found, axis=0)


@pytest.mark.heavy
@pytest.mark.parametrize("canvas", [None, 28, [28, 28], [28, 32], [30, 28]])
def test_ten_views_of_a_run_with_and_without_a_canvas(trained, tmp_path, canvas):
    """Of a square in both forms; a canvas that is no larger is none."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((workdir / "config.json").read_text())
    record["config"]["data"]["image_size"] = [28, 28]
    record["config"]["augment"]["canvas"] = canvas
    (workdir / "config.json").write_text(json.dumps(record))
    network = TrainedModel(workdir, views=10)
    larger = canvas in ([28, 32], [30, 28])
    assert side_pair(network.config.augment.canvas) == (
        tuple(canvas) if larger else (32, 32)
    )
    if canvas is not None:
        return
    images = network.open_split("test").image[:3]
    np.testing.assert_array_equal(
        network.predict(images).probabilities,
        TrainedModel(trained, views=10).predict(images).probabilities,
    )


@pytest.mark.slow
def test_every_layout_of_devices_takes_rectangles(config, tmp_path):
    """One device, pmap on four, two towers, and two pairs of towers."""
    config.model.name, config.model.width = "alexnet_2012", 1 / 8
    config.model.init, config.model.dropout_rate = "torch", 0.0
    config.data.image_size, config.augment.canvas = (40, 56), (44, 57)
    config.augment.crop, config.augment.mirror = "random", True
    config.optim.learning_rate, config.data.scale = 0.01, "standard"
    results = []
    for number, layout in enumerate([(1, 1), (4, 1), (1, 2), (2, 2)]):
        config.parallel.data, config.parallel.model = layout
        config.num_train_steps = 3
        results.append(train_and_evaluate(config, tmp_path / str(number)))
    for result in results[1:]:
        assert result["test/loss"] == pytest.approx(results[0]["test/loss"], rel=1e-5)
    # And a checkpoint goes from one to another.
    shutil.copytree(tmp_path / "3", tmp_path / "moved")
    config.parallel.data, config.parallel.model = 1, 1
    config.num_train_steps = 4
    train_and_evaluate(config, tmp_path / "moved")


@pytest.mark.parametrize("size", [(8, 96), (96, 8), (11, 28)])
def test_what_is_too_narrow_is_named(config, tmp_path, size):
    config.data.image_size = size
    height, width = size
    expected = f"^image_size {height}×{width} is too small for LeNet5?: layer "
    with pytest.raises(InputError, match=expected):
        train_and_evaluate(config, tmp_path)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (48, 48)])
def test_a_disk_in_a_file_stays_round(size, config, tmp_path):
    """From photographs of 4:3 to what the network sees, with the size alone set."""
    down, across = np.ogrid[-150:150, -200:200]
    disk = np.where(down**2 + across**2 < 100**2, 255, 0).astype(np.uint8)
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / "zoo" / place).mkdir(parents=True)
        Image.fromarray(disk).save(tmp_path / "zoo" / place / "0.png")
    config.data.name, config.data.manual_dir = "image_folder", str(tmp_path / "zoo")
    config.data.data_dir, config.data.image_size = str(tmp_path / "data"), size
    with contextlib.closing(
        create_data(config.data, batch_size=2, eval_batch_size=2, seed=0)
    ) as data:
        pipeline = create_pipeline("unit", data.train.statistics, size)
        seen = np.asarray(pipeline(jnp.asarray(data.train.batch(0)["image"])))
    assert seen.shape == (2, *size, 3)
    inside = seen[0, :, :, 0] > 0.5
    height, width = inside.any(1).sum(), inside.any(0).sum()
    assert abs(height - width) <= 1 and height > 25
