"""Prepared copies that are damaged, foreign, in a full folder or prepared twice."""

import errno
import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, digits, fashion_mnist, image_folder, shapes
from alexnet_jax.data.preparation import damage as damages
from alexnet_jax.data.preparation import lock
from alexnet_jax.data.preparation.builder import decode
from alexnet_jax.data.preparation.sources import open_records
from alexnet_jax.errors import InputError, RunError
from tests.pictures import write_folder

SHARD = "digits-train.array_record-00000-of-00001"


def load(data_dir, name="digits", **settings):
    data = default_config().data
    data.name, data.data_dir = name, str(data_dir)
    data.stored_size = 16
    data.update(settings)
    return create_data(data, batch_size=8, eval_batch_size=8, seed=0)


@pytest.fixture
def copy(data_dir, tmp_path):
    """A prepared copy of the digits, to be damaged; no decoded ones."""
    folder = tmp_path / "digits" / "1.0.0"
    kept = shutil.ignore_patterns("*-decoded.npz")
    shutil.copytree(data_dir / "digits" / "1.0.0", folder, ignore=kept)
    return folder


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "info missing": lambda f: (f / "dataset_info.json").unlink(),
    "info empty": lambda f: (f / "dataset_info.json").write_text(""),
    "info truncated": lambda f: (f / "dataset_info.json").write_text('{"name": "dig'),
    "info a list": lambda f: (f / "dataset_info.json").write_text("[1]"),
    "info bytes": lambda f: (f / "dataset_info.json").write_bytes(b"\xff\xfe\0"),
    "info empty object": lambda f: (f / "dataset_info.json").write_text("{}"),
    "info a folder": lambda f: (
        (f / "dataset_info.json").unlink(),
        (f / "dataset_info.json").mkdir(),
    ),
    "another version": lambda f: edit(f, version="2.0.0"),
    "no splits": lambda f: edit(f, splits=[]),
    "fewer examples": lambda f: (f / "dataset_info.json").write_text(
        (f / "dataset_info.json").read_text().replace("1500", "1400")
    ),
    "unknown key": lambda f: edit(f, splitz=[]),
    "features missing": lambda f: (f / "features.json").unlink(),
    "features damaged": lambda f: (f / "features.json").write_text("{"),
    "info a pipe": lambda f: (
        (f / "dataset_info.json").unlink(),
        os.mkfifo(f / "dataset_info.json"),
    ),
    "record a pipe": lambda f: ((f / SHARD).unlink(), os.mkfifo(f / SHARD)),
    "labels a pipe": lambda f: os.mkfifo(f / "label.labels.txt"),
    "record missing": lambda f: (f / SHARD).unlink(),
    "record empty": lambda f: (f / SHARD).write_bytes(b""),
    "record truncated": lambda f: (f / SHARD).write_bytes(
        (f / SHARD).read_bytes()[:200_000]
    ),
    "record flipped": lambda f: flipped(f / SHARD, 1_000),
    "record of another": lambda f: shutil.copy(
        f / SHARD.replace("train", "test"), f / SHARD
    ),
    "everything gone": lambda f: [path.unlink() for path in f.iterdir()],
    "a file": lambda f: (shutil.rmtree(f), f.write_text("no folder")),
}


