import contextlib
import fcntl
import io
import resource
import shutil
import signal
import tarfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.utils.shard_utils import ShardConfig
from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, imagenet
from alexnet_jax.data.preparation import shards
from alexnet_jax.errors import InputError
from tests.pictures import picture, pixels

CLASSES = Path(imagenet_common.label_names_file()).read_text().split()
# Two of the files that TFDS mends, by their real names.
CMYK, PNG = "n01739381_1309.JPEG", "n02105855_2933.JPEG"
VALIDATION = {
    f"ILSVRC2012_val_{index:08}.JPEG": picture(index) for index in range(1, 7)
}
ORDINARY = [picture(seed) for seed in range(10)]
GREY = picture(11, mode="L")


def train_images(name):
    """The files of a class: one, and a stray in two of the classes."""
    index = CLASSES.index(name)
    files = {f"{name}_1.JPEG": GREY if index == 5 else ORDINARY[index % 10]}
    if CMYK.startswith(name):
        files[CMYK] = picture(20, mode="CMYK")
    if PNG.startswith(name):
        files[PNG] = picture(21, kind="PNG")
    return files


def tar(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def write_tars(folder, classes=CLASSES, empty=None, validation=VALIDATION):
    inner = {
        f"{name}.tar": tar({} if name == empty else train_images(name))
        for name in classes
    }
    (folder / imagenet.TARS["train"]).write_bytes(tar(inner))
    # In another order than that of the labels, as the real one is.
    backwards = dict(reversed(validation.items()))
    (folder / imagenet.TARS["validation"]).write_bytes(tar(backwards))
    return folder


@pytest.fixture(scope="module", autouse=True)
def six_validation_labels():
    labels = imagenet.validation_labels()
    assert len(labels) == 50_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "validation_labels", lambda: labels[: len(VALIDATION)])
        yield labels[: len(VALIDATION)]


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    return write_tars(tmp_path_factory.mktemp("tars"))


@pytest.fixture(scope="module")
def prepared(tars, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    imagenet.load(folder, str(tars), "fail")
    return folder


def examples(builder, split):
    decoders = {"image": tfds.decode.SkipDecoding()}
    return list(builder.as_data_source(split, decoders=decoders))


class TestAsTfdsHasIt:
    def test_tfds_reads_it_as_its_own(self, prepared, six_validation_labels):
        builder = tfds.builder("imagenet2012", data_dir=prepared)
        assert builder.info.full_name == "imagenet2012/5.1.0"
        train = {e["file_name"].decode(): e for e in examples(builder, "train")}
        assert len(train) == builder.info.splits["train"].num_examples == 1002
        names = builder.info.features["label"].names
        for name, example in train.items():
            assert names[example["label"]] == name.partition("_")[0]
            content = train_images(name.partition("_")[0])[name]
            if name in (CMYK, PNG):
                error = pixels(example["image"]).astype(int) - pixels(content)
                assert example["image"][:2] == b"\xff\xd8" and abs(error).mean() < 3
            else:
                assert example["image"] == content  # the very bytes
        found = {
            e["file_name"].decode(): names[e["label"]]
            for e in examples(builder, "validation")
        }
        assert found == dict(zip(VALIDATION, six_validation_labels, strict=True))
        decoded = builder.as_data_source("validation")[0]
        assert decoded["image"].shape == (30, 40, 3)

    def test_the_order_is_that_of_tfds(self, prepared, tmp_path):
        builder = tfds.builder("imagenet2012", data_dir=prepared)
        shuffler = shuffle.Shuffler(tmp_path, hash_salt="train")
        for name in (name for label in CLASSES for name in train_images(label)):
            shuffler.add(name, name.encode())
        expected = [name for _, name in shuffler]
        assert [e["file_name"] for e in examples(builder, "train")] == expected

    def test_our_reader(self, prepared):
        config = default_config().data
        config.name, config.data_dir = "imagenet2012", str(prepared)
        config.stored_size = 32
        data = create_data(config, batch_size=100, eval_batch_size=4, seed=0)
        train, test, spec = data.train, data.test, data.spec
        assert spec.class_names == tuple(CLASSES) and len(spec.class_names) == 1000
        assert spec.name == "imagenet2012 5.1.0" and spec.image_shape == (32, 32, 3)
        assert (train.num_examples, len(train), len(test)) == (1002, 11, 2)
        batch = test.batch(1)
        builder = tfds.builder("imagenet2012", data_dir=prepared)
        validation = examples(builder, "validation")
        assert batch["label"][:2].tolist() == [e["label"] for e in validation[4:]]
        assert batch["mask"].tolist() == [True, True, False, False]
        data.close()


@pytest.fixture(scope="module")
def small(prepared):
    imagenet.load_256(prepared, None, "fail")  # the tars are not needed
    return tfds.builder_from_directory(prepared / "imagenet2012_256" / "1.0.0")


class TestAt256Pixels:
    def test_every_image_is_there_with_a_short_side_of_256(self, prepared, small):
        large = tfds.builder("imagenet2012", data_dir=prepared)
        for split in ("train", "validation"):
            pairs = zip(examples(large, split), examples(small, split), strict=True)
            for number, (before, after) in enumerate(pairs):
                assert after["file_name"] == before["file_name"]
                assert after["label"] == before["label"]
                if number < 20:
                    assert pixels(after["image"]).shape == (256, 341, 3)

    def test_from_the_tars(self, tars, small, tmp_path, monkeypatch):
        shrunk = dict[bytes, bytes]()

        def once(content):  # most images are the same ten
            if content not in shrunk:
                shrunk[content] = imagenet.shrink(content, 256, 85)
            return shrunk[content]

        recipe = shards.Recipe("once", once)
        monkeypatch.setattr(imagenet, "_SHRUNK", recipe)
        builder = imagenet.load_256(tmp_path, str(tars), "fail")
        assert not (tmp_path / "imagenet2012").exists()
        pairs = zip(examples(builder, "train"), examples(small, "train"), strict=True)
        for ours, theirs in pairs:
            name = ours["file_name"].decode()
            assert theirs["file_name"].decode() == name
            assert ours["image"] == theirs["image"] or name in (CMYK, PNG)


class TestBadTars:
    def refused(self, folder, tmp_path):
        data_dir = tmp_path / "data"
        with pytest.raises(InputError) as error:
            imagenet.load(data_dir, folder and str(folder), "fail")
        assert not data_dir.exists() and "\n" not in str(error.value)
        assert str(error.value).startswith("data.manual_dir")
        return str(error.value)

    def test_missing(self, tars, tmp_path):
        assert "not set, and ImageNet cannot be downl" in self.refused(None, tmp_path)
        name = imagenet.TARS["validation"]
        shutil.copy(tars / name, tmp_path)
        line = self.refused(tmp_path, tmp_path)
        assert "lacks ILSVRC2012_img_train.tar; it must hold" in line and name in line

    @pytest.mark.parametrize("name", imagenet.TARS.values())
    @pytest.mark.parametrize("share", [0.5, 0.0])
    def test_half_copied(self, tars, tmp_path, name, share):
        for path in tars.iterdir():
            shutil.copy(path, tmp_path)
        content = (tars / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(share * len(content)) + 100])
        line = self.refused(tmp_path, tmp_path)
        assert f"{tmp_path / name} is cut short or no tar (" in line

    def test_cut_between_two_classes(self, tmp_path):
        write_tars(tmp_path, CLASSES[:-1])
        line = self.refused(tmp_path, tmp_path)
        assert f"must hold 1000 classes; got 999 ({CLASSES[-1]} is one too few" in line

    def test_a_class_without_images(self, tmp_path):
        write_tars(tmp_path, empty=CLASSES[3])
        line = self.refused(tmp_path, tmp_path)
        assert f"class {CLASSES[3]} in {tmp_path}" in line and "holds no image" in line

    def test_too_few_validation_images(self, tmp_path):
        write_tars(tmp_path, CLASSES[:1], validation={"a.JPEG": GREY})
        assert "must hold 6 images; got 1" in self.refused(tmp_path, tmp_path)


