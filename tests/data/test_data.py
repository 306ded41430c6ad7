import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from sklearn import datasets
from tensorflow_datasets.core.download import checksums

from alexnet_jax.config import default_config
from alexnet_jax.data import Batches, create_data, digits, fashion_mnist
from alexnet_jax.data.preparation.builder import decode, resolve_data_dir
from alexnet_jax.errors import InputError


def load(name, data_dir, manual_dir=None, seed=0):
    config = default_config().data
    config.name, config.data_dir = name, str(data_dir)
    config.manual_dir = manual_dir and str(manual_dir)
    return create_data(config, batch_size=128, eval_batch_size=500, seed=seed)


class TestBatches:
    def test_an_epoch_holds_every_example_once(self, batches):
        assert len(batches) == 3
        for first in (0, 3, 6):
            epoch = [batches.batch(step) for step in range(first, first + 3)]
            label = np.concatenate([batch["label"] for batch in epoch])
            mask = np.concatenate([batch["mask"] for batch in epoch])
            assert sorted(label[mask]) == list(range(10))
            assert mask.sum() == 10 and not mask[-2:].any()
            image = np.concatenate([batch["image"] for batch in epoch])
            np.testing.assert_array_equal(image, batches.image[label])

    def test_a_batch_is_a_function_of_seed_and_step(self, batches):
        later = Batches(batches.image, batches.label, 4, seed=3)
        other = Batches(batches.image, batches.label, 4, seed=4)
        expected = [batches.batch(step)["label"].tolist() for step in range(9)]
        for step in (8, 2, 5, 0):  # in any order, as after a restart
            assert later.batch(step)["label"].tolist() == expected[step]
        assert [other.batch(s)["label"].tolist() for s in range(9)] != expected

    def test_the_composition_of_batches_changes(self, batches):
        compositions = {
            frozenset(batches.batch(3 * epoch)["label"].tolist()) for epoch in range(8)
        }
        assert len(compositions) > 1

    def test_padding_is_of_real_examples(self, batches):
        order = np.concatenate([batches.batch(step)["label"] for step in range(3)])
        assert order[10:].tolist() == order[:2].tolist()

    def test_types_and_order_without_a_seed(self, batches):
        ordered = Batches(batches.image, batches.label, 4)
        batch = ordered.batch(2)
        assert batch["label"].tolist() == [8, 9, 0, 1]
        assert batch["mask"].tolist() == [True, True, False, False]
        assert [batch[k].dtype for k in ("image", "label", "mask")] == [
            np.uint8,
            np.int32,
            bool,
        ]


class TestDigits:
    def test_the_split_and_its_images(self, data_dir):
        train, test, info = load("digits", data_dir)
        assert (len(train.label), len(test.label)) == (1500, 297)
        assert info.image_shape == (8, 8, 1)
        assert info.class_names == tuple("0123456789")
        # TFDS shuffles as it writes, so the sets are compared.
        source = datasets.load_digits()
        stored = np.concatenate([train.image, test.image]).reshape(-1, 64)
        original = np.round(source.images * 255 / 16).astype(np.uint8).reshape(-1, 64)
        labels = np.concatenate([train.label, test.label])
        assert sorted(zip(stored.tolist(), labels.tolist(), strict=True)) == sorted(
            zip(original.tolist(), source.target.tolist(), strict=True)
        )

    def test_prepared_once(self, data_dir, monkeypatch):
        monkeypatch.setattr(digits, "prepare", None)  # a call would fail
        assert digits.load(data_dir).info.splits["train"].num_examples == 1500

    def test_another_formats_copy_is_left_alone(self, tmp_path, capsys):
        folder = tmp_path / "digits" / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text(
            json.dumps({"fileFormat": "tfrecord"})
        )
        builder = digits.load(tmp_path)
        assert str(tmp_path / "alexnet_jax") in str(builder.data_path)
        out = capsys.readouterr().out
        assert f"{folder} holds tfrecord" in out
        assert [path.name for path in folder.iterdir()] == ["dataset_info.json"]

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="data.data_dir: .* cannot be written"):
            load("digits", tmp_path / "file")


def test_unknown_data_set(tmp_path):
    with pytest.raises(InputError, match="data.name must be one of .*'cifar'"):
        load("cifar", tmp_path)


def test_where_prepared_data_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert resolve_data_dir(None) == tmp_path
    assert resolve_data_dir("/there") == resolve_data_dir("/there/")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert resolve_data_dir(None).parts[-1] == "tensorflow_datasets"


