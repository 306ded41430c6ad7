import errno
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from alexnet_jax import default_config
from alexnet_jax.data import check_workdir, image_folder
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
            np.testing.assert_array_equal(example["image"], original)


def test_prepared_once_and_anew_when_it_changed(prepared, tmp_path, monkeypatch):
    folder, ours = prepared
    data_dir = Path(ours.data_path).parents[2]
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "write_shards", None)  # a call would fail
        assert load(folder, data_dir).data_path == ours.data_path
    shutil.copytree(folder, tmp_path / "zoo")  # keeps the times
    (tmp_path / "zoo" / "test").mkdir()  # `val` comes first
    (tmp_path / "zoo" / "train" / "cat" / "notes.txt").write_text("no image")
    assert Path(load(tmp_path / "zoo", data_dir).data_path) == Path(ours.data_path)
    (tmp_path / "zoo" / "train" / "cat" / "new.jpg").write_bytes(picture(77))
    other = load(tmp_path / "zoo", data_dir)
    assert other.data_path != ours.data_path and ours.data_path.exists()
    assert other.info.splits["train"].num_examples == 25


def test_a_copy_without_the_broken_is_not_opened_where_they_are_faults(tmp_path):
    folder = write_folder(tmp_path / "zoo", 2, 1)
    for name in ("cat", "dog"):
        (folder / "train" / name / "broken.jpg").write_bytes(b"no image")
    builder = image_folder.load(tmp_path / "data", str(folder), "skip")
    whole = builder.info.splits["train"].num_examples
    with pytest.raises(InputError, match=r"lacks 2 images that could not be read as"):
        load(folder, tmp_path / "data")
    again = image_folder.load(tmp_path / "data", str(folder), "skip")
    assert again.data_path == builder.data_path
    for name in ("cat", "dog"):
        (folder / "train" / name / "broken.jpg").write_bytes(picture(1))
    mended = load(folder, tmp_path / "data")
    assert mended.info.splits["train"].num_examples == whole + 2


def test_a_prepared_copy_beside_the_parts_or_hidden(tmp_path):
    root = write_folder(tmp_path / "zoo", 1, 1)
    for place in (root / "data", root / "train" / ".data"):
        for _ in range(2):
            assert Path(load(root, place).data_path).is_relative_to(place)


def test_a_run_in_the_place_of_its_table(tmp_path):
    data = default_config().data
    (tmp_path / "split.csv").write_text("path,label\n")
    data.name, data.manual_dir = "image_folder", str(tmp_path / "split.csv")
    with pytest.raises(InputError, match=r"^workdir: .* holds the table split.csv"):
        check_workdir(data, tmp_path)
    check_workdir(data, tmp_path / "runs")


@pytest.mark.parametrize(
    ("workdir", "refused"),
    [
        ("runs/mine", True),
        ("linked/mine", True),
        (".runs/mine", False),
        ("../runs", False),
    ],
)
def test_a_run_among_the_classes(workdir, refused, tmp_path):
    """Its curves would be images of one class more."""
    (write_folder(tmp_path / "zoo", 1, 1) / "train").rename(tmp_path / "flat")
    (tmp_path / "linked").symlink_to("flat/runs")
    data = default_config().data
    data.name, data.manual_dir = "image_folder", str(tmp_path / "flat")
    place = tmp_path / ("" if workdir.startswith("linked") else "flat") / workdir
    if refused:
        with pytest.raises(InputError, match=r"^workdir: .* is within .*flat, where"):
            check_workdir(data, place)
        data.manual_dir = str(tmp_path / "zoo.csv")  # a table is no folder of classes
    check_workdir(data, place)


def test_a_file_mended_in_place_is_noticed(tmp_path):
    """Of the same name and the same size."""
    folder = write_folder(tmp_path / "zoo", 1, 1)
    path = folder / "train" / "cat" / "a.bmp"
    path.write_bytes(picture(1, kind="BMP"))
    before = load(folder, tmp_path / "data")
    path.write_bytes(picture(2, kind="BMP"))
    after = load(folder, tmp_path / "data")
    assert after.data_path != before.data_path
    image = by_name(after, "train")["cat/a.bmp"]["image"]
    np.testing.assert_array_equal(image, pixels(picture(2, kind="BMP")))
    assert load(folder, tmp_path / "data").data_path == after.data_path


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

    def test_a_prepared_copy_among_the_classes(self, tmp_path):
        root = write_folder(tmp_path / "zoo", 1, 1)
        line = self.refused(root, root / "train" / "data")
        assert line.startswith(f"data.data_dir: {root}/train/data is within {root}/tra")
        shutil.rmtree(root / "val")
        flat = (root / "train").rename(tmp_path / "flat")
        with pytest.raises(InputError, match="folder is a class; choose a folder else"):
            image_folder.load(flat / "data", str(flat), "fail", 0.5)
        assert not (flat / "data").exists()

    @pytest.mark.parametrize("name", [" ", "two\nlines", "cat "])
    def test_a_class_whose_name_cannot_be_stored(self, name, tmp_path):
        root = write_folder(tmp_path / "zoo", 1, 1)
        for part in ("train", "val"):
            shutil.copytree(root / part / "cat", root / part / name)
        with pytest.raises(InputError) as error:
            load(root, tmp_path / "data")
        assert f"the class name {name!r} " in str(error.value)
        assert not [*(tmp_path / "data").rglob("dataset_info.json")]

    def test_a_class_that_is_not_trained(self, tmp_path):
        write_folder(tmp_path, 1, 1)
        (tmp_path / "val" / "fox").mkdir()
        line = self.refused(tmp_path, tmp_path / "data")
        assert f"class fox is in {tmp_path / 'val'} but not in" in line


