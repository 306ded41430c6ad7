from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from alexnet_jax.data import image_folder
from alexnet_jax.errors import InputError
from tests.pictures import picture, pixels, write_folder


def load(folder, data_dir):
    return image_folder.load(data_dir, str(folder), "fail")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("pictures") / "zoo")
    return folder, load(folder, tmp_path_factory.mktemp("prepared"))


def by_name(builder, split):
    return {
        example["file_name"].decode(): example
        for example in builder.as_data_source(split)
    }


def test_tfds_reads_it(prepared):
    folder, ours = prepared
    builder = tfds.builder_from_directory(ours.data_path)
    assert builder.info.full_name.startswith("image_folder/zoo-")
    assert builder.info.features["label"].names == ["cat", "dog", "eel"]
    for split, name, count in (("train", "train", 8), ("validation", "val", 3)):
        examples = by_name(builder, split)
        assert len(examples) == 3 * count
        for file, example in examples.items():
            assert ["cat", "dog", "eel"][example["label"]] == file.partition("/")[0]
            original = pixels((folder / name / file).read_bytes())
            error = np.abs(example["image"].astype(int) - original).mean()
            # A CMYK and a PNG were encoded anew.
            assert error == 0 or (error < 3 and Path(file).stem in ("0", "drawing"))


def test_prepared_once_and_anew_when_it_changed(prepared, tmp_path, monkeypatch):
    folder, ours = prepared
    data_dir = Path(ours.data_path).parents[2]
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "write_shards", None)  # a call would fail
        assert load(folder, data_dir).data_path == ours.data_path
    write_folder(tmp_path / "zoo")
    (tmp_path / "zoo" / "test").mkdir()  # `val` comes first
    (tmp_path / "zoo" / "train" / "cat" / "notes.txt").write_text("no image")
    assert Path(load(tmp_path / "zoo", data_dir).data_path) == Path(ours.data_path)
    (tmp_path / "zoo" / "train" / "cat" / "new.jpg").write_bytes(picture(77))
    other = load(tmp_path / "zoo", data_dir)
    assert other.data_path != ours.data_path and ours.data_path.exists()
    assert other.info.splits["train"].num_examples == 25


class TestBadFolders:
    def refused(self, folder, data_dir):
        with pytest.raises(InputError) as error:
            image_folder.load(data_dir, folder and str(folder), "fail")
        assert "\n" not in str(error.value) and not data_dir.exists()
        return str(error.value)

    def test_no_folder(self, tmp_path):
        line = self.refused(None, tmp_path / "data")
        assert line.startswith("data.manual_dir must be set")
        line = self.refused(tmp_path, tmp_path / "data")
        assert f"{tmp_path} has another layout; it must contain train/CLASS/" in line
        for name in ("train", "test"):
            (tmp_path / name).mkdir()
        line = self.refused(tmp_path, tmp_path / "data")
        assert f"{tmp_path / 'train'} contains no class folders" in line

    def test_a_class_without_images(self, tmp_path):
        write_folder(tmp_path, 1, 1)
        (tmp_path / "train" / "fox").mkdir()
        (tmp_path / "train" / "fox" / "README.txt").touch()
        line = self.refused(tmp_path, tmp_path / "data")
        assert f"class folder {tmp_path / 'train' / 'fox'} contains no images" in line

    def test_a_class_that_is_not_trained(self, tmp_path):
        write_folder(tmp_path, 1, 1)
        (tmp_path / "val" / "fox").mkdir()
        line = self.refused(tmp_path, tmp_path / "data")
        assert f"class fox is in {tmp_path / 'val'} but not in" in line