class TestFashionMnistWithoutFiles:
    def test_checksums_are_those_of_tfds(self):
        registered = checksums.get_all_url_infos()
        for name, digest in fashion_mnist.FILES.items():
            url = fashion_mnist.FashionMnist.URL + name
            assert registered[url].checksum == digest

    def test_manual_dir_is_missing(self, tmp_path):
        with pytest.raises(InputError, match="data.manual_dir: .*nowhere is no folder"):
            load("fashion_mnist", tmp_path, tmp_path / "nowhere")

    def test_manual_dir_lacks_a_file(self, tmp_path):
        for name in list(fashion_mnist.FILES)[1:]:
            (tmp_path / name).touch()
        with pytest.raises(InputError, match="lacks train-images-idx3-ubyte.gz; it"):
            load("fashion_mnist", tmp_path, tmp_path)

    def test_a_damaged_file(self, tmp_path, monkeypatch):
        for name in fashion_mnist.FILES:
            (tmp_path / name).write_bytes(b"no gzip")
        expected = "train-images-idx3-ubyte.gz is damaged: its SHA-256 begins"
        with pytest.raises(InputError, match=f"data.manual_dir: .*{expected}"):
            load("fashion_mnist", tmp_path, tmp_path)
        monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
        with pytest.raises(InputError, match=f"^FASHION_MNIST_DIR: .*{expected}"):
            load("fashion_mnist", tmp_path)

    @pytest.mark.parametrize("failure", ["refuses", "hangs"])
    def test_no_network(self, failure, tmp_path, monkeypatch):
        def head(url, timeout):
            if failure == "hangs":
                threading.Event().wait()
            raise requests.exceptions.ConnectionError

        monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
        monkeypatch.setattr(requests, "head", head)
        monkeypatch.setattr(fashion_mnist, "_NETWORK_TIMEOUT_S", 0.5)
        with pytest.raises(InputError) as error:
            load("fashion_mnist", tmp_path)
        for word in (*fashion_mnist.FILES, "data.manual_dir", "make quickstart"):
            assert word in str(error.value)
        assert "\n" not in str(error.value)

    def test_idx_files(self, tmp_path):
        path = tmp_path / "images.gz"
        pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
        shape = np.array(pixels.shape, ">i4").tobytes()
        path.write_bytes(gzip.compress(b"\0\0\x08\x03" + shape + pixels.tobytes()))
        np.testing.assert_array_equal(fashion_mnist.read_idx(path), pixels)


@pytest.fixture(scope="module")
def fashion_dir(fashion_files, tmp_path_factory):
    """Fashion-MNIST prepared from the original files."""
    folder = tmp_path_factory.mktemp("fashion")
    fashion_mnist.load(folder, str(fashion_files))
    return folder


class TestFashionMnist:
    def test_every_image_is_there(self, fashion_files, fashion_dir):
        train, test, info = load("fashion_mnist", fashion_dir)
        assert info.name == "fashion_mnist 3.0.1"
        assert info.class_names[0] == "T-shirt/top" and len(info.class_names) == 10
        assert train.image.mean() / 255 == pytest.approx(0.28604, abs=1e-5)
        assert train.image.std() / 255 == pytest.approx(0.35302, abs=1e-5)
        assert (len(train), len(test)) == (469, 20)
        assert train.batch(468)["mask"].sum() == 96
        for split, prefix in ((train, "train"), (test, "t10k")):
            pixels, labels = (
                fashion_mnist.read_idx(fashion_files / f"{prefix}-{kind}-ubyte.gz")
                for kind in ("images-idx3", "labels-idx1")
            )
            stored = hashes(split.image, split.label)
            assert stored == hashes(pixels, labels)

    def test_tfds_reads_it_as_its_own(self, fashion_dir):
        builder = tfds.builder("fashion_mnist", data_dir=fashion_dir)
        assert builder.info.splits["train"].num_examples == 60_000
        example = builder.as_data_source(split="test[:3]")[0]
        assert example["image"].shape == (28, 28, 1) and example["label"] in range(10)

    def test_afterwards_the_files_are_not_needed(self, fashion_dir, monkeypatch):
        monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
        monkeypatch.setattr(fashion_mnist, "prepare", None)  # a call would fail
        load("fashion_mnist", fashion_dir)

    def test_the_host_holds_small_images_alone(self, fashion_dir):
        train, test, _ = load("fashion_mnist", fashion_dir)
        held = sum(a.nbytes for s in (train, test) for a in (s.image, s.label))
        assert held < 60_000_000
        assert train.batch(0)["image"].shape == (128, 28, 28, 1)

    def test_download(self, fashion_files, tmp_path, monkeypatch):
        """Through a proxy on this machine that serves the original files."""
        asked = []

        class Proxy(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.end_headers()

            def do_GET(self):
                name = self.path.rpartition("/")[2]
                asked.append(name)
                content = (fashion_files / name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
        try:
            train, _, _ = load("fashion_mnist", tmp_path)
        finally:
            server.shutdown()
            server.server_close()
        assert sorted(asked) == sorted(fashion_mnist.FILES)
        assert len(train.label) == 60_000


def hashes(images, labels):
    rows = np.concatenate([images.reshape(len(images), -1), labels[:, None]], axis=1)
    return sorted(hash(row.astype(np.uint8).tobytes()) for row in rows)


def test_the_decoded_copy(tmp_path):
    """It is read in place of the records, unless it is damaged or another's."""
    builder = digits.load(tmp_path)
    kept = Path(builder.data_path) / "test-decoded.npz"
    image, label = decode(builder, "test")
    assert kept.exists()
    with np.load(kept) as file:
        np.savez(kept, image=file["image"] ^ 1, label=file["label"])
    np.testing.assert_array_equal(decode(builder, "test")[0], image ^ 1)
    for damaged in (b"", kept.read_bytes()[:-3000], kept.read_bytes()[:3000] * 2):
        kept.write_bytes(damaged)
        again = decode(builder, "test")
        np.testing.assert_array_equal(again[0], image)
        np.testing.assert_array_equal(again[1], label)
    np.savez(kept, image=image[:-1], label=label[:-1])
    assert len(decode(builder, "test")[1]) == len(label)
    # Where it cannot be laid, the records serve.
    kept.unlink()
    kept.mkdir()
    np.testing.assert_array_equal(decode(builder, "test")[0], image)
    assert not list(kept.parent.glob("*.part"))
