"""Class folders as people have them: which are the parts, and what is left out."""

import pytest

from alexnet_jax.data import class_folders
from alexnet_jax.data.class_folders import read_class_folders
from alexnet_jax.errors import InputError
from tests.pictures import picture


def write(root, *places):
    """Writes three images in each place."""
    for number, place in enumerate(places):
        (root / place).mkdir(parents=True)
        for index in range(3):
            (root / place / f"{index}.jpg").write_bytes(picture(9 * number + index))
    return root


def both(train, test):
    return [f"{part}/{label}" for part in (train, test) for label in ("cat", "dog")]


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        ("train", "val", "validation"),
        ("train", "valid", "validation"),
        ("Train", "Validation", "validation"),
        ("TRAIN", "dev", "validation"),
        ("Training", "Testing", "test"),
    ],
)
def test_parts_by_any_of_their_names(train, test, split, tmp_path):
    found = read_class_folders(write(tmp_path, *both(train, test)), "fail", None)
    assert found.class_names == ("cat", "dog")
    assert {name: len(files) for name, files in found.files.items()} == {
        "train": 6,
        split: 6,
    }
    with pytest.raises(InputError, match=f"has a {split} part"):
        read_class_folders(tmp_path, "fail", 0.2)


@pytest.mark.parametrize(
    "places",
    [
        ["Train", "Test"],
        ["train", "test"],
        ["seg_train/seg_train/cat", "seg_test/seg_test/cat"],
        ["train-2020/a", "test-2020/a", "val-2020/a"],
        ["cat", "dog", "val/cat"],
        ["cat"],
    ],
)
@pytest.mark.parametrize("share", [None, 0.2])
def test_parts_are_no_classes(places, share, tmp_path):
    with pytest.raises(InputError, match="has another layout; it must contain train/"):
        read_class_folders(write(tmp_path, *places), "fail", share)


def test_a_class_may_be_called_as_a_part_is(tmp_path):
    found = read_class_folders(write(tmp_path, "plane", "train"), "fail", 0.2)
    assert found.class_names == ("plane", "train")


def test_two_folders_for_a_part(tmp_path):
    root = write(tmp_path, *both("train", "val"), "Training/cat", "Training/dog")
    with pytest.raises(InputError, match="has both .* and .*, for the train part; "):
        read_class_folders(root, "fail", None)


def test_what_is_left_out_is_told(tmp_path, capsys):
    root = write(tmp_path, *both("train", "val"), "test/cat", "more", "__MACOSX/train")
    assert {*read_class_folders(root, "fail", None).files} == {"train", "validation"}
    assert capsys.readouterr().err.splitlines() == [
        "note      test/ is left out: the validation part is measured",
        "note      more/ is left out: it holds no class folders",
    ]


def test_a_test_part_without_classes(tmp_path, capsys):
    root = write(tmp_path, "train/cat", "train/dog", "test")
    assert {*read_class_folders(root, "fail", 0.2).files} == {"train"}
    line = "note      test/ is left out: it holds no class folders"
    assert line in capsys.readouterr().err
    with pytest.raises(InputError, match="set data.val_share=0.2"):
        read_class_folders(root, "fail", None)


def test_what_archives_and_drives_leave_behind(tmp_path):
    root = write(tmp_path, "cat", "dog", "__MACOSX", "@eaDir", "cat/@eaDir", ".git")
    found = read_class_folders(root, "fail", 0.2)
    assert found.class_names == ("cat", "dog") and len(found.files["train"]) == 6


def test_a_class_of_pictures_that_cannot_be_read(tmp_path, monkeypatch):
    root = write(tmp_path, "cat", "dog")
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (root / "cat" / name).rename(root / "cat" / f"{name[0]}.heic")
    suffixes = tuple(one for one in class_folders.SUFFIXES if one != ".heic")
    monkeypatch.setattr(class_folders, "SUFFIXES", suffixes)
    monkeypatch.setattr(class_folders, "OTHER_SUFFIXES", (".heic",))
    line = r"cat contains no images but .heic \(3\); HEIC is read after pip install 'al"
    with pytest.raises(InputError, match=line):
        read_class_folders(root, "fail", 0.2)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no file or folder .*/zoo; give the"):
        read_class_folders(tmp_path / "zoo", "fail", None)