BROKEN = {
    "dangling": "a link that leads nowhere",
    "loop": "a link that leads nowhere",
    "class": "a link that leads nowhere",
    "above": "a link to a folder that it is in",
    "name": "its name is not UTF-8",
    "folder name": "its name is not UTF-8",
    "class name": "its name is not UTF-8",
    "fifo": "it is a FIFO, not a regular file",
    "socket": "it is a socket, not a regular file",
    "device": "it is a device, not a regular file",
    "endless": "it has 2,147,483,648 bytes, more than",
    "unreadable": "it cannot be read: Permission denied",
}


def lay_broken(kind, folder, monkeypatch):
    """Lays something into a class folder that is no image that can be read."""
    path = folder / "broken.jpg"
    if kind == "dangling":
        path.symlink_to("nowhere.jpg")
    elif kind == "loop":
        path.symlink_to("broken.jpg")
    elif kind == "class":
        (folder.parent / "gnu").symlink_to("nowhere")
    elif kind == "above":
        (folder / "deep").mkdir()
        (folder / "deep" / "again").symlink_to("..")
    elif kind.endswith("name"):
        name = os.fsdecode(b"caf\xe9")
        place = {"name": folder, "folder name": folder / name}
        place = place.get(kind, folder.parent / name)
        place.mkdir(exist_ok=True)
        (place / (f"{name}.jpg" if kind == "name" else "a.jpg")).write_bytes(picture(8))
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        # A path of a socket's must be short.
        monkeypatch.chdir(folder)
        socket.socket(socket.AF_UNIX).bind("broken.jpg")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "endless":
        with path.open("wb") as file:
            file.truncate(2 << 30)
    elif kind == "unreadable":
        path.write_bytes(picture(8))
        os_open = os.open

        def refuse(name, *args, **options):
            if str(name).endswith("broken.jpg"):
                raise PermissionError(errno.EACCES, "Permission denied", name)
            return os_open(name, *args, **options)

        monkeypatch.setattr(os, "open", refuse)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_is_named_or_skipped(kind, tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path / "zoo", 1, 1)
    lay_broken(kind, folder / "train" / "cat", monkeypatch)
    with pytest.raises(InputError) as error:
        load(folder, tmp_path / "data")
    line = str(error.value)
    assert line.startswith("data.on_broken: image ") and BROKEN[kind] in line
    assert line.endswith("set data.on_broken=skip to skip broken images")
    assert "\n" not in line and line.encode()  # no surrogates
    capsys.readouterr()
    builder = image_folder.load(tmp_path / "data", str(folder), "skip")
    assert builder.info.splits["train"].num_examples == 6
    assert builder.info.features["label"].names == ["cat", "dog", "eel"]
    told = "".join(capsys.readouterr())
    assert "broken    " in told and BROKEN[kind] in told


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    folder, scandir = write_folder(tmp_path / "zoo", 1, 1), os.scandir

    def refuse(place):
        if Path(place).name == "train":
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = "data.manual_dir: .*train cannot be read .Permission denied"
    with pytest.raises(InputError, match=expected):
        load(folder, tmp_path / "data")


def test_a_link_to_a_folder_or_a_file_is_followed(tmp_path):
    folder = write_folder(tmp_path / "zoo", 1, 1)
    (folder / "train" / "cat").rename(tmp_path / "cats")
    (folder / "train" / "cat").symlink_to(tmp_path / "cats")
    (folder / "train" / "dog" / "link.jpg").symlink_to(tmp_path / "cats" / "0.jpg")
    (folder / "train" / "notes").symlink_to(tmp_path / "cats" / "0.jpg")
    builder = load(folder, tmp_path / "data")
    assert builder.info.splits["train"].num_examples == 7
    assert builder.info.features["label"].names == ["cat", "dog", "eel"]
