"""Data sets of TFDS by name, as they lie prepared on a disk."""

import json
import logging
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from alexnet_jax import data as alexnet_data
from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, open_data_set, prepare
from alexnet_jax.errors import InputError
from tests.tfds_copies import image_of, write_copy

FEATURES = tfds.features


def load(data_dir, name, seed=0, **settings):
    data = default_config().data
    data.name, data.data_dir, data.stored_size = name, str(data_dir), 24
    data.update(settings)
    return create_data(data, batch_size=8, eval_batch_size=8, seed=seed)


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_images_of_one_size_are_held_in_memory(tmp_path):
    folder = write_copy(tmp_path, "mnist", version="3.0.1")
    before = listing(Path(folder))
    data = load(tmp_path, "tfds/mnist")
    assert data.spec.name == "mnist 3.0.1" and data.folder == Path(folder)
    assert data.spec.image_shape == (28, 28, 1)
    assert data.spec.class_names == tuple(map(str, range(10)))
    for split, seed in ((data.train, 0), (data.test, 1)):
        expected = {image_of(seed, i, (28, 28, 1)).tobytes(): i % 10 for i in range(40)}
        assert {len(split.image)} < {20, 40}
        for image, label in zip(split.image, split.label, strict=True):
            assert expected[image.tobytes()] == label
    data = load(tmp_path, "tfds/mnist:3.*.*")  # the decoded copy
    assert len(data.train.image) == 40
    assert listing(Path(folder)) == before  # nothing is written to what is TFDS's


def test_colors_configs_and_other_features(tmp_path):
    write_copy(
        tmp_path,
        "cifar10",
        (32, 32, 3),
        more={"id": (FEATURES.Text(), "train_{}".format)},
    )
    assert load(tmp_path, "tfds/cifar10").spec.image_shape == (32, 32, 3)
    write_copy(tmp_path, "emnist", config="letters", version="3.1.0")
    assert load(tmp_path, "tfds/emnist/letters").spec.name == "emnist/letters 3.1.0"
    with pytest.raises(InputError, match=r"names no config; prepared .* tfds/emnist/l"):
        load(tmp_path, "tfds/emnist")
    write_copy(tmp_path, "unheard_of", config="only")
    assert load(tmp_path, "tfds/unheard_of").train.num_examples == 40
    numbers = FEATURES.Sequence(FEATURES.ClassLabel(num_classes=3)), lambda index: [1]
    write_copy(
        tmp_path,
        "smallnorb",
        keys=("image", "label_category"),
        more={
            "image2": (FEATURES.Image(shape=(28, 28, 1)), lambda i: picture(28)),
            "label_azimuth": (FEATURES.ClassLabel(num_classes=3), lambda i: 0),
            "numbers": numbers,
        },
    )
    assert len(load(tmp_path, "tfds/smallnorb").spec.class_names) == 10


def picture(side):
    from PIL import Image

    return Image.new("L", (side, side))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_are_streamed(channels, tmp_path):
    folder = write_copy(tmp_path, "flowers", (None, None, channels), version="2.0.0")
    before = listing(Path(folder))
    data = load(tmp_path, "tfds/flowers")
    assert data.train.image_shape == (24, 24, channels)
    batch = data.train.batch(0)
    assert batch["image"].shape == (8, 24, 24, channels) and batch["mask"].all()
    assert data.spec.statistics.mean.shape == (channels,)
    assert listing(Path(folder)) == before
    data.close()
    (kept,) = (tmp_path / "alexnet_jax" / "tfds" / "flowers").glob("2.0.0-*/*.npz")
    assert "statistics" in kept.name


def test_too_many_images_for_memory_are_streamed_at_their_size(
    tmp_path, monkeypatch, capsys
):
    write_copy(tmp_path, "mnist")
    held = load(tmp_path, "tfds/mnist")
    monkeypatch.setattr(alexnet_data, "_MEMORY_BYTES", 10_000)
    data = load(tmp_path, "tfds/mnist")
    assert "read from disk, not held in memory" in capsys.readouterr().out
    for step in range(3):
        for ours, theirs in ((data.train, held.train), (data.test, held.test)):
            got, wanted = ours.batch(step), theirs.batch(step)
            for key in wanted:
                np.testing.assert_array_equal(got[key], wanted[key])
    data.close()


def test_the_newest_version_that_can_be_read(tmp_path):
    write_copy(tmp_path, "mnist", version="3.0.1")
    write_copy(tmp_path, "mnist", version="3.0.10")
    assert load(tmp_path, "tfds/mnist").spec.name == "mnist 3.0.10"
    assert load(tmp_path, "tfds/mnist:3.0.1").spec.name == "mnist 3.0.1"
    info = tmp_path / "mnist" / "3.0.10" / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    assert load(tmp_path, "tfds/mnist").spec.name == "mnist 3.0.1"
    with pytest.raises(InputError) as error:
        load(tmp_path, "tfds/mnist:3.0.10")
    command = f"tfds convert_format --dataset_version_dir={info.parent} --out_file_"
    assert command in str(error.value)
    edited = json.loads(info.read_text()) | {"alternativeFileFormats": ["array_record"]}
    info.write_text(json.dumps(edited))
    assert load(tmp_path, "tfds/mnist").spec.name == "mnist 3.0.10"


