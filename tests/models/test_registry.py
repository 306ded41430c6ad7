"""Networks by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.tables import summarize
from alexnet_jax.models import MODELS, create_configured, create_model, list_models
from alexnet_jax.models.lenet import LeNet


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


@pytest.mark.parametrize(
    ("name", "fields", "line"),
    [
        (None, {}, "model.name must be a string; got None"),
        (
            "lenet5",
            {"width": 0.5},
            "lenet5 has no width; it takes initializer, lr, num",
        ),
        ("alexnet_d2l", {"widht": 0.5}, "alexnet_d2l has no widht; it takes width$"),
        (
            "alexnet_2012",
            {"links": "no"},
            "model.links must be True or False; got 'no'",
        ),
    ],
)
def test_attributes_that_it_has_not(name, fields, line):
    with pytest.raises(InputError, match=f"^{line}"):
        create_model(name, **fields)


@pytest.mark.parametrize("field", ["width", "dropout_rate"])
def test_numbers_that_are_none(field):
    with pytest.raises(InputError, match=rf"^model.{field} must be in .* got '0.5'"):
        create_model("alexnet_d2l", **{field: "0.5"}).layer_shapes((1, 224, 224, 1))


@pytest.mark.parametrize(
    "shape",
    [28, (1, None, 28, 1), (1, 28.0, 28, 1), (1, np.float32(28), 28, 1), "abcd"],
)
def test_shapes_that_are_none(shape):
    for call in (LeNet().layer_summary, lambda one: summarize("lenet5", one)):
        with pytest.raises(InputError, match="^images must have shape .batch, height"):
            call(shape)
    assert summarize("lenet5", np.array([2, 28, 28, 1])).params == 61_706