def edit(folder, **values):
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_digits_are_prepared_anew(self, damage, copy, data_dir, capsys):
        DAMAGES[damage](copy)
        found, expected = load(copy.parents[1]), load(data_dir)
        np.testing.assert_array_equal(found.train.image, expected.train.image)
        np.testing.assert_array_equal(found.test.label, expected.test.label)
        lines = capsys.readouterr().err.splitlines()
        (line,) = [line for line in lines if line.startswith("damaged")]
        assert str(copy) in line and "kept as 1.0.0.damaged" in line
        assert {path.name for path in copy.parent.iterdir()} == {
            "1.0.0",
            "1.0.0.damaged",
        }
        load(copy.parents[1])
        assert "damaged" not in capsys.readouterr().err

    @pytest.mark.heavy
    def test_nothing_that_was_kept_is_lost(self, copy, tmp_path):
        for content in ("mine", "{"):
            (copy.parent / "1.0.0.damaged").mkdir(exist_ok=True)
            (copy / "dataset_info.json").write_text("{")
            (copy / "features.json").write_text(content)
            load(tmp_path)
        kept = {path.name for path in copy.parent.iterdir()}
        assert kept == {
            "1.0.0",
            "1.0.0.damaged",
            "1.0.0.damaged-2",
            "1.0.0.damaged-3",
        }
        assert not list((copy.parent / "1.0.0.damaged").iterdir())

    @pytest.mark.parametrize("what", ["pipe", "zeros"])
    def test_a_decoded_copy_that_would_never_end(self, what, copy, tmp_path, data_dir):
        path = copy / "train-decoded.npz"
        if what == "pipe":
            path.symlink_to(tmp_path / "pipe")
            os.mkfifo(tmp_path / "pipe")
        else:
            zeros = np.zeros((400, 400, 400), np.uint8)
            np.savez_compressed(path, image=zeros, label=zeros)
        train = load(tmp_path).train
        np.testing.assert_array_equal(train.image, load(data_dir).train.image)

    @pytest.mark.parametrize("place", [*range(0, 80, 4), 70, *range(-150, 0, 5)])
    def test_a_decoded_copys_header(self, place, copy, data_dir):
        kept = copy / "test-decoded.npz"
        expected = decode(digits.load(copy.parents[1]), "test")
        flipped(kept, place)
        found = decode(digits.load(copy.parents[1]), "test")
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype

    def test_where_nothing_can_be_prepared_it_is_named_and_stays(
        self, copy, monkeypatch
    ):
        data_dir = copy.parents[1]
        folder = data_dir / "fashion_mnist" / "3.0.1"
        shutil.copytree(copy, folder)
        monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)

        def unreachable():
            raise fashion_mnist._unreachable("no network")

        monkeypatch.setattr(fashion_mnist, "_check_network", unreachable)
        with pytest.raises(InputError) as error:
            load(data_dir, "fashion_mnist")
        line = str(error.value)
        assert line.startswith(f"data.data_dir: {folder} is damaged (")
        assert "cannot be prepared anew: Fashion-MNIST cannot be down" in line
        assert "data.manual_dir" in line and "\n" not in line
        assert [path.name for path in folder.parent.iterdir()] == ["3.0.1"]

    def test_records_that_only_a_decoded_copy_replaces(self, copy, capsys):
        load(copy.parents[1])
        (copy / SHARD).unlink()
        assert len(load(copy.parents[1]).train.label) == 1500
        assert capsys.readouterr().err == ""

    def test_a_disk_that_cannot_be_read_is_no_damage(self, copy, monkeypatch):
        def refuse(*args):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(damages, "read_regular", refuse)
        with pytest.raises(InputError, match="cannot be read .Permission denied"):
            damages.check_features(copy)
        assert copy.exists()

    def test_a_folder_that_cannot_be_renamed(self, copy, monkeypatch):
        def refuse(self, target):
            raise OSError(errno.EROFS, "Read-only file system")

        (copy / "dataset_info.json").unlink()
        monkeypatch.setattr(Path, "rename", refuse)
        expected = "is damaged .dataset_info.json is missing. and cannot be replaced "
        with pytest.raises(InputError, match=expected + ".Read-only file system"):
            load(copy.parents[1])

    @pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "train"])
    def test_a_folder_of_images(self, name, tmp_path, capsys):
        """Files that are missing or damaged are seen before the first batch."""
        source = str(write_folder(tmp_path / "zoo", 3, 1))
        folder = load(tmp_path, "image_folder", manual_dir=source).folder
        (path,) = folder.glob(f"*{name}*")
        path.unlink() if name == "train" else path.write_text("{")
        again = load(tmp_path, "image_folder", manual_dir=source)
        assert again.train.batch(0)["mask"].all()
        assert f"damaged   {folder} (" in capsys.readouterr().err
        again.close()

    @pytest.mark.parametrize("how", ["flipped", "truncated"])
    def test_records_of_a_folder_of_images(self, how, tmp_path):
        source = str(write_folder(tmp_path / "zoo", 3, 1))
        folder = load(tmp_path, "image_folder", manual_dir=source).folder
        (path,) = folder.glob("*train.array_record*")
        if how == "flipped":
            flipped(path, 1_000)
        else:
            path.write_bytes(path.read_bytes()[:-70_000])
        data = load(tmp_path, "image_folder", manual_dir=source)
        with pytest.raises(RunError, match=f"{folder} cannot be read") as error:
            data.train.batch(0)
        assert "\n" not in str(error.value)
        data.close()


