"""Networks by name."""

import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, create_configured, create_model, list_models


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


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_given_is_the_authors_and_ready_to_use(name):
    model = create_model(name)
    assert model.num_classes == MODELS[name].reference.num_classes
    assert not model.training
    given = create_model(name, num_classes=3, training=True)
    assert (given.num_classes, given.training) == (3, True)
    # The classes keep d2l's.
    assert (MODELS[name]().num_classes, MODELS[name]().training) == (10, True)


def test_a_run_trains_as_many_classes_as_its_config_says():
    config = default_config()
    config.model.name, config.model.num_classes = "alexnet_paper", 7
    model = create_configured(config)
    assert (model.num_classes, model.training) == (7, True)