def test_which_split_is_measured(tmp_path):
    splits = {"train": 30, "validation": 10, "test": 20, "extra": 5}
    write_copy(tmp_path, "one", splits=splits)
    assert load(tmp_path, "tfds/one").test.num_examples == 20
    write_copy(tmp_path, "two", splits={"train": 30, "validation": 10, "unlabelled": 5})
    assert load(tmp_path, "tfds/two").test.num_examples == 10
    write_copy(tmp_path, "three", splits={"test": 30})
    with pytest.raises(InputError, match="three/1.0.0 has no training images; its spl"):
        load(tmp_path, "tfds/three")
    write_copy(tmp_path, "four", splits={"train": 30})
    with pytest.raises(InputError, match=r"^data.val_share: four/1.0.0 has no val"):
        load(tmp_path, "tfds/four")
    data = load(tmp_path, "tfds/four", val_share=0.34)
    assert (data.train.num_examples, data.test.num_examples) == (20, 10)
    write_copy(tmp_path, "five", splits={"train": 30, "eval": 6, "extra": 5})
    with pytest.raises(InputError, match=r"val_share=.*other splits, eval, extra, non"):
        load(tmp_path, "tfds/five")
    assert load(tmp_path, "tfds/five", val_share=0.34).test.num_examples == 10
    with pytest.raises(InputError, match=r"^data.val_share: one/1.0.0 has a test part"):
        load(tmp_path, "tfds/one", val_share=0.2)


def test_unpublished_answers(tmp_path):
    """TFDS gives the class -1 to the test images of ImageNet and Places."""
    splits = {"train": 30, "validation": 10, "test": 20}
    folder = Path(write_copy(tmp_path, "places", splits=splits))
    other = write_copy(tmp_path / "x", "places", splits=splits, label=lambda index: -1)
    (shard,) = Path(other).glob("places-test*")
    shutil.copy(shard, folder / shard.name)
    assert load(tmp_path, "tfds/places").test.num_examples == 10
    with pytest.raises(InputError, match="has 30 examples without a class in train"):
        load(tmp_path / "x", "tfds/places")


SEVERAL = FEATURES.Sequence(FEATURES.ClassLabel(num_classes=3)), lambda index: [0, 2]
POINT = FEATURES.Tensor(shape=(2,), dtype=np.float32), lambda i: np.zeros(2, np.float32)
CLASS = FEATURES.ClassLabel(num_classes=2), lambda index: 0


@pytest.mark.parametrize(
    ("supervised", "more", "reason"),
    [
        (("photo", "points"), {"points": POINT}, "which feature is one class"),
        (("photo", "tags"), {"tags": SEVERAL}, "which feature is one class"),
        (None, {"species": CLASS}, "which feature is one class"),
        (("sound", "kind"), {"sound": POINT}, "which feature is an image"),
    ],
)
def test_what_is_no_classification(supervised, more, reason, tmp_path):
    keys = "photo", "kind"
    write_copy(tmp_path, "odd", keys=keys, supervised=supervised, more=more)
    with pytest.raises(InputError) as error:
        load(tmp_path, "tfds/odd")
    line = str(error.value)
    assert "odd/1.0.0 is no data set of images with one class each" in line
    assert f"it does not say {reason}" in line and "photo (Image)" in line


def test_features_of_other_names(tmp_path):
    write_copy(tmp_path, "one", keys=("photo", "kind"))
    write_copy(tmp_path, "two", keys=("photo", "kind"), supervised=None)
    write_copy(tmp_path, "three", supervised=None, more={"species": CLASS})
    for name in ("one", "two", "three"):
        assert len(load(tmp_path, f"tfds/{name}").spec.class_names) == 10


@pytest.mark.parametrize("damage", ["info", "shard", "record", "features"])
def test_a_damaged_copy_is_named_and_left(damage, tmp_path):
    folder = Path(write_copy(tmp_path, "mnist", splits={"train": 400, "test": 10}))
    (shard,) = folder.glob("mnist-train*")
    if damage == "info":
        (folder / "dataset_info.json").write_text("{")
    elif damage == "shard":
        shard.unlink()
    elif damage == "features":
        (folder / "features.json").unlink()
    else:
        content = bytearray(shard.read_bytes())
        content[1000:1100] = bytes(100)
        shard.write_bytes(content)
    before = listing(tmp_path / "mnist")
    with pytest.raises(InputError) as error:
        load(tmp_path, "tfds/mnist")
    line = str(error.value)
    assert f"{folder} is damaged (" in line and "prepare it again with TFDS" in line
    assert "delete" not in line and listing(tmp_path / "mnist") == before