class TestForeignFeatures:
    """`features.json` names classes, whose modules TFDS imports."""

    @pytest.fixture
    def zoo(self, tmp_path):
        source = write_folder(tmp_path / "zoo", 1, 1)
        builder = image_folder.load(tmp_path / "data", str(source), "fail")
        return Path(builder.data_path)

    @staticmethod
    def refused(folder, features, tmp_path, monkeypatch):
        (tmp_path / "hostile.py").write_text("raise SystemError('imported')")
        monkeypatch.syspath_prepend(tmp_path)
        (folder / "features.json").write_text(json.dumps(features))
        source = str(tmp_path / "zoo")
        for call in (
            lambda: open_records(folder, "train"),
            lambda: image_folder.load(tmp_path / "data", source, "fail"),
        ):
            with pytest.raises(InputError) as error:
                call()
            line = str(error.value)
            assert f"{folder / 'features.json'} names the feature 'hostile.F" in line
            assert "\n" not in line and "hostile" not in sys.modules

    @pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
    @pytest.mark.parametrize("place", ["outer", "inner"])
    def test_by_protobuf(self, key, place, zoo, tmp_path, monkeypatch):
        features = json.loads((zoo / "features.json").read_text())
        inner = features["featuresDict"]["features"]["label"]
        one = features if place == "outer" else inner
        del one["pythonClassName"]
        one[key] = "hostile.Feature"
        self.refused(zoo, features, tmp_path, monkeypatch)

    @pytest.mark.parametrize("as_text", [False, True])
    def test_by_the_old_form(self, as_text, zoo, tmp_path, monkeypatch):
        inner = {"type": "hostile.Feature", "content": {}}
        content = {"image": inner}
        name = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
        features = {"type": name, "content": content}
        if as_text:  # a Protobuf message inside of a string
            proto = {"features": {"image": {"pythonClassName": "hostile.Feature"}}}
            features["content"] = json.dumps(proto)
            features["proto_cls"] = "tensorflow_datasets.FeaturesDict"
        self.refused(zoo, features, tmp_path, monkeypatch)

    def test_within_the_json_of_a_feature(self, zoo, tmp_path, monkeypatch):
        inner = {"image": {"type": "hostile.Feature", "content": {}}}
        features = {
            "pythonClassName": (
                "tensorflow_datasets.core.features.features_dict.FeaturesDict"
            ),
            "jsonFeature": {"json": json.dumps(inner)},
        }
        self.refused(zoo, features, tmp_path, monkeypatch)

    def test_what_tfds_writes_in_either_form_is_opened(self, zoo):
        builder = open_records(zoo, "train")
        assert len(builder) == 6
        features = image_folder.ImageFolder(
            data_dir=zoo.parents[2],
            config=image_folder.FolderConfig(
                name=zoo.parent.name, class_names=("cat", "dog", "eel")
            ),
        ).info.features
        (zoo / "features.json").write_text(json.dumps(features.to_json()))
        assert len(open_records(zoo, "train")) == 6


