import gzip
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, fashion_mnist
from alexnet_jax.errors import InputError


def load(data_dir, manual_dir=None):
    data = default_config().data
    data.name, data.data_dir = "fashion_mnist", str(data_dir)
    data.manual_dir = manual_dir and str(manual_dir)
    return create_data(data, batch_size=128, eval_batch_size=500, seed=0)


class TestWithoutFiles:
    def test_checksums_are_those_of_tfds(self):
        registered = checksums.get_all_url_infos()
        for name, digest in fashion_mnist.FILES.items():
            url = fashion_mnist.FashionMnist.URL + name
            assert registered[url].checksum == digest

    def test_manual_dir_is_missing(self, tmp_path):
        with pytest.raises(
            InputError, match="data.manual_dir: .*nowhere is not a folder"
        ):
            load(tmp_path, tmp_path / "nowhere")

    def test_manual_dir_lacks_a_file(self, tmp_path):
        for name in list(fashion_mnist.FILES)[1:]:
            (tmp_path / name).touch()
        with pytest.raises(
            InputError, match="does not contain train-images-idx3-ubyte.gz; it"
        ):
            load(tmp_path, tmp_path)

    def test_a_damaged_file(self, tmp_path, monkeypatch):
        for name in fashion_mnist.FILES:
            (tmp_path / name).write_bytes(b"no gzip")
        expected = "train-images-idx3-ubyte.gz is damaged: its SHA-256 starts"
        with pytest.raises(InputError, match=f"data.manual_dir: .*{expected}"):
            load(tmp_path, tmp_path)
        monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
        with pytest.raises(InputError, match=f"^FASHION_MNIST_DIR: .*{expected}"):
            load(tmp_path)

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
            load(tmp_path)
        for word in (*fashion_mnist.FILES, "data.manual_dir", "make quickstart"):
            assert word in str(error.value)
        assert "\n" not in str(error.value)

    def test_idx_files(self, tmp_path):
        path = tmp_path / "images.gz"
        pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
        shape = np.array(pixels.shape, ">i4").tobytes()
        path.write_bytes(gzip.compress(b"\0\0\x08\x03" + shape + pixels.tobytes()))
        np.testing.assert_array_equal(fashion_mnist.read_idx(path), pixels)


@pytest.mark.heavy
class TestWithFiles:
    @pytest.mark.slow
    def test_every_image_is_there(self, fashion_files, fashion_dir):
        data = load(fashion_dir)
        train, test = data.train, data.test
        assert data.spec.name == "fashion_mnist 3.0.1"
        assert (
            data.spec.class_names[0] == "T-shirt/top"
            and len(data.spec.class_names) == 10
        )
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
        load(fashion_dir)

    def test_the_host_holds_small_images_alone(self, fashion_dir):
        data = load(fashion_dir)
        train, test = data.train, data.test
        held = sum(a.nbytes for s in (train, test) for a in (s.image, s.label))
        assert held < 60_000_000
        assert train.batch(0)["image"].shape == (128, 28, 28, 1)

    @pytest.mark.slow
    def test_download(self, fashion_files, fashion_dir, tmp_path, monkeypatch, capsys):
        """For a damaged copy, through a proxy that serves the original files."""
        folder = tmp_path / "fashion_mnist" / "3.0.1"
        kept = shutil.ignore_patterns("*train*", "*.npz")
        shutil.copytree(fashion_dir / "fashion_mnist" / "3.0.1", folder, ignore=kept)
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
            train = load(tmp_path).train
        finally:
            server.shutdown()
            server.server_close()
        assert sorted(asked) == sorted(fashion_mnist.FILES)
        assert len(train.label) == 60_000
        assert f"damaged   {folder} (" in capsys.readouterr().err


def hashes(images, labels):
    rows = np.concatenate([images.reshape(len(images), -1), labels[:, None]], axis=1)
    return sorted(hash(row.astype(np.uint8).tobytes()) for row in rows)
