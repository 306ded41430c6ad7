import dataclasses
import json

import numpy as np
import pytest

from alexnet_jax.data import DataSpec
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), np.uint8)


def make_spec(images=IMAGES):
    return DataSpec(
        "zoo 1.0.0", ("kōala", "emu"), images.shape[1:], lambda: measure([images])
    )


def test_statistics_are_measured_once_and_only_if_needed():
    calls = []
    spec = dataclasses.replace(make_spec(), measure=lambda: calls.append(1))
    assert spec == make_spec() and calls == []
    assert spec.statistics is spec.statistics and calls == [1]


def test_what_is_saved_is_loaded(tmp_path):
    spec = make_spec()
    spec.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"data.json", "statistics.npz"}
    assert json.loads((tmp_path / "data.json").read_text()) == {
        "data": "zoo 1.0.0",
        "class_names": ["kōala", "emu"],
        "image_shape": [4, 5, 3],
    }
    found = DataSpec.load(tmp_path)
    assert found == spec and found.matches(spec)
    np.testing.assert_array_equal(
        found.statistics.mean_image, spec.statistics.mean_image
    )


def test_images_of_any_size_are_told_by_their_record_or_their_name(tmp_path):
    spec = dataclasses.replace(make_spec(), streamed=True)
    spec.save(tmp_path)
    assert DataSpec.load(tmp_path) == spec
    path = tmp_path / "data.json"
    record = json.loads(path.read_text())
    assert record.pop("streamed") is True
    streamed = ("image_folder 1.0.0", "imagenet2012 5.1.0", "imagenet2012_256 1.0.0")
    for name in (*streamed, "digits 1.0.0", "fashion_mnist 3.0.1", "zoo 1.0.0"):
        path.write_text(json.dumps(record | {"data": name}))  # as version 0.1 wrote it
        assert DataSpec.load(tmp_path).streamed is (name in streamed)


def test_what_matches():
    spec = make_spec()
    assert spec.matches(make_spec(IMAGES[::-1]))
    assert not spec.matches(make_spec(IMAGES[1:]))
    assert not spec.matches(dataclasses.replace(spec, name="zoo 1.0.1"))
    assert not spec.matches(dataclasses.replace(spec, class_names=("emu", "kōala")))


def test_files_that_cannot_be_read(tmp_path):
    make_spec().save(tmp_path)
    content = (tmp_path / "data.json").read_text()
    for damaged in ("", "[]", "{}", content.replace("[\n  4", "[\n  true, 4")):
        (tmp_path / "data.json").write_text(damaged)
        with pytest.raises(InputError, match="has no readable data.json and") as error:
            DataSpec.load(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / "data.json").write_text(content.replace("3\n ]", "1\n ]"))
    with pytest.raises(InputError, match="data.json and statistics.npz are of diff"):
        DataSpec.load(tmp_path)