class TestFullFolder:
    @pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EIO", "EROFS"])
    @pytest.mark.parametrize("name", ["write_to_directory", "_generate_examples"])
    def test_digits(self, number, name, tmp_path, monkeypatch):
        def full(*args, **options):
            code = getattr(errno, number)
            raise OSError(code, errno.errorcode[code])

        owner = digits.Digits
        if name == "write_to_directory":
            owner = digits.tfds.core.DatasetInfo
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(InputError) as error:
                digits.load(tmp_path)
        folder = tmp_path / "digits" / "1.0.0"
        line = str(error.value)
        assert f"data.data_dir: {folder} cannot be written ({number})" in line
        assert "\n" not in line and not list(tmp_path.glob("digits/*"))
        assert digits.load(tmp_path).info.splits["train"].num_examples == 1500

    def test_array_records_own_error(self, tmp_path, monkeypatch):
        def full(*args):
            raise RuntimeError("write() failed: No space left on device [28]")

        with monkeypatch.context() as patch:
            patch.setattr(digits.Digits, "_generate_examples", full)
            with pytest.raises(InputError, match="cannot be written .write.. failed"):
                digits.load(tmp_path)
        digits.load(tmp_path)

    def test_what_a_killed_process_left_is_removed(self, tmp_path):
        left = tmp_path / "digits" / "incomplete.ABC123_1.0.0"
        left.mkdir(parents=True)
        digits.load(tmp_path)
        assert [path.name for path in left.parent.iterdir()] == ["1.0.0"]

    def test_shapes_that_are_half_drawn(self, tmp_path, monkeypatch):
        drawn = []

        def full(*args):
            drawn.append(args)
            if len(drawn) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return np.zeros((9, 9, 3), np.uint8)

        monkeypatch.setattr(shapes, "_PER_CLASS", {"train": 1, "val": 1})
        with monkeypatch.context() as patch:
            patch.setattr(shapes, "draw", full)
            with pytest.raises(InputError, match="shapes cannot be written .No space"):
                shapes.load(tmp_path, "fail")
        assert not list(tmp_path.iterdir())
        assert shapes.load(tmp_path, "fail").info.splits["train"].num_examples == 4


def prepare_digits(data_dir, started):
    started.set()
    digits.load(data_dir)


class TestTwoAtOnce:
    @pytest.mark.heavy
    def test_the_second_waits_and_uses_it(self, tmp_path, capfd):
        folder = tmp_path / "digits" / "1.0.0"
        context = multiprocessing.get_context("spawn")
        started = context.Event()
        other = context.Process(target=prepare_digits, args=(tmp_path, started))
        with lock.preparation_lock(folder):
            other.start()
            assert started.wait(60)
            other.join(1)
            assert other.is_alive()
            # As this process would leave it.
            written = digits.load(tmp_path / "elsewhere").data_path
            shutil.copytree(written, folder)
        other.join(60)
        assert other.exitcode == 0
        out = capfd.readouterr().out
        assert out.count(f"waiting   another process is preparing {folder}") == 1
        assert out.count("preparing digits") == 1
        assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]

    def test_a_lock_that_is_a_link(self, tmp_path):
        (tmp_path / "digits").mkdir()
        (tmp_path / "digits" / "1.0.0.lock").symlink_to(tmp_path / "theirs")
        with pytest.raises(InputError, match="data.data_dir: .* cannot be written"):
            load(tmp_path)
        assert not (tmp_path / "theirs").exists()

    def test_a_lock_whose_process_was_killed(self, tmp_path, capsys):
        path = tmp_path / "digits" / "1.0.0.lock"
        path.parent.mkdir()
        path.write_text("12345")
        digits.load(tmp_path)
        assert "waiting" not in capsys.readouterr().out and not path.exists()

    @pytest.mark.parametrize("number", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
    def test_without_locks(self, number, tmp_path, monkeypatch, capsys):
        def refuse(file, operation):
            raise OSError(getattr(errno, number), "no locks")

        monkeypatch.setattr(lock.fcntl, "flock", refuse)
        digits.load(tmp_path)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("warning   ") and "cannot be locked (no locks)" in line

    def test_without_locks_the_first_to_finish_is_used(
        self, copy, tmp_path, monkeypatch, capsys
    ):
        def finish_second(builder):
            shutil.copytree(copy, builder.data_path)
            prepare(builder)
            raise lock.unwritable(builder.data_path, OSError("not empty"))

        prepare = digits.prepare
        monkeypatch.setattr(digits, "prepare", finish_second)
        builder = digits.load(tmp_path / "other")
        assert builder.info.splits["train"].num_examples == 1500

    def test_the_lock_is_given_up_after_an_error(self, tmp_path):
        for _ in range(2):
            with pytest.raises(KeyError), lock.preparation_lock(tmp_path / "one"):
                raise KeyError
        with pytest.raises(KeyError), lock.preparation_lock(tmp_path / "a" / "b" / "c"):
            raise KeyError
        assert not list(tmp_path.iterdir())
