import dataclasses
import itertools
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import Batches, create_data, image_folder, stream
from alexnet_jax.data.preparation import jpeg
from alexnet_jax.data.statistics import FILE_NAME, KRIZHEVSKY, measure
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.run.weights import find_checkpoint, load_weights
from alexnet_jax.train import train_and_evaluate
from tests.pictures import write_folder

BATCH = 10  # of 24 training images: three steps an epoch, the last of 4


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder of class folders, and where its prepared copy is."""
    root = tmp_path_factory.mktemp("stream")
    folder = write_folder(root / "zoo")
    image_folder.load(root / "prepared", str(folder), "fail")
    return folder, root / "prepared"


@pytest.fixture
def load(zoo):
    opened = []

    def load(seed=3, folder=zoo[0], data_dir=zoo[1], **leaves):
        config = default_config().data
        config.name = "image_folder"
        config.manual_dir, config.data_dir = str(folder), str(data_dir)
        config.stored_size = 24
        config.update(leaves)
        data = create_data(config, batch_size=BATCH, eval_batch_size=4, seed=seed)
        opened.append(data)
        return data

    yield load
    for data in opened:
        data.close()


def assert_same(batch, expected):
    assert batch.keys() == expected.keys() == {"image", "label", "mask"}
    for name, array in expected.items():
        np.testing.assert_array_equal(batch[name], array)
        assert batch[name].dtype == array.dtype


@pytest.fixture(scope="module")
def expected(zoo):
    """The batches of seven steps, from a reader in this thread alone."""
    config = default_config().data
    config.name = "image_folder"
    config.manual_dir, config.data_dir = str(zoo[0]), str(zoo[1])
    config.stored_size = 24
    data = create_data(config, batch_size=BATCH, eval_batch_size=4, seed=3)
    batches = [data.train.reader(step) for step in range(7)]
    assert [batch.pop("broken") for batch in batches] == [[]] * 7
    return batches


class TestBatches:
    def test_what_it_is(self, load):
        data = load()
        train, test = data.train, data.test
        assert (train.num_examples, len(train), train.count(2)) == (24, 3, 4)
        assert (test.num_examples, len(test), test.batch_size) == (9, 3, 4)
        assert data.spec.image_shape == train.image_shape == (24, 24, 3)
        batch = train.batch(2)
        assert [batch[name].dtype for name in ("image", "label", "mask")] == [
            np.uint8,
            np.int32,
            bool,
        ]
        assert batch["mask"].tolist() == [True] * 4 + [False] * 6

    def test_an_epoch_holds_every_image_once(self, load, expected):
        first, second = (
            [expected[step] for step in steps] for steps in ((0, 1, 2), (3, 4, 5))
        )
        for epoch in (first, second):
            images = np.concatenate([b["image"][b["mask"]] for b in epoch])
            assert len({image.tobytes() for image in images}) == 24
            labels = np.concatenate([b["label"][b["mask"]] for b in epoch])
            assert np.bincount(labels).tolist() == [8, 8, 8]
        assert not np.array_equal(first[0]["image"], second[0]["image"])
        assert not np.array_equal(
            load(seed=4).train.batch(0)["image"], first[0]["image"]
        )

    def test_the_order_is_that_of_batches_from_memory(self, load, expected):
        ordered = load(seed=None).train
        epoch = [ordered.batch(step) for step in range(3)]
        image, label = (
            np.concatenate([b[name][b["mask"]] for b in epoch])
            for name in ("image", "label")
        )
        memory = Batches(image, label, BATCH, seed=3)
        for step, batch in enumerate(expected):
            assert_same(batch, memory.batch(step))

    @pytest.mark.parametrize("way", ["bicubic", "bilinear", "opencv"])
    def test_images_are_those_of_the_files(self, zoo, load, way):
        for fit, size in itertools.product(("crop", "warp"), (24, (16, 40), (24, 20))):
            test = load(fit=fit, stored_size=size, resize=way).test
            found = {
                image.tobytes(): label
                for step in range(3)
                for image, label in zip(
                    test.batch(step)["image"], test.batch(step)["label"], strict=True
                )
            }
            for path in (zoo[0] / "val").rglob("*.jpg"):
                image = jpeg.decode(path.read_bytes(), size, fit, way=way)
                label = ["cat", "dog", "eel"].index(path.parent.name)
                assert found[image.tobytes()] == label


class TestResuming:
    @pytest.mark.parametrize("first", [0, 2, 4, 6])
    def test_at_any_step(self, load, expected, first):
        train = load().train
        for step in range(first, 7):
            assert_same(train.batch(step), expected[step])

    def test_steps_in_any_order(self, load, expected):
        train = load().train
        for step in (5, 1, 2, 2, 0, 6):
            assert_same(train.batch(step), expected[step])

    @pytest.mark.slow
    def test_with_processes_that_read(self, load, expected):
        train = load(workers=2).train
        for step in (3, 4, 5, 6):
            assert_same(train.batch(step), expected[step])
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        os.kill(workers[1].pid, signal.SIGTERM)  # as to a whole group: not for them
        os.kill(workers[0].pid, signal.SIGKILL)  # as for want of memory
        with pytest.raises(
            RunError, match="a process that was reading it was killed"
        ) as error:
            for step in range(7, 20):
                train.batch(step)
        assert "\n" not in str(error.value)
        assert workers[1].is_alive()
        train.close()
        assert not any(worker.is_alive() for worker in workers)

    def test_in_several_processes(self, load, expected):
        halves = [slice(0, 5), slice(5, 10)]
        trains = [load().train for _ in halves]
        for step in range(4):
            parts = [
                train.batch(step, rows)
                for train, rows in zip(trains, halves, strict=True)
            ]
            assert all(len(part["label"]) == 5 for part in parts)
            whole = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
            assert_same(whole, expected[step])
            if step < 2:  # the third is padded with images of the first
                first, second = (
                    {image.tobytes() for image in part["image"]} for part in parts
                )
                assert not first & second

    def test_steps_in_a_row_are_read_ahead(self, load, monkeypatch):
        starts, read_from = [], stream.Stream._read_from

        def counted(self, step, rows):
            starts.append(step)
            read_from(self, step, rows)

        monkeypatch.setattr(stream.Stream, "_read_from", counted)
        data = load()
        train, test = data.train, data.test
        for step in (4, 4, 5, 6, 7):  # a run asks for its first batch twice
            train.batch(step)
        for _ in range(3):  # evaluations
            for step in range(len(test)):
                test.batch(step)
        assert starts == [4, 0]
        assert_same(test.batch(3), test.batch(0))


class TestBrokenImages:
    @pytest.fixture
    def broken(self, tmp_path):
        """Two images of a training split end in the middle."""
        folder = write_folder(tmp_path / "zoo")
        for name in ("cat/3.jpg", "eel/5.jpg"):
            path = folder / "train" / name
            path.write_bytes(path.read_bytes()[:-150])
        return {"folder": folder, "data_dir": tmp_path / "data"}

    def test_broken_images_are_fatal(self, load, broken):
        train = load(**broken).train
        with pytest.raises(InputError) as error:
            for step in range(3):
                train.batch(step)
        line = str(error.value)
        assert line.startswith("data.on_broken: image ") and "\n" not in line
        assert ("cat/3.jpg (" in line) != ("eel/5.jpg (" in line)
        assert line.endswith("set data.on_broken=skip to skip broken images")
        with pytest.raises(InputError, match="^data.on_broken: image "):
            train.batch(step)  # not the next one

    def test_skipped(self, load, broken, capsys):
        train = load(on_broken="skip", **broken).train
        for epoch in range(2):
            batches = [train.batch(3 * epoch + step) for step in range(3)]
            mask = np.concatenate([batch["mask"] for batch in batches])
            assert mask.sum() == 22
            for batch in batches:
                black = ~batch["image"].any(axis=(1, 2, 3))
                assert not batch["mask"][black].any()
        assert {line.partition(" ")[0] for line in train.broken} == {
            "cat/3.jpg",
            "eel/5.jpg",
        }
        err = capsys.readouterr().err.splitlines()
        assert len(err) == 2 and err[0].startswith("broken    ")
        assert err[1].endswith("skipped, 2 so far")

    def test_the_others_are_untouched(self, load, broken, tmp_path):
        whole = write_folder(tmp_path / "whole")
        clean = load(folder=whole, data_dir=tmp_path / "clean").train
        train = load(on_broken="skip", **broken).train
        for step in range(3):
            batch, other = train.batch(step), clean.batch(step)
            for name in batch:
                np.testing.assert_array_equal(
                    batch[name][batch["mask"]], other[name][batch["mask"]]
                )


def test_too_little_shared_memory(load, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=64_000)
    monkeypatch.setattr(stream, "_SHARED_MEMORY", Path("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="^data.workers: 8 processes .* 0 for threads"):
        load(workers=8).train.batch(0)
    load().train.batch(0)  # threads need none


def equal(one, other):
    ours, theirs = dataclasses.asdict(one), dataclasses.asdict(other)
    return ours["mean_image"].shape == theirs["mean_image"].shape and all(
        np.allclose(ours[name], theirs[name]) for name in ours
    )


@pytest.mark.heavy
def test_statistics_are_measured_once_for_each_size_and_fit(load, tmp_path, capsys):
    """A data set's own, never another's; of its training images alone."""
    folder = write_folder(tmp_path / "zoo", 4, 1)
    place = {"folder": folder, "data_dir": tmp_path}
    for leaves in (
        {},
        {"stored_size": 16},
        {"stored_size": (16, 24)},
        {"fit": "warp"},
        {"fit": "warp", "resize": "opencv"},
        {"resize": "bilinear"},
        {"workers": 1},
    ):
        data = load(**place, **leaves)
        capsys.readouterr()
        epoch = [data.train.batch(step) for step in range(len(data.train))]
        found = data.train.statistics()
        expected = measure([batch["image"][batch["mask"]] for batch in epoch])
        assert equal(found, expected) and not equal(found, KRIZHEVSKY)
        assert ("measuring" in capsys.readouterr().out) == ("workers" not in leaves)
        assert equal(load(**place, **leaves).spec.statistics, found)
        assert "measuring" not in capsys.readouterr().out
    assert {path.name for path in data.folder.glob("train-*-statistics.npz")} == {
        f"train-{name}-statistics.npz"
        for name in (
            *("24-crop", "16-crop", "16x24-crop", "24-warp"),
            *("24-warp-opencv", "24-crop-bilinear"),
        )
    }
    again = load(**place, stored_size=[16, 16])  # the square in its other form
    assert again.spec.image_shape == (16, 16, 3)
    assert again.spec.statistics and "measuring" not in capsys.readouterr().out
    # What an earlier version's command measured goes before, of images of that size.
    KRIZHEVSKY.save(data.folder / FILE_NAME)
    assert not equal(load(**place).spec.statistics, KRIZHEVSKY)
    assert equal(load(**place, stored_size=256).spec.statistics, KRIZHEVSKY)


def test_imagenets_statistics_are_published(load, monkeypatch, capsys):
    monkeypatch.setattr("alexnet_jax.data._PUBLISHED", {"image_folder": KRIZHEVSKY})
    data = load()
    assert data.spec.statistics is KRIZHEVSKY
    shown = capsys.readouterr().out
    assert shown == (
        f"figures   published for ImageNet (Krizhevsky), of {data.folder}\n"
    )


def test_broken_images_are_not_measured(load, tmp_path, capsys):
    """They may stand anywhere in a batch."""
    folder = write_folder(tmp_path / "zoo")
    names = sorted((folder / "train").glob("*/*"))
    for path in names[1:3] + names[9:11]:
        path.write_bytes(path.read_bytes()[:-150])
    place = {"folder": folder, "data_dir": tmp_path / "data"}
    with pytest.raises(InputError, match="^data.on_broken: image .* is broken; set"):
        load(**place).train.statistics()
    train = load(on_broken="skip", **place).train
    epoch = [train.batch(step) for step in range(3)]
    kept = np.concatenate([batch["image"][batch["mask"]] for batch in epoch])
    assert len(kept) == 20 and equal(train.statistics(), measure([kept]))
    assert len(capsys.readouterr().err.splitlines()) == 4  # each is named once


@pytest.mark.heavy
def test_a_run_is_trained_stopped_and_resumed(config, zoo, tmp_path):
    config.data.name, config.data.manual_dir = "image_folder", str(zoo[0])
    config.data.data_dir, config.data.stored_size = str(zoo[1]), 28
    config.batch_size, config.eval.batch_size = BATCH, 4
    config.model.num_classes = 3
    whole = train_and_evaluate(config, tmp_path / "whole")
    config.num_train_steps = 4  # in the middle of the second epoch
    train_and_evaluate(config, tmp_path / "halves")
    config.num_train_steps = None
    config.data.workers = 1
    halves = train_and_evaluate(config, tmp_path / "halves")
    assert whole["step"] == halves["step"] == 6
    assert whole["test/loss"] == halves["test/loss"]
    first, second = (
        load_weights(find_checkpoint(tmp_path / name)[0])
        for name in ("whole", "halves")
    )
    assert first["params"].keys() == second["params"].keys()
    for layer, arrays in first["params"].items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, second["params"][layer][name])
    assert not multiprocessing.active_children()

    config.model.num_classes = 2
    with pytest.raises(InputError, match="num_classes must be at least 3, the classes"):
        train_and_evaluate(config, tmp_path / "too-few")
