"""A run that is made of published weights, and how its network sees images."""

import re

import jax
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.config import differences
from alexnet_jax.convert import main
from alexnet_jax.models import create_model
from alexnet_jax.predict import main as predict
from alexnet_jax.trained import TrainedModel
from tests.helpers import EXPERIMENTS
from tests.weights import writers
from tests.weights.published import (
    WIDTH,
    caffe_layers,
    npy_layers,
    params_of,
    torch_arrays,
    write_torch,
)

_OF_WEIGHTS = ("model.num_classes", "model.width")


def converted(tmp_path, *flags):
    main([str(tmp_path / "w"), f"--to={tmp_path / 'run'}", *flags])
    return TrainedModel(tmp_path / "run")


def logits(network, params, image):
    model = create_model(network, num_classes=7, width=WIDTH, training=False)
    return np.asarray(model.apply({"params": params}, image))


@pytest.mark.slow
def test_torchvisions_run(tmp_path, capsys):
    params = write_torch(tmp_path / "w")
    net = converted(tmp_path)
    assert f"workdir   {tmp_path / 'run'}" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, net.weights["params"], params)
    recipe = EXPERIMENTS["imagenet"].get_config("torchvision")
    assert {key for key, *_ in differences(recipe, net.config)} == {*_OF_WEIGHTS}
    # Resize 256, center 224, mean and deviation: torchvision's, in NumPy.
    image = np.random.default_rng(1).integers(0, 256, (1, 256, 256, 3), np.uint8)
    seen = image[:, 16:240, 16:240] / np.float32(255)
    mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    seen = (seen - np.float32(mean)) / np.float32(deviation)
    wanted = jax.nn.softmax(logits("alexnet_torchvision", params, seen))
    np.testing.assert_allclose(net.predict(image).probabilities, wanted, rtol=1e-4)


@pytest.mark.heavy
@pytest.mark.parametrize("form", [None, "binaryproto", "npy"])
def test_caffes_run(form, tmp_path):
    params = params_of("caffenet", np.float16)  # small enough for 0 to 255
    layers = caffe_layers(params, "caffenet")
    writers.save_caffe(tmp_path / "w", layers, is_v1=True, is_old=True)
    flags = []
    draw = np.random.default_rng(1)
    mean = np.float32([104.00698793, 116.66876762, 122.67891434])[:, None, None]
    if form:
        mean = draw.uniform(80, 140, (3, 256, 256)).astype(np.float32)
        if form == "npy":
            np.save(tmp_path / "mean", mean)
            (tmp_path / "mean.npy").rename(tmp_path / "mean")
        else:
            writers.save_mean(tmp_path / "mean", mean)
        flags = [f"--mean={tmp_path / 'mean'}"]
    net = converted(tmp_path, *flags)
    image = draw.integers(0, 256, (1, 256, 256, 3), np.uint8)
    # As Caffe has it: blue first, less the mean image, the central 227 pixels; and
    # conv1 as the file has it.
    bgr = image[..., ::-1].astype(np.float32) - mean.transpose(1, 2, 0)
    published = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    published["conv1"]["kernel"] = published["conv1"]["kernel"][:, :, ::-1]
    wanted = logits("caffenet", published, bgr[:, 14:241, 14:241])
    got = logits("caffenet", net.weights["params"], net._preprocess(image))
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert (net.config.data.fit, net.config.data.image_size) == ("warp", 227)


def test_the_run_of_caffe_is_its_recipe_but_for_the_order_of_colors(tmp_path):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("alexnet_caffe")))
    net = converted(tmp_path)
    recipe = EXPERIMENTS["imagenet"].get_config("caffe")
    changed = {key: new for key, _, new in differences(recipe, net.config)}
    assert changed.pop("data.scale") == "pixels"
    assert {*changed} == {*_OF_WEIGHTS}


@pytest.mark.heavy
def test_names_of_a_thousand_classes(tmp_path, capsys):
    params = params_of("alexnet_torchvision", num_classes=1000)
    writers.save_safetensors(tmp_path / "w", torch_arrays(params))
    net = converted(tmp_path)
    assert net.spec.class_names[:2] == ("n01440764", "n01443537")
    assert len(net.spec.class_names) == 1000
    # What people see has names.
    path = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(path)
    for flags in ([], ["--json"], ["--csv"]):
        capsys.readouterr()
        predict([str(tmp_path / "run"), str(path), *flags])
        assert re.search(r"[a-z ]+ \(n\d{8}\)", capsys.readouterr().out)


@pytest.mark.heavy
def test_a_folder_with_a_run_in_it_is_left_alone(tmp_path, error_line, capsys):
    write_torch(tmp_path / "w")
    converted(tmp_path)
    capsys.readouterr()
    before = (tmp_path / "run" / "config.json").read_bytes()
    line = error_line(main, tmp_path / "w", f"--to={tmp_path / 'run'}")
    assert "holds a run already" in line
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_mean_image_that_is_none(tmp_path, error_line):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("alexnet_caffe")))
    flags = [tmp_path / "w", f"--to={tmp_path / 'run'}", f"--mean={tmp_path / 'mean'}"]
    assert "No such file" in error_line(main, *flags)
    for content in (b"", b"hello", b"\x93NUMPY\x01\x00"):
        (tmp_path / "mean").write_bytes(content)
        assert "--mean" in error_line(main, *flags)
    for array in (np.zeros((3, 9, 9)), np.full((3, 256, 256), np.nan)):
        np.save(tmp_path / "mean.npy", array)
        (tmp_path / "mean.npy").rename(tmp_path / "mean")
        assert "(3, 256, 256)" in error_line(main, *flags)
    write_torch(tmp_path / "w")
    assert "leave it out" in error_line(main, *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "array, words",
    [
        (np.full((3, 256, 256), 0.45), "0 to 255"),
        (np.full((3, 256, 256), 300.0), "0 to 255"),
        (np.full((3, 256, 256), -100.0), "0 to 255"),
        (np.zeros((3, 256, 256)), "0 to 255"),
        (np.full((256, 256, 3), 100.0), "colors first"),
        (np.full((3, 227, 227), 100.0), "(3, 227, 227)"),
        (np.array([104.0, 117.0, 123.0]), "(3,)"),
        (np.full((3, 256, 256), 100, np.uint8), "uint8"),
        (np.array({"a": 1}), "no mean image"),
    ],
)
def test_a_mean_image_is_of_gray_levels(array, words, tmp_path, error_line):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("alexnet_caffe")))
    np.save(tmp_path / "mean.npy", array)
    flags = ["--check", tmp_path / "w", f"--mean={tmp_path / 'mean.npy'}"]
    line = error_line(main, *flags)
    assert "--mean: " in line and words in line and "reshape" not in line


def test_other_classes_or_another_width_are_said_to_be_assumed(tmp_path, capsys):
    write_torch(tmp_path / "w")
    main(["--check", str(tmp_path / "w")])
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not say what images" in line and "ImageNet's are assumed" in line
