import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import shapes
from alexnet_jax.errors import InputError


def test_files_in_class_folders_of_many_sizes(shapes_dir):
    files = sorted((shapes_dir / "shapes").rglob("*.jpg"))
    assert len(files) == 4 * (8 + 2)
    folders = {
        file.parent.relative_to(shapes_dir / "shapes").as_posix() for file in files
    }
    names = ("checks", "cross", "disk", "stripes")
    assert folders == {
        f"{split}/{name}" for split in ("train", "val") for name in names
    }
    sizes = set()
    for file in files:
        with Image.open(file) as image:
            assert image.format == "JPEG"
            sizes.add(image.size)
    assert len(sizes) == 40


def test_they_are_prepared_once_as_any_folder_is(shapes_dir, capsys):
    builder = shapes.load(shapes_dir, "fail")
    assert capsys.readouterr().out == ""
    assert builder.name == "image_folder"
    counts = {name: info.num_examples for name, info in builder.info.splits.items()}
    assert counts == {"train": 32, "validation": 8}


def test_a_drawing_is_its_generators():
    images = [
        shapes.draw("disk", np.random.default_rng(seed)).astype(int)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(images[0], images[1])
    assert images[0].shape != images[2].shape
    # Two colours and a little noise.
    assert abs(images[0].min() - images[0].max()) > 35


def test_what_a_killed_run_left_is_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "_PER_CLASS", {"train": 1, "val": 1})
    (tmp_path / "shapes.part" / "train" / "disk").mkdir(parents=True)
    builder = shapes.load(tmp_path, "fail")
    assert builder.info.splits["train"].num_examples == 4
    assert not (tmp_path / "shapes.part").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="data.data_dir: .*file/shapes cannot be"):
        shapes.load(tmp_path / "file", "fail")
