"""Explanations of networks whose right explanation is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.errors import InputError
from alexnet_jax.explanation.classes import find_class
from alexnet_jax.explanation.gradients import find_layer, make_derivatives
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.cpu.switch import plain_forms
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.trained import load, probabilities
from tests.explanation.known import (
    FIRST,
    SECOND,
    SIDE,
    THIRD,
    WEIGHTS,
    Linear,
    Smooth,
    Watcher,
    Whole,
    drawn,
    picture,
    watcher,
)
from tests.exporting.runs import make_run
from tests.helpers import assert_close
from tests.models.table import KINDS


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield watcher(tmp_path_factory.mktemp("known"), patch)


def test_one_patch_is_found_by_all_three(net):
    found = net.explain(picture(FIRST), window=4, stride=4)
    counts = WEIGHTS[..., 0] > 0
    assert found.label == 0 and found.probability > 0.5 and found.notes == ()
    assert found.patch == (0, 8, 4, 4)
    np.testing.assert_array_equal(found.occlusion == found.occlusion.min(), counts)
    np.testing.assert_allclose(found.occlusion[~counts], found.probability, rtol=1e-6)
    # Covered, its place looks like nothing: the biases alone are left.
    left = np.exp([0.0, 0.0, 0.5])
    assert found.covered == pytest.approx(left[0] / left.sum(), rel=1e-6)
    # In logits per gray level: the weight is 1, of pixels divided by 255.
    np.testing.assert_allclose(found.gradient, counts / 255.0, rtol=1e-6)
    # The mean derivative, 16 of 144, times the map, 0.25 where it is bright.
    assert found.layer == "relu1"
    np.testing.assert_allclose(found.grad_cam, counts * 0.25 * 16 / 144, rtol=1e-5)


def test_both_patches_of_a_class_are_found(net):
    found = net.explain(picture(SECOND, THIRD), window=4, stride=4)
    assert found.label == 1 and found.patch == (8, 4, 4, 4)
    low = found.occlusion
    assert low[SECOND].max() < low[THIRD].min() <= low[THIRD].max()
    counts = WEIGHTS[..., 1] > 0
    assert low[THIRD].max() < low[~counts].min()
    np.testing.assert_allclose(found.gradient, WEIGHTS[..., 1] / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(found.grad_cam > 0, counts)
    # What speaks for the other class is not there.
    other = net.explain(picture(SECOND, THIRD), 0, window=4, stride=4)
    assert not other.gradient.any() and other.covered > other.probability - 1e-9


def test_without_settings_patches_overlap(net):
    found = net.explain(picture(FIRST))
    assert found.patch.height == found.patch.width == 2
    assert (found.occlusion == found.occlusion.min())[FIRST].sum() >= 1
    assert found.occlusion[WEIGHTS[..., 0] == 0].min() > found.occlusion[FIRST].max()


def test_an_unlikely_class_that_nothing_speaks_for(net):
    found = net.explain(picture(FIRST), 2, window=4, stride=4)
    assert found.probability < 0.5 and found.covered == pytest.approx(found.probability)
    assert not found.gradient.any() and not found.grad_cam.any()
    assert found.notes == (
        "no patch lowers the probability when it is covered",
        "the gradient is 0 at every pixel",
        "Grad-CAM is 0 everywhere: no map of relu1 speaks for the class",
    )


def test_an_image_in_which_it_sees_nothing_is_flat(net):
    found = net.explain(picture())
    assert found.label == 2 and found.patch is None
    assert np.ptp(found.occlusion) < 1e-6 and np.isfinite(found.occlusion).all()
    line = "the occlusion map is flat: whichever 2×2 patch is covered, the probability "
    assert found.notes[0] == f"{line}stays {100 * found.probability:.1f} %"
    assert len(found.notes) == 3


def test_maps_are_in_the_pixels_of_the_image(tmp_path, monkeypatch):
    """What is upsampled, and cropped from a canvas, comes back to its place."""
    changes = {"augment.canvas": 16, "data.image_size": SIDE}
    net = watcher(tmp_path, monkeypatch, **changes)
    found = net.explain(picture((slice(1, 5), slice(7, 11))), 0)
    assert found.view == (1.5, 1.5, 9, 9)
    for made in (found.gradient, found.grad_cam):
        assert made.shape == (SIDE, SIDE) and not made[0].any()
        assert not made[:, 0].any() and not made[-1].any() and not made[:, -1].any()
        # Rows and columns 8 to 12 of what it sees are 7.5 to 10.5 of the image.
        inner = made[1:5, 7:11]
        assert inner.sum() > 0.7 * made.sum()


def test_few_at_once_or_all_is_the_same(net, monkeypatch):
    all_at_once = net.explain(picture(FIRST, SECOND), 1)
    monkeypatch.setattr(net._explainer, "_batch_size", 7)
    few = net.explain(picture(FIRST, SECOND), 1)
    assert few.patch == all_at_once.patch
    np.testing.assert_allclose(few.occlusion, all_at_once.occlusion, rtol=1e-6)


@pytest.mark.heavy
def test_no_convolution_or_a_single_unit_leaves_grad_cam_out(tmp_path, monkeypatch):
    line = "there is no Grad-CAM: the network has no convolution whose maps are larger "
    for kind in (Linear, Whole, Smooth):
        net = drawn(tmp_path / kind.__name__, monkeypatch, kind)
        found = net.explain(picture(FIRST))
        assert found.grad_cam is None and found.layer is None
        assert found.notes == (f"{line}than 1×1",) and found.gradient.any()


def test_the_gradient_is_that_of_finite_differences(tmp_path, monkeypatch):
    net = drawn(tmp_path, monkeypatch, Smooth, **{"data.scale": "standard"})
    image = picture(FIRST)
    gradient = net.explain(image, 1).gradient
    raised = np.repeat(image[None] / np.float32(255), SIDE * SIDE, axis=0)
    step = 0.02 * np.eye(SIDE * SIDE, dtype=np.float32).reshape(-1, SIDE, SIDE, 1)
    forward = net._forward

    def logits(images):
        return np.asarray(forward(**net._variables, image=jnp.asarray(images)))[:, 1]

    slope = (logits(raised + step) - logits(raised - step)) / 0.04 / 255
    assert_close(gradient, np.abs(slope).reshape(SIDE, SIDE), 5e-3)


def test_grad_cam_is_that_of_numpy(tmp_path, monkeypatch):
    """With random weights; the same convolution, written out."""
    net = drawn(tmp_path, monkeypatch, Watcher)
    image = picture(FIRST, SECOND)
    params = net.weights["params"]
    maps = image / np.float32(255) * params["conv1"]["kernel"][0, 0, 0]
    maps = np.maximum(maps + params["conv1"]["bias"], 0)
    slopes = params["fc2"]["kernel"].reshape(SIDE, SIDE, 2, 3)
    # Of the class that the maps speak for most.
    label = int((maps @ slopes.mean(axis=(0, 1))).max(axis=(0, 1)).argmax())
    slope = slopes[..., label]
    wanted = np.maximum(maps @ slope.mean(axis=(0, 1)), 0)
    assert wanted.any()
    np.testing.assert_allclose(net.explain(image, label).grad_cam, wanted, atol=1e-6)
    slope = slope * (maps > 0)  # by what is before ReLU
    before = image / np.float32(255) * params["conv1"]["kernel"][0, 0, 0]
    wanted = (before + params["conv1"]["bias"]) @ slope.mean(axis=(0, 1))
    found = net.explain(image, label, layer="conv1")
    assert found.layer == "conv1"
    np.testing.assert_allclose(found.grad_cam, np.maximum(wanted, 0), atol=1e-6)


@pytest.mark.slow
def test_quick_forms_have_the_derivatives_of_xlas(tmp_path, compiled_in_a_hurry):
    make_run(tmp_path, "alexnet_paper", **{"data.image_size": 67})
    image = np.random.default_rng(0).integers(0, 256, (40, 44, 3), np.uint8)
    quick = load(tmp_path).explain(image, 3)
    with plain_forms():
        plain = load(tmp_path).explain(image, 3)
    assert quick.gradient.any() and quick.grad_cam.any()
    assert_close(quick.gradient, plain.gradient, 1e-4)
    assert_close(quick.grad_cam, plain.grad_cam, 1e-4)
    np.testing.assert_allclose(quick.occlusion, plain.occlusion, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("alexnet_paper", "relu5", (13, 13)),
        ("alexnet_2012", "relu5", (6, 6)),  # ReLU comes after the pool
        ("alexnet_2012_conv6", "relu6", (6, 6)),
        ("alexnet_torchvision", "relu5", (13, 13)),
        ("lenet5", "sigmoid2", (10, 10)),
    ],
)
def test_the_last_convolutions_nonlinearity_is_looked_at(name, layer, shape):
    rows = describe(
        create_model(name, num_classes=10, training=True),
        (1, *MODELS[name].reference.input_shape),
    )
    found = find_layer(rows)
    assert (found.name, found.shape[1:3]) == (layer, shape)


def test_a_convolution_of_one_cell_is_passed_over():
    """At 67 pixels the 2012 network's pooled maps are 1×1; conv5's are 3×3."""
    rows = describe(
        create_model("alexnet_2012", num_classes=10, training=True), (1, 67, 67, 3)
    )
    assert find_layer(rows).name == "conv5"
    rows = describe(
        create_model("alexnet_2012_conv6", num_classes=10, training=True),
        (1, 67, 67, 3),
    )
    assert find_layer(rows).name == "conv5"


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_networks_are_explained(name, tmp_path):
    shape = MODELS[name].reference.input_shape
    make_run(tmp_path, name, shape)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    net = load(tmp_path)
    found = net.explain(image)
    assert found.label == net.predict(image[None]).labels[0]
    for made in (found.occlusion, found.gradient, found.grad_cam):
        assert made.shape == shape[:2] and np.isfinite(made).all()
        # Random weights may be sure of their answer to the last digit.
        is_sure = made is found.occlusion and found.flat
        assert np.ptp(made) > 0 or (is_sure and found.probability == 1)


CHANGES = [
    {"parallel.model": 2, "parallel.data": 1},
    {"eval.views": 10, "augment.canvas": (75, 83), "data.image_size": (67, 73)},
    {"model.normalization": "batch", "dtype": "bfloat16", "data.scale": "caffe"},
    {"model.num_classes": 1000, "data.scale": "torchvision"},
    {"model.num_classes": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_runs_of_many_kinds(changes, tmp_path, compiled_in_a_hurry):
    make_run(tmp_path, "alexnet_paper", **{"data.image_size": 67, **changes})
    image = np.random.default_rng(0).integers(0, 256, (40, 44, 3), np.uint8)
    net = load(tmp_path)
    found = net.explain(image, window=20, stride=20)
    one_view = net if net.views == 1 else load(tmp_path, views=1)
    chances = probabilities(one_view.logits(image[None]))[0]
    assert found.label == chances.argmax()
    assert found.probability == pytest.approx(chances.max(), rel=0.02)
    assert found.gradient.shape == found.grad_cam.shape == (40, 44)
    assert found.gradient.any() and found.gradient.dtype == np.float32
    assert any("of the center view" in note for note in found.notes) == (net.views > 1)
    assert (found.patch is None) == (changes.get("model.num_classes") == 1)


@pytest.mark.heavy
def test_maps_are_float32_under_x64_too(net):
    layer = find_layer(describe(net.model, net.input_shape))
    derivatives = make_derivatives(net.model, net._preprocess, "float32", layer)
    inputs = {**net._variables, "image": picture(FIRST)[None], "label": np.int32(0)}
    with jax.enable_x64(True):
        found = derivatives(**inputs)
    assert found.saliency.dtype == found.grad_cam.dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"window": 0}, "window must be from 1 to 12, as the images are 12×12; got 0"),
        (
            {"window": 13},
            "window must be from 1 to 12, as the images are 12×12; got 13",
        ),
        ({"stride": 3}, "stride must be from 1 to 2, a window, so that every pixel is"),
        ({"window": 5, "stride": 6}, "stride must be from 1 to 5, a window, so that"),
        (
            {"layer": "rellu1"},
            "layer: no layer is named 'rellu1'; the nearest: .*relu1",
        ),
        ({"layer": "fc2"}, "layer must have maps; 'fc2' has none; .*: conv1, relu1"),
        ({"layer": "*1"}, r"layer must name one layer; '\*1' names conv1, relu1"),
        ({"window": 2.0}, "window must be a whole number; got 2.0"),
        ({"window": True}, "window must be a whole number; got True"),
        ({"stride": "2"}, "stride must be a whole number; got '2'"),
        ({"layer": 3}, "layer must be a name, such as 'conv1'; got 3"),
        ({"layer": ["conv1"]}, "layer must be a name, such as 'conv1'; got "),
        ({"label": 1.5}, "label must be a whole number; got 1.5"),
        ({"label": True}, "label must be a whole number; got True"),
        ({"label": np.True_}, "label must be a whole number; got np.True_"),
        ({"label": [1]}, r"label must be a whole number; got \[1\]"),
        ({"label": np.array([1])}, "label must be a whole number; got array"),
        ({"label": 3}, "label must be from 0 to 2; got 3"),
        ({"label": -1}, "label must be from 0 to 2; got -1"),
        ({"label": "ê9"}, "class: no class is named 'ê9'; the nearest: ê"),
        ({"label": "-1"}, "class must be a name or an index from 0 to 2; got -1"),
        ({"label": "1.0"}, "class must be a name or an index from 0 to 2; got 1.0"),
        ({"label": "3"}, "class must be a name or an index from 0 to 2; got 3"),
        (
            {"image": np.zeros((12, 12, 1))},
            r"image must be \(12, 12, 1\) uint8; got .*",
        ),
        ({"image": np.zeros((1, 12, 12, 1), np.uint8)}, "image must be .* got .1, 12"),
        ({"image": [[1], [1, 2]]}, "image must be .* uint8; got"),
        ({"image": None}, "image must be .* uint8; got"),
        ({"image": "none.png"}, "none.png: cannot be read"),
    ],
)
def test_mistakes(settings, line, net):
    with pytest.raises(InputError, match=line):
        net.explain(**{"image": picture(FIRST), **settings})


def test_numbers_and_images_of_other_libraries(net, tmp_path):
    image = picture(FIRST)
    wanted = net.explain(image, 0, window=4, stride=4)
    numbers = {"window": np.int32(4), "stride": np.uint8(4)}
    found = net.explain(jnp.asarray(image), np.int64(0), **numbers)
    assert type(found.label) is int and isinstance(found.image, np.ndarray)
    Image.fromarray(image[..., 0]).save(tmp_path / "a.png")
    read = net.explain(tmp_path / "a.png", "Ê0 ", window=4, stride=4)
    assert type(net.explain(str(tmp_path / "a.png")).label) is int
    for one in (found, read):
        np.testing.assert_array_equal(one.occlusion, wanted.occlusion)
        assert one.patch == wanted.patch


def test_nothing_that_raises_the_probability_is_evidence(net):
    found = net.explain(picture(SECOND, THIRD), 0, window=4, stride=4)
    assert found.occlusion.max() > found.probability + 0.01
    assert found.patch is None and not found.flat


@pytest.mark.parametrize("rest", [0.0, 20.0, -40.0])
def test_a_map_is_flat_by_its_log_odds(rest, net, monkeypatch):
    """A rare class, and one that is nearly certain, vary as any other."""
    clear = np.array([[1.0, rest, rest]], np.float32)

    def answer(images, step):
        covered = images[:, 0, 8, 0] != 255
        logits = np.repeat(clear, len(images), axis=0)
        logits[:, 0] -= step * covered
        return probabilities(logits)

    for step, is_flat in ((0.1, False), (0.0, True), (1e-5, True)):
        monkeypatch.setattr(
            net._explainer, "_probabilities", functools.partial(answer, step=step)
        )
        found = net.explain(picture(FIRST), 0, window=4, stride=4)
        is_certain = rest == -40.0  # to the last bit
        assert found.flat == (is_flat or is_certain)
        assert found.patch == (None if found.flat else (0, 8, 4, 4))


def test_names_are_compared_as_people_read_them(net):
    spec = net.spec
    names = ["caf\u00e9", "Stra\u00dfe", " sp "]
    for text, label in (
        ("CAFE\u0301", 0),
        (" caf\u00e9 ", 0),
        ("STRASSE", 1),
        ("sp", 2),
        (" 1 ", 1),
    ):
        assert find_class(spec, names, text) == label
