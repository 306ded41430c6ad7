import io
import shutil
import tarfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, imagenet
from alexnet_jax.data.preparation.jpeg import Conversion
from alexnet_jax.errors import InputError
from tests.pictures import picture, pixels

CLASSES = Path(imagenet_common.label_names_file()).read_text().split()
# Two of the files that TFDS converts, by their real names.
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
    @pytest.mark.heavy
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
    @pytest.mark.heavy
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

        monkeypatch.setattr(imagenet, "_SHRUNK", Conversion("once", once))
        builder = imagenet.load_256(tmp_path, str(tars), "fail")
        assert not (tmp_path / "imagenet2012").exists()
        pairs = zip(examples(builder, "train"), examples(small, "train"), strict=True)
        for ours, theirs in pairs:
            name = ours["file_name"].decode()
            assert theirs["file_name"].decode() == name
            assert ours["image"] == theirs["image"] or name in (CMYK, PNG)

    def test_what_the_large_ones_lack_is_lacked(self, tmp_path):
        broken = {**VALIDATION, "ILSVRC2012_val_00000003.JPEG": b"no image"}
        (tmp_path / "tars").mkdir()
        tars = write_tars(tmp_path / "tars", validation=broken)
        imagenet.load(tmp_path, str(tars), "skip")
        with pytest.raises(InputError) as error:
            imagenet.load_256(tmp_path, None, "fail")
        assert f"{tmp_path}/imagenet2012/5.1.0 lacks 1 image that" in str(error.value)
        assert not (tmp_path / "imagenet2012_256/1.0.0").exists()
        small = imagenet.load_256(tmp_path, None, "skip")
        assert small.info.splits["validation"].num_examples == len(VALIDATION) - 1
        with pytest.raises(InputError) as error:
            imagenet.load_256(tmp_path, None, "fail")
        assert "imagenet2012_256/1.0.0 lacks 1 image that" in str(error.value)


class TestBadTars:
    def refused(self, folder, tmp_path):
        data_dir = tmp_path / "data"
        with pytest.raises(InputError) as error:
            imagenet.load(data_dir, folder and str(folder), "fail")
        assert not data_dir.exists() and "\n" not in str(error.value)
        assert str(error.value).startswith("data.manual_dir")
        return str(error.value)

    def test_missing(self, tars, tmp_path):
        assert "must be set, since ImageNet cannot be downl" in self.refused(
            None, tmp_path
        )
        name = imagenet.TARS["validation"]
        shutil.copy(tars / name, tmp_path)
        line = self.refused(tmp_path, tmp_path)
        assert (
            "does not contain ILSVRC2012_img_train.tar; it must contain" in line
            and name in line
        )

    @pytest.mark.parametrize("name", imagenet.TARS.values())
    @pytest.mark.parametrize("share", [0.5, 0.0])
    def test_truncated(self, tars, tmp_path, name, share):
        for path in tars.iterdir():
            shutil.copy(path, tmp_path)
        content = (tars / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(share * len(content)) + 100])
        line = self.refused(tmp_path, tmp_path)
        assert f"{tmp_path / name} is truncated or not a tar file (" in line

    def test_cut_between_two_classes(self, tmp_path):
        write_tars(tmp_path, CLASSES[:-1])
        line = self.refused(tmp_path, tmp_path)
        assert "must contain 1000 classes; got 999 (the first that is missing" in line
        assert f"{CLASSES[-1]}); download it again" in line

    def test_a_class_without_images(self, tmp_path):
        write_tars(tmp_path, empty=CLASSES[3])
        line = self.refused(tmp_path, tmp_path)
        assert (
            f"class {CLASSES[3]} in {tmp_path}" in line and "contains no images" in line
        )

    def test_too_few_validation_images(self, tmp_path):
        write_tars(tmp_path, CLASSES[:1], validation={"a.JPEG": GREY})
        assert "must contain 6 images; got 1" in self.refused(tmp_path, tmp_path)