class TestPreparing:
    @pytest.fixture
    def four_shards(self, monkeypatch):
        monkeypatch.setattr(shards, "SHARDS", ShardConfig(num_shards=4))

    def whole(self, builder, prepared):
        expected = tfds.builder("imagenet2012", data_dir=prepared)
        for split in ("train", "validation"):
            assert examples(builder, split) == examples(expected, split)
        names = [path.name for path in Path(builder.data_path).iterdir()]
        assert not [name for name in names if name.startswith(("plan", "lock"))]
        assert sum("array_record" in name for name in names) == 8

    def test_what_a_killed_run_left_is_gone_on_with(
        self, tars, prepared, tmp_path, four_shards, monkeypatch, capsys
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
            imagenet.load(tmp_path, str(tars), "fail")
        assert not (tmp_path / "imagenet2012" / "5.1.0").exists()
        monkeypatch.setattr(
            shards,
            "write_shard",
            lambda shard: (written.append(shard.path.name), write_shard(shard))[1],
        )
        builder = imagenet.load(tmp_path, str(tars), "fail")
        assert len(written) == len(set(written)) == 8
        assert "5.1.0, 3 of 8 shards are there" in capsys.readouterr().out
        self.whole(builder, prepared)

    def test_a_disk_that_fills(self, tars, prepared, tmp_path, four_shards):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(InputError) as error:
                imagenet.load(tmp_path, str(tars), "fail")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert "data.data_dir: " in str(error.value)
        assert "cannot be written (write() failed: File too large" in str(error.value)
        assert "the same command goes on" in str(error.value)
        begun = tmp_path / "imagenet2012" / "5.1.0.incomplete"
        assert not list(begun.glob("*.part"))
        self.whole(imagenet.load(tmp_path, str(tars), "fail"), prepared)

    def test_a_disk_that_is_too_small(self, tars, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)._replace(free=500_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(InputError, match="about 0.0 GB more, and 0.0 GB are free"):
            imagenet.load(tmp_path, str(tars), "fail")

    def test_another_preparations_beginning(self, tars, tmp_path):
        begun = tmp_path / "imagenet2012" / "5.1.0.incomplete"
        begun.mkdir(parents=True)
        (begun / "plan.txt").write_text("something else")
        with pytest.raises(InputError, match="beginning of another preparation"):
            imagenet.load(tmp_path, str(tars), "fail")
        assert (begun / "plan.txt").read_text() == "something else"

    def test_two_at_a_time(self, tars, tmp_path):
        begun = tmp_path / "imagenet2012" / "5.1.0.incomplete"
        begun.mkdir(parents=True)
        with (begun / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(InputError, match="another run is preparing"):
                imagenet.load(tmp_path, str(tars), "fail")


def test_tfds_own_writer_needs_tensorflow_beyond_a_gigabyte(tmp_path, monkeypatch):
    """Why there is a writer of our own; if this fails, it may go."""
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 10)
    shuffler = shuffle.Shuffler(tmp_path, hash_salt="train")
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(ModuleNotFoundError):
        for index in range(3):
            shuffler.add(index, b"some bytes")
