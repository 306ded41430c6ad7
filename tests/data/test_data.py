import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data
from alexnet_jax.errors import InputError


def load(name, data_dir):
    data = default_config().data
    data.name, data.data_dir = name, str(data_dir)
    return create_data(data, batch_size=128, eval_batch_size=500, seed=0)


def test_a_data_set(data_dir):
    data = load("digits", data_dir)
    assert (data.train.batch_size, data.train.num_examples) == (128, 1500)
    assert (data.test.batch_size, data.test.num_examples) == (500, 297)
    assert data.spec.name == "digits 1.0.0"
    assert data.spec.image_shape == data.train.image_shape == (8, 8, 1)
    assert data.spec.statistics is data.train.statistics()
    assert data.folder == data_dir / "digits" / "1.0.0"
    data.close()


def test_unknown_data_set(tmp_path):
    with pytest.raises(InputError, match="data.name must be one of .*'cifar'"):
        load("cifar", tmp_path)
