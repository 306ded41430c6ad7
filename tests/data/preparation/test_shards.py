import contextlib
import io
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.utils.shard_utils import ShardConfig

from alexnet_jax.data import image_folder
from alexnet_jax.data.class_folders import read_class_folders
from alexnet_jax.data.preparation import shards
from alexnet_jax.data.preparation.jpeg import Conversion
from alexnet_jax.data.preparation.sources import Files
from alexnet_jax.errors import InputError
from tests.pictures import write_folder

TRAIN, VALIDATION = 24, 9  # images


def load(folder, data_dir, on_broken="fail"):
    return image_folder.load(data_dir, str(folder), on_broken)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pictures") / "zoo")


@pytest.fixture(scope="module")
def prepared(zoo, tmp_path_factory):
    return load(zoo, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def unfinished(prepared, tmp_path):
    """The folder of an unfinished preparation of the same files, still empty."""
    final = tmp_path / Path(prepared.data_path).relative_to(
        Path(prepared.data_path).parents[2]
    )
    folder = final.with_name(f"{final.name}.incomplete")
    folder.mkdir(parents=True)
    return folder


def examples(builder, split):
    decoders = {"image": tfds.decode.SkipDecoding()}
    return list(builder.as_data_source(split, decoders=decoders))


def check_complete(builder, prepared, num_shards):
    for split, number in (("train", TRAIN), ("validation", VALIDATION)):
        found = examples(builder, split)
        assert found == examples(prepared, split) and len(found) == number
    names = [path.name for path in Path(builder.data_path).iterdir()]
    assert sum("array_record" in name for name in names) == num_shards
    others = {name for name in names if "array_record" not in name}
    assert others == {"dataset_info.json", "features.json", "label.labels.txt"}


class TestContinuing:
    @pytest.fixture(autouse=True)
    def four_shards(self, monkeypatch):
        monkeypatch.setattr(shards, "SHARDS", ShardConfig(num_shards=4))

    def test_a_killed_run(
        self, zoo, prepared, unfinished, tmp_path, monkeypatch, capsys
    ):
        written, write_shard = [], shards.write_shard

        def until_killed(shard):
            if len(written) == 3:
                Path(f"{shard.path}.part").write_bytes(b"half of it")
                raise KeyboardInterrupt
            written.append(shard.path.name)
            return write_shard(shard)

        monkeypatch.setattr(shards, "write_shard", until_killed)
        with pytest.raises(KeyboardInterrupt):
            load(zoo, tmp_path)
        assert not unfinished.with_suffix("").exists()
        assert len(list(unfinished.glob("*array_record*"))) == 3 + 1
        monkeypatch.setattr(
            shards,
            "write_shard",
            lambda shard: (written.append(shard.path.name), write_shard(shard))[1],
        )
        builder = load(zoo, tmp_path)
        assert len(written) == len(set(written)) == 8
        assert "1.0.0, 3 of 8 shards exist" in capsys.readouterr().out
        check_complete(builder, prepared, 8)

    def test_a_disk_that_fills(self, zoo, prepared, unfinished, tmp_path):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
        try:
            with pytest.raises(InputError) as error:
                load(zoo, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert "data.data_dir: " in str(error.value)
        assert "cannot be written (write() failed: File too large" in str(error.value)
        assert "run the same command again to continue" in str(error.value)
        assert not list(unfinished.glob("*.part"))
        check_complete(load(zoo, tmp_path), prepared, 8)

    def test_another_preparation(self, zoo, unfinished, tmp_path):
        plan = unfinished / "plan.txt"
        plan.write_text("something else")
        expected = "unfinished preparation of other files, or .*; to start over, delete"
        with pytest.raises(InputError, match=expected):
            load(zoo, tmp_path)
        assert plan.read_text() == "something else"

    def test_a_shard_that_is_damaged_is_written_again(
        self, zoo, prepared, unfinished, tmp_path, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(shards, "_finish", lambda *args: None)
            with pytest.raises(InputError, match="is not prepared"):
                load(zoo, tmp_path)
        first, second, *_ = sorted(unfinished.glob("*array_record*"))
        first.write_bytes(first.read_bytes()[:1000])
        second.write_bytes(b"")
        (unfinished / "lock").touch()  # of version 0.1
        check_complete(load(zoo, tmp_path), prepared, 8)


def test_a_preparation_of_version_0_1_is_not_continued(zoo, unfinished, tmp_path):
    """It would have stored lossy copies of what is not JPEG."""
    found = read_class_folders(zoo, "fail", None).files
    train, validation = (
        Files.in_order(split, files).digest() for split, files in found.items()
    )
    (unfinished / "plan.txt").write_text(
        "JPEG as it is, all else as RGB JPEG\n"
        f"train: {train}\nvalidation: {validation}\n"
    )
    with pytest.raises(InputError, match="with another conversion; to start over, del"):
        load(zoo, tmp_path)


def test_a_disk_that_is_too_small(zoo, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="about 0.0 GB more, but 0.0 GB are free"):
        load(zoo, tmp_path)


class TestSeveralProcesses:
    @pytest.fixture(autouse=True)
    def two_processes(self, monkeypatch):
        monkeypatch.setattr(shards, "_IMAGES_PER_PROCESS", 1)
        monkeypatch.setattr(shards, "count_cores", lambda: 2)

    @pytest.mark.heavy
    def test_they_write_the_same(self, zoo, prepared, tmp_path):
        builder = load(zoo, tmp_path)
        for split in ("train", "validation"):
            ours, expected = (
                {e["file_name"]: e["image"] for e in one.as_data_source(split)}
                for one in (builder, prepared)
            )
            assert list(ours) == list(expected)
            for name, image in ours.items():
                np.testing.assert_array_equal(image, expected[name])

    @pytest.mark.heavy
    def test_one_that_is_killed(self, zoo, prepared, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            killed = Conversion(image_folder.TO_STORED.description, die)
            patch.setattr(image_folder, "TO_STORED", killed)
            with pytest.raises(InputError, match="was killed .out of memory") as error:
                load(zoo, tmp_path)
        assert str(error.value).endswith("run the same command again to continue")
        check_complete(load(zoo, tmp_path), prepared, 2)


def die(content):
    signal.raise_signal(signal.SIGKILL)


def test_broken_images(tmp_path, capsys):
    folder = write_folder(tmp_path / "zoo", 2, 1)
    for name in ("cat/a.jpg", "eel/b.jpg"):
        (folder / "train" / name).write_bytes(b"half a download")
    with pytest.raises(InputError) as error:
        load(folder, tmp_path / "data")
    assert str(error.value).startswith("data.on_broken: image ")
    assert ".jpg (" in str(error) and "\n" not in str(error.value)
    assert str(error.value).endswith("set data.on_broken=skip to skip broken images")
    capsys.readouterr()
    builder = load(folder, tmp_path / "data", "skip")  # continues in the same folder
    assert builder.info.splits["train"].num_examples == 9
    out = "".join(capsys.readouterr())
    assert "broken    cat/a.jpg (cannot identify image" in out
    assert "broken    eel/b.jpg (" in out and "skipped, 2 so far" in out


def test_tfds_own_writer_needs_tensorflow_beyond_a_gigabyte(tmp_path, monkeypatch):
    """Why there is a writer of our own; if this fails, it may go."""
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 10)
    shuffler = shuffle.Shuffler(tmp_path, hash_salt="train")
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(ModuleNotFoundError):
        for index in range(3):
            shuffler.add(index, b"some bytes")
