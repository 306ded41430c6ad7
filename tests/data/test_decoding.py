"""A file is the same picture in training, evaluation, statistics and prediction."""

import io
import itertools

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data
from alexnet_jax.data.decoding import read_pixels
from alexnet_jax.data.image_files import SUFFIXES
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.data.preparation.jpeg import as_stored, decode
from tests.kinds import KINDS

SIZE = 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A class for each kind, of one file, to train and to test on."""
    root = tmp_path_factory.mktemp("kinds")
    for part, name in itertools.product(("train", "val"), KINDS):
        place = root / part / name.replace(".", "_")
        place.mkdir(parents=True)
        (place / name).write_bytes(KINDS[name][0])
    return root


@pytest.fixture(scope="module", params=["crop", "warp"])
def settings(request, folder, tmp_path_factory):
    data = default_config().data
    data.name, data.manual_dir = "image_folder", str(folder)
    data.data_dir = str(tmp_path_factory.mktemp("tfds"))
    data.stored_size, data.fit = SIZE, request.param
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
    for fit in ("crop", "warp"):
        whole = decode(content, SIZE, fit)
        np.testing.assert_array_equal(decode(stored, SIZE, fit), whole)


def test_a_file_is_one_array_everywhere(folder, settings, data):
    names = data.spec.class_names
    train, test = (by_name(s.batch(0), names) for s in (data.train, data.test))
    mean = np.mean([image.astype(np.float64) for image in train.values()], axis=0)
    np.testing.assert_allclose(data.spec.statistics.mean_image, mean, atol=1e-3)
    for name in KINDS:
        label = name.replace(".", "_")
        path = folder / "val" / label / name
        image = read_picture(path, data.spec, fit=settings.fit).image
        np.testing.assert_array_equal(train[label], image, err_msg=name)
        np.testing.assert_array_equal(test[label], image, err_msg=name)
        inverted = read_picture(path, data.spec, invert=True, fit=settings.fit).image
        np.testing.assert_array_equal(255 - image, inverted)
