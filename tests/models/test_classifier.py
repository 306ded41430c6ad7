"""What a `Classifier` says to fields, images and layers that cannot be."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.dense import Dense, flatten
from alexnet_jax.models import MODELS, Classifier, create_model
from alexnet_jax.models.classifier import check_classifier
from tests.helpers import UserNet, init_keys

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")
KEY = jax.random.key(0)


class Body(nn.Module):
    """A user's module with a network in it."""

    network: nn.Module

    def __call__(self, x):
        return self.network(x)


DOORS = {
    "init": lambda model, x: model.init(init_keys(), x),
    "init_with_output": lambda model, x: jax.eval_shape(
        model.init_with_output, init_keys(), x
    ),
    "lazy_init": lambda model, x: model.lazy_init(
        init_keys(), jax.ShapeDtypeStruct(x.shape, x.dtype)
    ),
    "apply": lambda model, x: jax.eval_shape(
        lambda: model.apply({}, x, mutable=True, rngs=init_keys())
    ),
    "jit": lambda model, x: jax.jit(model.init)(init_keys(), x),
    "tabulate": lambda model, x: nn.tabulate(model, init_keys())(x),
    "submodule": lambda model, x: jax.eval_shape(Body(model).init, init_keys(), x),
    "layer_shapes": lambda model, x: model.layer_shapes(x.shape),
    "layer_summary": lambda model, x: model.layer_summary(x.shape),
    "describe": lambda model, x: describe(model, x.shape),
}
every_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


class Net(Classifier):
    """Of the layers that a test hands over."""

    layers: tuple = ()

    def setup(self):
        self.net = nn.Sequential([flatten, *(layer() for layer in self.layers)])


@every_door
@pytest.mark.parametrize(("width", "size"), [(11, "11"), (99, "11×99")])
def test_too_small_images(door, width, size):
    end = "is too small for LeNet: layer 6, avg_pool, has no output; use "
    with pytest.raises(InputError, match=f"^image_size {size} {end}"):
        door(
            create_model("lenet5", num_classes=10, training=True),
            jnp.zeros((1, 11, width, 3), jnp.float32),
        )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [0, 1, 11])
def test_every_network_says_so(name, size):
    with pytest.raises(InputError, match=f"^image_size {size} .*, has no output; use "):
        jax.eval_shape(
            create_model(name, num_classes=10, training=True).init,
            KEY,
            jnp.zeros((2, size, size, 1), jnp.float32),
        )


def test_too_small_for_a_users_network():
    with pytest.raises(InputError, match="^image_size 0 .* UserNet: layer 1, "):
        UserNet().init(KEY, jnp.zeros((1, 0, 0, 1), jnp.float32))


@every_door
def test_something_else_than_images(door):
    message = r"^images must have shape \(batch, height,"
    for shape in ((28, 28, 1), (2, 28, 28), (), (1, 28, 28, 0)):
        with pytest.raises(InputError, match=message):
            door(
                create_model("lenet5", num_classes=10, training=True),
                jnp.zeros(shape, jnp.float32),
            )


@every_door
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("initializer", "kaiming", "^model.init must be one of .*; got 'kaiming'"),
        ("num_classes", 0, "^model.num_classes must be an integer of at .*; got 0"),
    ],
)
def test_fields_that_cannot_be(door, field, value, message):
    for kind in (MODELS["lenet5"], Net):
        with pytest.raises(InputError, match=message):
            door(kind(**{field: value}), jnp.zeros((1, 28, 28, 1), jnp.float32))


@pytest.mark.parametrize(
    "fields",
    [{"initializer": None}, {"num_classes": -1}, {"num_classes": 2.5}],
)
def test_other_fields_that_cannot_be(fields):
    with pytest.raises(InputError, match="^model.(init|num_classes) must be "):
        Net(**fields).init(KEY, jnp.zeros((1, 28, 28, 1), jnp.float32))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["alexnet_2012", "lenet5"])
def test_an_empty_batch_is_none(name):
    fields = {} if name == "lenet5" else {"width": 1 / 16}
    model = create_model(name, num_classes=10, training=False, **fields)
    images = jnp.zeros((0, 67, 67, 1), jnp.float32)
    assert model.layer_shapes(images.shape)[-1][1] == (0, 10)
    variables = jax.jit(model.init)(KEY, images)
    assert jax.jit(model.apply)(variables, images).shape == (0, 10)


