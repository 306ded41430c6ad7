"""What networks have from their base classes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import relu

from alexnet_jax.errors import InputError
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import create_model
from alexnet_jax.models.base import AlexNetBase
from tests.helpers import init_keys, shapes_of

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("alexnet_d2l", 65),
        ("alexnet_paper", 36),
        ("alexnet_caffe", 39),
        ("alexnet_torchvision", 63),
        ("lenet5", 12),
    ],
)
def test_too_small_an_image(name, smallest):
    model = create_model(name, num_classes=10, training=True)
    model.layer_shapes((1, smallest, smallest, 1))
    size = smallest - 1
    with pytest.raises(InputError, match=f"image_size {size} is too small for"):
        model.layer_shapes((1, size, size, 1))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("width", 0.0, r"\(0, 16\]"),
        ("width", math.nan, r"\(0, 16\]"),
        ("dropout_rate", 1.0, r"\[0, 1\)"),
        ("dropout_rate", -0.5, r"\[0, 1\)"),
    ],
)
def test_fields_out_of_range(field, value, allowed):
    model = create_model(
        "alexnet_paper", num_classes=10, training=True, **{field: value}
    )
    with pytest.raises(InputError, match=f"model.{field} must be in {allowed}; got"):
        model.layer_shapes((1, 224, 224, 3))


def test_width_halves_the_channels_to_even_numbers():
    half = create_model("alexnet_d2l", training=True, width=0.5, num_classes=10)
    shapes = shapes_of(half, (1, 224, 224, 1))
    made = [shapes[f"conv{i}"]["kernel"].shape[-1] for i in range(1, 6)]
    assert made == [48, 128, 192, 192, 128]
    assert shapes["fc7"]["kernel"].shape == (2048, 2048)
    least = shapes_of(
        create_model("caffenet", num_classes=10, training=True, width=1e-3),
        (1, 227, 227, 3),
    )
    assert least["conv4"]["kernel"].shape == (3, 3, 1, 2)


class Small(AlexNetBase):
    """A layer of a name that no author's scheme knows comes last."""

    def setup(self):
        conv, dense, drop = self.conv, self.dense, self.dropout()
        self.net = self.sequential(
            [conv("conv1", 8, 3), relu, flatten, drop],
            [dense("hidden", 16), relu, drop, dense("classes", self.num_classes)],
        )


def test_width_leaves_the_classes():
    shapes = shapes_of(Small(width=0.5, num_classes=7), (1, 6, 6, 1))
    made = {name: layer["kernel"].shape[-1] for name, layer in shapes.items()}
    assert made == {"conv1": 4, "hidden": 8, "classes": 7}


def test_a_layer_in_two_places_of_a_table_is_two():
    drops = [layer for layer in Small().bind({}).net.layers if hasattr(layer, "rate")]
    assert [layer.name for layer in drops] == ["layers_3", "layers_6"]


@pytest.mark.slow
def test_dropout_is_active_in_training_alone():
    model = create_model("alexnet_half", training=True, num_classes=3, width=1 / 16)
    image = jnp.ones((2, 67, 67, 1), jnp.float32)
    variables = jax.jit(model.init)(init_keys(), image)

    def logits(model, seed):
        return model.apply(variables, image, rngs={"dropout": jax.random.key(seed)})

    assert not np.array_equal(logits(model, 0), logits(model, 1))
    model = model.clone(training=False)
    np.testing.assert_array_equal(logits(model, 0), logits(model, 1))
    assert logits(model, 0).shape == (2, 3)
