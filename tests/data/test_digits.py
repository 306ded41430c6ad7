import hashlib

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, digits
from alexnet_jax.errors import InputError

# SHA-256.
IMAGE = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
LABEL = "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
TRAIN = "2e70ebfa3f506898e76fa54c2c6966b85c75ba43a5dafbb245a7baf72b1c2a25"
TEST = "190658d0f1c622676c4e5608c7bb447dd1d98811aad53fb16808a74f7ef1fae2"


def load(data_dir):
    data = default_config().data
    data.name, data.data_dir = "digits", str(data_dir)
    return create_data(data, batch_size=128, eval_batch_size=500, seed=0)


def test_the_split_and_its_images(data_dir):
    data = load(data_dir)
    train, test = data.train, data.test
    assert (len(train.label), len(test.label)) == (1500, 297)
    assert data.spec.image_shape == (8, 8, 1)
    assert data.spec.class_names == tuple("0123456789")
    # TFDS shuffles as it writes, so the sets are compared.
    stored = np.concatenate([train.image, test.image]).reshape(-1, 64)
    labels = np.concatenate([train.label, test.label])
    images, target = digits.read_digits()
    assert images.max() == 255
    assert sorted(zip(stored.tolist(), labels.tolist(), strict=True)) == sorted(
        zip(images.reshape(-1, 64).tolist(), target.tolist(), strict=True)
    )


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_the_bundled_arrays_are_ucis():
    with np.load(digits.FILE) as arrays:
        image, label = arrays["image"], arrays["label"]
    assert digest(image) == IMAGE and digest(label) == LABEL
    datasets = pytest.importorskip("sklearn.datasets")
    source = datasets.load_digits()
    np.testing.assert_array_equal(image, source.images)
    np.testing.assert_array_equal(label, source.target)


def test_a_copy_has_the_order_and_the_pixels_of_those_before(data_dir):
    """Those that version 0.1 prepared; files may differ, in the order of their keys."""
    data = load(data_dir)
    parts = data.train, data.test
    found = [digest(one.image.tobytes() + one.label.tobytes()) for one in parts]
    assert found == [TRAIN, TEST]


def test_prepared_once(data_dir, monkeypatch):
    monkeypatch.setattr(digits, "prepare", None)  # a call would fail
    assert digits.load(data_dir).info.splits["train"].num_examples == 1500


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="data.data_dir: .* cannot be written"):
        load(tmp_path / "file")