def test_no_network():
    rule = "^model must be an alexnet_jax.Classifier whose setup fills self.net with "
    for model, got in (
        (nn.Dense(10), "Dense"),
        (None, "NoneType"),
        (UserNet, r"the class; write UserNet\(\)"),
    ):
        for check in (check_classifier, lambda model: describe(model, (1, 8, 8, 1))):
            with pytest.raises(InputError, match=f"{rule}an nn.Sequential; got {got}$"):
                check(model)


class WithoutNet(Classifier):
    pass


class OneLayer(Classifier):
    def setup(self):
        self.net = nn.Dense(self.num_classes)


class AList(Classifier):
    def setup(self):
        self.net = [flatten, nn.Dense(self.num_classes)]


by_layers = pytest.mark.parametrize(
    "door", [DOORS[name] for name in ("layer_shapes", "layer_summary", "describe")]
)


@every_door
def test_a_net_without_layers(door):
    for kind, got in ((WithoutNet, "NoneType"), (AList, "tuple")):
        rule = f"^{kind.__name__} must fill self.net with an nn.Sequential in its setup"
        with pytest.raises(InputError, match=f"{rule}; got {got}"):
            door(kind(), jnp.zeros((1, 8, 8, 1), jnp.float32))


@by_layers
def test_a_net_that_can_be_called_alone(door):
    image = jnp.zeros((1, 8, 8, 1), jnp.float32)
    logits, _ = OneLayer().init_with_output(KEY, image)
    assert logits.shape == (1, 8, 8, 10)
    with pytest.raises(InputError, match="^OneLayer must fill self.net with .*; got D"):
        door(OneLayer(), image)


@every_door
def test_a_layer_that_returns_no_array(door):
    two = Net(layers=(lambda: lambda x: (x, x), lambda: nn.Dense(10)))
    with pytest.raises(
        InputError, match="^Net: layer 2, .* return an array; got tuple"
    ):
        door(two, jnp.zeros((1, 8, 8, 1), jnp.float32))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x)


def test_plain_layers_follow_their_own_inits_by_default():
    ones = nn.initializers.ones
    net = Net(layers=(lambda: nn.Dense(10, bias_init=ones),))
    params = net.init(KEY, jnp.zeros((1, 4, 4, 1), jnp.float32))["params"]
    np.testing.assert_array_equal(params["net"]["layers_1"]["bias"], np.ones(10))


@pytest.mark.parametrize(
    "door", [door for name, door in DOORS.items() if name != "apply"]
)
@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: nn.Dense(10), "layers_1"),
        (lambda: Dense(10), "layers_1"),
        (lambda: Block(), "Dense_0"),
    ],
)
def test_a_named_scheme_is_not_ignored(door, layer, name):
    model = Net(layers=(layer,), initializer="torch")
    with pytest.raises(
        InputError,
        match=f"^Net: layer {name} does not follow model.init 'torch'; make it with ",
    ):
        door(model, jnp.zeros((1, 8, 8, 1), jnp.float32))


def test_a_users_layer_follows_a_named_scheme():
    class Followed(Classifier):
        def setup(self):
            head = Dense(self.num_classes, initializer=self.scheme())
            self.net = nn.Sequential([flatten, head])

    params = Followed(initializer="caffe").init(
        KEY, jnp.zeros((1, 9, 9, 9), jnp.float32)
    )["params"]
    assert np.std(params["net"]["layers_1"]["kernel"]) == pytest.approx(0.01, rel=0.1)


def test_a_mistake_in_setup_is_shown_as_it_is():
    class Typo(Classifier):
        def setup(self):
            self.net = nn.Sequential([self.flaten])

    for door in DOORS.values():
        with pytest.raises(AttributeError, match="flaten"):
            door(Typo(), jnp.zeros((1, 8, 8, 1), jnp.float32))


def test_weights_are_applied_whatever_drew_them():
    image = jnp.ones((1, 8, 8, 1), jnp.float32)
    plain = Net(layers=(lambda: nn.Dense(10),))
    variables = plain.init(KEY, image)
    logits = plain.clone(initializer="torch").apply(variables, image)
    np.testing.assert_array_equal(logits, plain.apply(variables, image))


@pytest.mark.parametrize(
    "shape", [(10**9, 28, 28, 1), (1, 10**9, 28, 1), (1, 28, 28, 2**40)]
)
def test_lengths_out_of_all_proportion(shape):
    """XLA takes minutes to count them."""
    with pytest.raises(InputError, match="images must have lengths of at most 1,000,"):
        create_model("lenet5", num_classes=10, training=True).layer_summary(shape)
