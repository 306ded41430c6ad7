"""A file is the same picture in training, evaluation, statistics and prediction."""

import io
import itertools

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import DataSpec, create_data, image_files, image_folder
from alexnet_jax.data.decoding import BrokenImage, read_pixels
from alexnet_jax.data.image_files import OTHER_SUFFIXES, SUFFIXES
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.data.preparation.jpeg import as_stored, decode
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError
from alexnet_jax.reporting.predictions import predict_files
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import TrainedModel, probabilities
from tests.kinds import COLOR, KINDS, exif, save, turned
from tests.pictures import write_folder

SIZE = 28
SPEC = DataSpec(
    "image_folder 1.0.0",
    ("a",),
    (SIZE, SIZE, 3),
    lambda: measure([np.full((2, SIZE, SIZE, 3), 120, np.uint8)]),
    streamed=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A class for each kind, of one file, to train and to test on."""
    root = tmp_path_factory.mktemp("kinds")
    for part, name in itertools.product(("train", "val"), KINDS):
        place = root / part / name.replace(".", "_")
        place.mkdir(parents=True)
        (place / name).write_bytes(KINDS[name][0])
    return root


WAYS = [("crop", "bicubic"), ("warp", "opencv"), ("crop", "bilinear")]


@pytest.fixture(scope="module", params=WAYS)
def settings(request, folder, tmp_path_factory):
    data = default_config().data
    data.name, data.manual_dir = "image_folder", str(folder)
    data.data_dir = str(tmp_path_factory.mktemp("tfds"))
    data.stored_size = SIZE
    data.fit, data.resize = request.param
    return data


@pytest.fixture(scope="module")
def data(settings):
    count = len(KINDS)
    return create_data(settings, batch_size=count, eval_batch_size=count, seed=0)


def by_name(batch, names):
    return {
        names[label]: image
        for label, image in zip(batch["label"], batch["image"], strict=True)
    }


@pytest.mark.parametrize("name", KINDS)
def test_what_a_file_shows(name):
    content, expected = KINDS[name]
    image = read_pixels(io.BytesIO(content)).image
    assert image.mode in ("L", "RGB") and name.endswith(SUFFIXES)
    if expected is not None:
        if expected.ndim == 2:
            expected = np.dstack([expected] * 3)
        found = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(found - expected).max() <= 1
    stored = as_stored(content)
    for fit, way in itertools.product(
        ("crop", "warp"), ("bicubic", "bilinear", "opencv")
    ):
        whole = decode(content, SIZE, fit, way=way)
        np.testing.assert_array_equal(decode(stored, SIZE, fit, way=way), whole)


def test_heic():
    pytest.importorskip("pillow_heif").register_heif_opener()
    for options in ({"quality": 90}, {"quality": 90, "exif": exif(6).tobytes()}):
        stored = turned(COLOR, 6) if "exif" in options else COLOR
        content = save(stored, "HEIF", **options)
        found = np.asarray(read_pixels(io.BytesIO(content)).image)
        # It loses less with newer encoders; turned, it would be 60 off.
        assert np.abs(found.astype(int) - COLOR).mean() < 15
        again = decode(as_stored(content), SIZE, "crop")
        np.testing.assert_array_equal(decode(content, SIZE, "crop"), again)
    assert ".heic" in SUFFIXES and ".heic" not in OTHER_SUFFIXES


@pytest.mark.skipif("HEIF" not in image_files._MISSING, reason="its reader is there")
def test_heic_without_its_reader(tmp_path):
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    line = "it is HEIC, which pillow-heif reads: pip install 'alexnet_jax.heif.'"
    for function in (as_stored, lambda content: decode(content, SIZE, "crop")):
        with pytest.raises(BrokenImage, match=f"^{line}$"):
            function(content)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=f"a.jpg: cannot be read .{line}.$"):
        read_picture(tmp_path / "a.jpg", SPEC)
    assert ".heic" not in SUFFIXES and ".heic" in OTHER_SUFFIXES


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((9, 9), 1.5, np.float32), "32-bit pixels of unknown range"),
        (np.full((9, 9), -0.5, np.float32), "32-bit pixels of unknown range"),
        (np.full((9, 9), np.nan, np.float32), "32-bit pixels of unknown range"),
        (np.full((9, 9), 65_536, np.int32), "32-bit pixels of unknown range"),
        (np.full((9, 9), -1, np.int32), "32-bit pixels of unknown range"),
        (None, "cannot identify image file"),
    ],
)
def test_what_is_not_taken_is_named_everywhere(array, reason, tmp_path, capsys):
    folder = write_folder(tmp_path / "zoo", 1, 1)
    path = folder / "train" / "cat" / "bad.tif"
    path.write_bytes(b"no image" if array is None else save(array, "TIFF"))
    with pytest.raises(InputError) as error:
        image_folder.load(tmp_path / "data", str(folder), "fail")
    line = str(error.value)
    assert line.startswith(f"data.on_broken: image cat/bad.tif ({reason}")
    assert "\n" not in line and "object at" not in line
    with pytest.raises(InputError) as error:
        read_picture(path, SPEC)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and "save it " in line
    assert "\n" not in line and "object at" not in line
    image_folder.load(tmp_path / "data", str(folder), "skip")
    assert f"broken    cat/bad.tif ({reason}" in "".join(capsys.readouterr())


def test_damaged_metadata_breaks_no_picture(tmp_path):
    for damaged in (b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0no"):
        content = save(COLOR, "JPEG", exif=damaged)
        plain = decode(save(COLOR, "JPEG"), SIZE, "crop")
        np.testing.assert_array_equal(decode(content, SIZE, "crop"), plain)
        (tmp_path / "a.jpg").write_bytes(content)
        np.testing.assert_array_equal(
            read_picture(tmp_path / "a.jpg", SPEC).image, plain
        )


def test_what_is_said_of_a_picture(tmp_path):
    said = {
        "moving.gif": ("it has 2 frames; the first is used",),
        "pages.tif": ("it has 2 frames; the first is used",),
        "half.png": ("its transparent parts became white",),
        "rgb.jpg": (),
    }
    faint = save(np.full((9, 9), 200, np.uint16), "PNG")
    contents = {name: KINDS[name][0] for name in said} | {"faint.png": faint}
    said["faint.png"] = ("its brightest pixel is 200 of 65,535: nearly black",)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert read_picture(tmp_path / name, SPEC).notes == said[name]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(way, marks=pytest.mark.heavy if place else pytest.mark.slow)
        for place, way in enumerate(WAYS)
    ],
    indirect=True,
)
def test_a_network_sees_what_it_was_trained_on(folder, settings, config, tmp_path):
    """Evaluation and prediction of a run of its own, on the same files."""
    count = len(KINDS)
    config.batch_size, config.num_epochs, config.data = count, 1, settings
    config.data.image_size, config.model.num_classes = SIZE, count
    config.eval.batch_size = count
    train_and_evaluate(config, tmp_path / "run")
    network = TrainedModel(tmp_path / "run")
    assert network.spec.streamed
    split = network.open_split("test")
    expected = {
        network.class_name(one): row
        for batch in network.predict_split(split)
        for one, row in zip(batch.label, probabilities(batch.logits), strict=True)
    }
    paths = [folder / "val" / name.replace(".", "_") / name for name in KINDS]
    for path, found in zip(paths, predict_files(network, paths), strict=True):
        wanted = np.sort(expected[path.parent.name])[::-1][:5]
        given = [answer["probability"] for answer in found["predictions"]]
        np.testing.assert_allclose(given, wanted, rtol=1e-5, err_msg=path.name)


@pytest.mark.heavy
def test_a_file_is_one_array_everywhere(folder, settings, data):
    names = data.spec.class_names
    train, test = (by_name(s.batch(0), names) for s in (data.train, data.test))
    mean = np.mean([image.astype(np.float64) for image in train.values()], axis=0)
    np.testing.assert_allclose(data.spec.statistics.mean_image, mean, atol=1e-3)
    for name in KINDS:
        label = name.replace(".", "_")
        path = folder / "val" / label / name
        how = {"fit": settings.fit, "way": settings.resize}
        image = read_picture(path, data.spec, **how).image
        np.testing.assert_array_equal(train[label], image, err_msg=name)
        np.testing.assert_array_equal(test[label], image, err_msg=name)
        inverted = read_picture(path, data.spec, invert=True, **how).image
        np.testing.assert_array_equal(255 - image, inverted)
