"""A validation part of the training images, where a data set brings none."""

import csv
import shutil
from collections import Counter

import numpy as np
import pytest

from alexnet_jax import evaluate
from alexnet_jax.config import default_config, validate
from alexnet_jax.data import DATA_SETS, create_data, prepare, stream
from alexnet_jax.data.pictures import list_files
from alexnet_jax.data.statistics import __main__ as statistics
from alexnet_jax.data.validation import draw
from alexnet_jax.errors import InputError
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import TrainedModel
from tests.pictures import picture

CLASSES = {"cat": 10, "dog": 5, "eel": 2, "fox": 1}


@pytest.fixture
def flat(tmp_path):
    """A folder of class folders without parts."""
    for number, (label, count) in enumerate(CLASSES.items()):
        (tmp_path / "zoo" / label).mkdir(parents=True)
        for index in range(count):
            path = tmp_path / "zoo" / label / f"{index}.jpg"
            path.write_bytes(picture(100 * number + index))
    return tmp_path / "zoo"


def load(folder, data_dir, seed=0, **settings):
    data = default_config().data
    data.name, data.manual_dir, data.data_dir = (
        "image_folder",
        str(folder),
        str(data_dir),
    )
    data.stored_size = 16
    data.update({"val_share": 0.2} | settings)
    return create_data(data, batch_size=4, eval_batch_size=4, seed=seed)


def parts(data):
    rows = list(csv.DictReader(data.division.text.splitlines()))
    return {
        part: {row["file"] for row in rows if row["split"] == part}
        for part in ("train", "validation")
    }


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_each_class_has_its_share(share):
    labels = np.random.default_rng(0).permutation(
        np.repeat([0, 1, 2, 4], [50, 7, 2, 1])
    )
    drawn = draw(labels.astype(np.int32), share, 3)
    for label, count in enumerate([50, 7, 2, 0, 1]):
        found = drawn[labels == label].sum()
        assert found == min(max(round(share * count), 1), count - 1) if count else True
    np.testing.assert_array_equal(drawn, draw(labels.astype(np.int32), share, 3))
    assert (drawn != draw(labels.astype(np.int32), share, 4)).any()


def test_of_a_flat_folder(flat, tmp_path, capsys):
    data = load(flat, tmp_path / "data")
    assert (data.train.num_examples, data.test.num_examples) == (14, 4)
    assert "note      one image only, trained on and not validated: fox" in (
        capsys.readouterr().err
    )
    first = parts(data)
    assert not first["train"] & first["validation"]
    assert Counter(name.partition("/")[0] for name in first["validation"]) == {
        **{"cat": 2, "dog": 1, "eel": 1}
    }
    for split, count in ((data.train, 14), (data.test, 4)):
        labels = []
        for step in range(len(split)):
            batch = split.batch(step)
            labels += batch["label"][batch["mask"]].tolist()
        wanted = data.division.train if count == 14 else data.division.validation
        assert sorted(labels) == sorted(data.division.labels[wanted].tolist())
    again = load(flat, tmp_path / "data")
    assert parts(again) == first and "preparing" not in capsys.readouterr().out
    assert parts(load(flat, tmp_path / "data", seed=1)) != first
    assert len(list((tmp_path / "data" / "image_folder").iterdir())) == 1
    # Statistics are those of the part that is trained on.
    pixels = [data.train.batch(step) for step in range(4)]
    image = np.concatenate([one["image"][one["mask"]] for one in pixels])
    np.testing.assert_allclose(data.spec.statistics.mean, image.mean((0, 1, 2)))
    other = load(flat, tmp_path / "data", seed=1)
    assert (other.spec.statistics.mean != data.spec.statistics.mean).any()
    for one in (data, again, other):
        one.close()


@pytest.mark.heavy
def test_the_command_measures_the_part_that_is_trained_on(flat, tmp_path, capsys):
    words = ["image_folder", f"--manual-dir={flat}", f"--data-dir={tmp_path / 'data'}"]
    prepare.main([*words, "--val-share=0.2"])
    assert "18 train images" in capsys.readouterr().out
    flags = ["--val-share=0.2", "--seed=3", "--stored-size=16"]
    statistics.main([*words, *flags])
    assert "14 images" in capsys.readouterr().out
    data, other = (load(flat, tmp_path / "data", seed=seed) for seed in (3, 4))
    assert data.statistics_file.exists() and not other.statistics_file.exists()
    assert not (data.folder / "statistics.npz").exists()
    for one in (data, other):
        one.close()


