"""Networks by name."""

import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, create_model, list_models


def test_names():
    assert list_models() == list(MODELS)
    assert "alexnet_d2l" in list_models()


def test_unknown_names():
    with pytest.raises(InputError, match="model.name must be one of .*'vgg'$"):
        create_model("vgg")
    nearest = "got 'alexnet-papr'; the nearest: alexnet_paper"
    with pytest.raises(InputError, match=nearest):
        create_model("alexnet-papr")
    model = create_model("lenet5", initializer="kaiming")
    with pytest.raises(InputError, match="model.init must be one of .*'kaiming'"):
        model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