NAMES = {
    "tfds/": "data.name must be tfds/NAME[/CONFIG][:VERSION], such as tfds/mnist",
    "tfds/../mnist": "data.name must be tfds/NAME[/CONFIG][:VERSION], such as",
    "tfds/mnist/..": "data.name must be tfds/NAME[/CONFIG][:VERSION], such as",
    "tfds/mnist:three": "data.name must be tfds/NAME[/CONFIG][:VERSION], such as",
    "tfds/minst": "has no data set 'minst', and none is prepared in .*tfds/mnist",
    "tfds/imagenette/160": "tfds/imagenette has no config '160'; it has .*160px",
    "tfds/mnist:1.0.0": "not prepared in .* prepares version 3",
    "tfds/MNIST": "no data set 'MNIST'; did you mean tfds/mnist\\?",
    "tfds/Mnist:3.0.1": "no data set 'Mnist'; did you mean tfds/mnist\\?",
    "tfds/EMNIST/letters": "did you mean tfds/emnist/letters\\?",
    "tfds/CIFAR_10": "did you mean tfds/cifar10\\?",
    "tfds/COCO/2017": "did you mean tfds/coco/2017\\?",
    "tfds:mnist": "data.name: there is no module 'tfds'; did you mean tfds/mnist\\?",
    "tfds/imdb_reviews": "is no data set of images with one class each",
    "mnist": "data.name must be one of .* did you mean tfds/mnist",
    "cifar": "data.name must be one of .* did you mean tfds/cifar10",
    "digit": "data.name must be one of .* did you mean digits",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_none(name, tmp_path):
    with pytest.raises(InputError, match=NAMES[name].replace("[", r"\[")) as error:
        load(tmp_path, name)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mnist", "cifar10", "emnist/letters", "eurosat/rgb"])
def test_what_tensorflow_must_prepare(name, tmp_path, error_line):
    line = error_line(prepare.main, f"tfds/{name}", f"--data-dir={tmp_path}")
    assert f"error: data.name: tfds/{name} is not prepared in {tmp_path}, and " in line
    command = f"tfds build {name} --file_format=array_record --data_dir={tmp_path}"
    assert command in line and not list(tmp_path.iterdir())


def test_one_that_tfds_prepares_without_tensorflow(tmp_path, monkeypatch, capsys):
    """Arrays, too, are encoded without it."""

    class Knots(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=FEATURES.FeaturesDict(
                    {
                        "image": FEATURES.Image(shape=(8, 8, 3)),
                        "label": FEATURES.ClassLabel(names=["a", "b"]),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {"train": self.examples(8), "test": self.examples(4)}

        def _generate_examples(self):
            raise NotImplementedError

        def examples(self, count):
            for index in range(count):
                image = image_of(0, index, (8, 8, 3))
                yield index, {"image": image, "label": index % 2}

    prepare.main(["tfds/knots", f"--data-dir={tmp_path}"])
    assert "ready     knots 1.0.0, 8 train, 4 test images" in capsys.readouterr().out
    data = load(tmp_path, "tfds/knots")
    expected = {image_of(0, index, (8, 8, 3)).tobytes() for index in range(8)}
    assert {image.tobytes() for image in data.train.image} == expected
    config = default_config().data
    config.name, config.data_dir = "tfds/knots", str(tmp_path)
    assert open_data_set(config).data_path == data.folder


@pytest.mark.parametrize("name", ["coco/2017", "nsynth"])
def test_one_whose_code_needs_tensorflow(name, tmp_path, error_line):
    line = error_line(prepare.main, f"tfds/{name}", f"--data-dir={tmp_path}")
    assert f"tfds/{name} is not prepared" in line and "needs TensorFlow" in line
    assert "kwargs" not in line and not list(tmp_path.iterdir())


@pytest.fixture
def burls():
    """A data set of TFDS's that is downloaded."""

    class Builder(tfds.core.GeneratorBasedBuilder):
        name = "burls"
        VERSION = tfds.core.Version("1.0.0")
        url_infos = {"https://nowhere.invalid/a.tgz": None}

        def _info(self):
            features = {
                "image": FEATURES.Image(shape=(8, 8, 3)),
                "label": FEATURES.ClassLabel(names=["a", "b"]),
            }
            return self.dataset_info_from_configs(
                features=FEATURES.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            logging.getLogger("urllib3.connectionpool").warning("Retrying")
            logging.getLogger("absl").error("a failure")
            raise ValueError("a reason")

        def _generate_examples(self):
            raise NotImplementedError

    yield
    tfds.core.registered._DATASET_REGISTRY.pop("burls")


def test_without_a_network(burls, tmp_path, monkeypatch, error_line):
    def refuse(address, timeout):
        assert address == ("nowhere.invalid", 443) and timeout < 10
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    line = error_line(prepare.main, "tfds/burls", f"--data-dir={tmp_path}")
    assert "cannot download tfds/burls (" in line and "nowhere.invalid: Name " in line
    assert not list(tmp_path.iterdir())
    # What lies there already needs none.
    (tmp_path / "downloads" / "burls").mkdir(parents=True)
    (tmp_path / "downloads" / "burls" / "a.tgz.INFO").write_text("{}")
    line = error_line(prepare.main, "tfds/burls", f"--data-dir={tmp_path}")
    assert "cannot prepare tfds/burls (ValueError: a reason)" in line