def test_one_is_wanted_where_there_is_none_and_only_there(flat, tmp_path):
    with pytest.raises(InputError, match=r"^data.val_share: .* set data.val_share=0.2"):
        load(flat, tmp_path / "data", val_share=None)
    assert not (tmp_path / "data").exists()
    (tmp_path / "split").mkdir()
    shutil.copytree(flat, tmp_path / "split" / "train")
    assert load(tmp_path / "split", tmp_path / "data").test.num_examples == 4
    with pytest.raises(InputError, match=r"^data.val_share: .* set data.val_share=0.2"):
        load(tmp_path / "split", tmp_path / "data", val_share=None)
    for name, part in (("val", "validation"), ("test", "test")):
        shutil.copytree(flat, tmp_path / "split" / name)
        with pytest.raises(InputError, match=f"has a {part} part, on which runs are "):
            load(tmp_path / "split", tmp_path / "data")
        shutil.rmtree(tmp_path / "split" / name)


@pytest.mark.parametrize("name", sorted(DATA_SETS.keys() - {"image_folder"}))
def test_a_set_with_a_part_of_its_own_is_not_prepared_first(name, tmp_path):
    data = default_config().data
    data.name, data.data_dir, data.val_share = name, str(tmp_path / "data"), 0.2
    with pytest.raises(InputError, match=f"^data.val_share: {name} has a part of its"):
        create_data(data, batch_size=4, eval_batch_size=4, seed=0)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan"), 2, True, "half"])
def test_shares_that_are_none(value):
    config = default_config()
    with pytest.raises((InputError, TypeError)):
        config.data.val_share = value
        validate(config)


def test_classes_called_train_and_test(tmp_path):
    for label in ("train", "test", "val", "plane"):
        (tmp_path / "zoo" / label).mkdir(parents=True)
        for index in range(3):
            path = tmp_path / "zoo" / label / f"{index}.jpg"
            path.write_bytes(picture(index))
    data = load(tmp_path / "zoo", tmp_path / "data")
    assert data.spec.class_names == ("plane", "test", "train", "val")
    assert (data.train.num_examples, data.test.num_examples) == (8, 4)


@pytest.mark.parametrize("layout", ["one class", "val alone", "files"])
def test_other_layouts(layout, flat, tmp_path):
    root = tmp_path / "root"
    if layout == "one class":
        root = tmp_path / "parent"
        shutil.copytree(flat, root / "zoo")
    elif layout == "val alone":
        shutil.copytree(flat, root / "val")
        shutil.copytree(flat, root / "test")
    else:
        root.mkdir()
        (root / "a.jpg").write_bytes(picture(40))
    with pytest.raises(InputError, match="has another layout; it must contain"):
        load(root, tmp_path / "data")


def test_one_image_each(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "zoo" / label).mkdir(parents=True)
        (tmp_path / "zoo" / label / "0.jpg").write_bytes(picture(40))
    with pytest.raises(InputError, match="no class of .* has two images"):
        load(tmp_path / "zoo", tmp_path / "data")


def test_files_that_are_left_out_are_counted(flat, tmp_path, capsys):
    for name in ("a.SVG", "b.svg", "c.psd", "notes.txt", ".hidden.svg"):
        (flat / "cat" / name).write_bytes(b"?")
    (flat / "stray.png").write_bytes(picture(1, kind="PNG"))
    load(flat, tmp_path / "data")
    line = (
        "note      4 files left out: .svg (2), beside the class folders (1), .psd (1)"
    )
    assert line in capsys.readouterr().err.splitlines()


