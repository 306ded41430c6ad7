"""Networks of layer files: trained, split over devices, opened without their files."""

import os

import numpy as np
import pytest
from PIL import Image

import alexnet_jax as aj
from alexnet_jax import convert, export
from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_model
from alexnet_jax.train import train_and_evaluate
from tests.helpers import checkpoint_of, compare, metrics_of
from tests.layer_files import (
    LOCAL,
    LOCAL_PARAMS,
    TOWERS,
    TOWERS_PARAMS,
    write_files,
)
from tests.tfds_copies import write_copy

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


@pytest.fixture
def towers(config, tmp_path):
    """A config of a network of two towers."""
    name, params = write_files(tmp_path, "towers", TOWERS, TOWERS_PARAMS)
    config.model.name, config.optim.params = name, params
    config.optim.learning_rate, config.optim.momentum = None, 0.0
    config.num_epochs = 1
    return config


def remove_files(config):
    for path in (config.model.name.removeprefix("cfg:"), config.optim.params):
        os.unlink(path)


@pytest.mark.slow
def test_stopped_and_resumed_on_two_devices(towers, tmp_path):
    whole = train_and_evaluate(towers, tmp_path / "whole")
    towers.num_train_steps = 2
    train_and_evaluate(towers, tmp_path / "run")
    remove_files(towers)
    towers.num_train_steps, towers.parallel.model = None, 2
    resumed = train_and_evaluate(towers, tmp_path / "run")
    assert resumed["test/loss"] == pytest.approx(whole["test/loss"], rel=1e-4)
    compare(*(checkpoint_of(tmp_path / name, 4) for name in ("whole", "run")), 1e-4)


@pytest.mark.slow
def test_a_run_is_opened_and_exported_without_the_files(towers, tmp_path, capsys):
    towers.num_train_steps, workdir = 1, tmp_path / "run"
    train_and_evaluate(towers, workdir)
    remove_files(towers)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    wanted = aj.load(workdir).logits(images)

    export.main([str(workdir), "--format=safetensors", f"--to={tmp_path / 'own'}"])
    out = capsys.readouterr().out
    assert "names folders: model.name, data.data_dir, optim.params\n" in out
    card = (tmp_path / "own" / "README.md").read_text()
    assert "# cfg:layers-towers.cfg, tiny\n" in card and str(tmp_path) not in card
    back = tmp_path / "back"
    convert.main([str(tmp_path / "own" / "model.safetensors"), f"--to={back}"])
    np.testing.assert_array_equal(aj.load(back).logits(images), wanted)


@pytest.mark.slow
def test_an_onnx_file_becomes_the_run_again(towers, tmp_path):
    pytest.importorskip("onnx")
    towers.num_train_steps, workdir = 1, tmp_path / "run"
    train_and_evaluate(towers, workdir)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    wanted = aj.load(workdir).logits(images)
    export.main([str(workdir), "--format=onnx", f"--to={tmp_path / 'onnx'}"])
    remove_files(towers)
    back = tmp_path / "back"
    convert.main([str(tmp_path / "onnx" / "model.onnx"), f"--to={back}"])
    np.testing.assert_array_equal(aj.load(back).logits(images), wanted)


def write_images(folder):
    """Ten classes of eight noisy patterns, 32×32."""
    draw = np.random.default_rng(0)
    for label in range(10):
        (folder / f"class{label}").mkdir(parents=True)
        pattern = draw.integers(0, 200, (8, 8, 3)).repeat(4, 0).repeat(4, 1)
        for number in range(8):
            image = np.uint8(pattern + draw.integers(0, 56, pattern.shape))
            Image.fromarray(image).save(folder / f"class{label}" / f"{number}.png")


def local_config(tmp_path):
    config = default_config()
    name, params = write_files(tmp_path, "local", LOCAL, LOCAL_PARAMS)
    config.model.name, config.optim.params = name, params
    config.data.image_size, config.data.data_dir = 32, str(tmp_path / "data")
    config.batch_size, config.parallel.data, config.log.every_steps = 16, 1, 4
    config.log.tensorboard = False
    return config


@pytest.mark.slow
def test_a_local_network_learns_a_folder_of_32_by_32(tmp_path):
    write_images(tmp_path / "images")
    config = local_config(tmp_path)
    config.data.name, config.data.manual_dir = "image_folder", str(tmp_path / "images")
    config.data.val_share, config.data.stored_size = 0.25, 32
    config.num_epochs = 10
    train_and_evaluate(config, tmp_path / "run")
    losses = [loss for (loss,) in metrics_of(tmp_path / "run", "train/loss")]
    assert losses[-1] < 0.5 * losses[0]

    config.data.image_size, config.augment.canvas = 24, 32
    config.augment.crop, config.augment.mirror, config.eval.views = "random", True, 10
    config.num_train_steps = 2
    assert train_and_evaluate(config, tmp_path / "crops")["step"] == 2


@pytest.mark.slow
def test_cifar10_as_tfds_prepares_it(tmp_path):
    shape, splits = (32, 32, 3), {"train": 40, "test": 20}
    write_copy(tmp_path / "data", "cifar10", shape, splits, version="3.0.2")
    config = local_config(tmp_path)
    config.data.name, config.num_train_steps = "tfds/cifar10", 2
    config.augment.mirror = True
    assert train_and_evaluate(config, tmp_path / "run")["step"] == 2


def test_nothing_is_left_where_nothing_began(towers, tmp_path):
    _, towers.optim.params = write_files(
        tmp_path / "cut", "towers", "", TOWERS_PARAMS.replace("conv2a", "conv2b", 1)
    )
    with pytest.raises(InputError, match="conv2"):
        train_and_evaluate(towers, tmp_path / "run")
    text = TOWERS_PARAMS.partition("[fc9]")[0]
    _, towers.optim.params = write_files(tmp_path / "cut", "towers", "", text)
    with pytest.raises(InputError, match=r"must have a section \[fc9\], for that"):
        train_and_evaluate(towers, tmp_path / "run")
    towers.optim.params, towers.model.name = None, "cfg:nothing.cfg"
    with pytest.raises(InputError, match="^model.name: cannot read 'nothing.cfg': No"):
        train_and_evaluate(towers, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_text_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # a read would wait for ever
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_bytes(b"#" * 1_000_001)
    with pytest.raises(InputError, match="^model.name: must name a file, such as"):
        create_model("cfg:")
    for name in ("pipe", "bytes", "long"):
        path = tmp_path / name
        said = f"^model.name: must be a text file in UTF-8 of at most .* got '{path}'$"
        with pytest.raises(InputError, match=said):
            create_model(f"cfg:{path}")
