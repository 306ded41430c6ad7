import numpy as np
import pytest
from sklearn import datasets

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, digits
from alexnet_jax.errors import InputError


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
    source = datasets.load_digits()
    stored = np.concatenate([train.image, test.image]).reshape(-1, 64)
    original = np.round(source.images * 255 / 16).astype(np.uint8).reshape(-1, 64)
    labels = np.concatenate([train.label, test.label])
    assert sorted(zip(stored.tolist(), labels.tolist(), strict=True)) == sorted(
        zip(original.tolist(), source.target.tolist(), strict=True)
    )


def test_prepared_once(data_dir, monkeypatch):
    monkeypatch.setattr(digits, "prepare", None)  # a call would fail
    assert digits.load(data_dir).info.splits["train"].num_examples == 1500


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="data.data_dir: .* cannot be written"):
        load(tmp_path / "file")