@pytest.mark.slow
def test_a_run_writes_it_down_and_is_measured_on_it(
    flat, config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(stream, "_MEASURED", 4)
    config.data.name, config.data.manual_dir = "image_folder", str(flat)
    config.data.data_dir, config.data.val_share = str(tmp_path / "data"), 0.2
    config.data.stored_size, config.batch_size, config.num_train_steps = 28, 7, 2
    config.seed, config.eval.batch_size = 5, 4
    train_and_evaluate(config, tmp_path / "run")
    written = (tmp_path / "run" / "split.csv").read_text()
    drawn = load(flat, tmp_path / "data", seed=5)
    assert written == drawn.division.text
    assert written.splitlines()[0] == "index,file,label,split"
    (tmp_path / "run" / "split.csv").unlink()
    config.num_train_steps = 4
    train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run" / "split.csv").read_text() == written
    config.data.val_share = 0.3
    with pytest.raises(InputError, match=r"data.val_share was 0.2, is 0.3"):
        train_and_evaluate(config, tmp_path / "run")
    model = TrainedModel(tmp_path / "run")
    assert model.evaluate()["examples"] == 4
    split = model.open_split("test")
    found = split.batch(0)
    np.testing.assert_array_equal(found["label"], drawn.test.batch(0)["label"])
    capsys.readouterr()
    evaluate.main([str(tmp_path / "run")])
    assert "4" in capsys.readouterr().out
    (flat / "cat" / "new.jpg").write_bytes(picture(77))
    with pytest.raises(InputError, match=r"split.csv divides other images than"):
        model.open_split("test")
    for one in (split, drawn):
        one.close()


@pytest.mark.slow
def test_a_last_measurement_on_other_images(flat, config, tmp_path):
    """A run with `data.val_share` is measured on a folder with a part of its own."""
    config.data.name, config.data.manual_dir = "image_folder", str(flat)
    config.data.data_dir, config.data.val_share = str(tmp_path / "data"), 0.2
    config.data.stored_size, config.batch_size, config.num_train_steps = 28, 7, 2
    config.eval.batch_size = 4
    train_and_evaluate(config, tmp_path / "run")
    last = tmp_path / "last"
    last.mkdir()
    (last / "train").symlink_to(flat)
    shutil.copytree(flat, last / "test")
    found = TrainedModel(tmp_path / "run").evaluate(manual_dir=str(last))
    assert found["examples"] == 18
    config.data.val_share, config.data.manual_dir = None, str(last)
    train_and_evaluate(config, tmp_path / "other")
    line = f"^--manual-dir: {flat} has no part to measure; put the images into test"
    with pytest.raises(InputError, match=line):
        TrainedModel(tmp_path / "other").evaluate(manual_dir=str(flat))


def test_one_class_is_refused(tmp_path):
    for part in ("train", "val"):
        (tmp_path / "zoo" / part / "cat").mkdir(parents=True)
        (tmp_path / "zoo" / part / "cat" / "a.jpg").write_bytes(picture(1))
    with pytest.raises(InputError, match="has one class folder, cat; there is nothi"):
        load(tmp_path / "zoo", tmp_path / "data", val_share=None)
    table = tmp_path / "t.csv"
    table.write_text("path,label\nzoo/train/cat/a.jpg,cat\nzoo/val/cat/a.jpg,cat\n")
    with pytest.raises(InputError, match="all rows of train have the label 'cat'; add"):
        load(table, tmp_path / "data")


def test_what_archives_and_drives_leave_behind_is_no_picture(flat):
    for name in ("@eaDir", "__MACOSX", ".hidden"):
        (flat / "cat" / name).mkdir()
        (flat / "cat" / name / "a.jpg").write_bytes(picture(1))
    assert len(list_files([flat])) == sum(CLASSES.values())


@pytest.mark.parametrize("module", ["prepare", "statistics"])
def test_folders_that_a_bundled_set_does_not_read(module, error_line, tmp_path):
    main = {"prepare": prepare.main, "statistics": statistics.main}[module]
    line = error_line(main, "digits", f"--manual-dir={tmp_path}")
    assert "--manual-dir: digits comes with the package and reads no folder" in line


def test_labels_that_changed_are_another_copy(flat, tmp_path):
    first = load(flat, tmp_path / "data")
    (flat / "cat" / "0.jpg").rename(flat / "dog" / "zero.jpg")
    second = load(flat, tmp_path / "data")
    assert first.spec.files and first.spec.files != second.spec.files
    for one in (first, second):
        one.close()
