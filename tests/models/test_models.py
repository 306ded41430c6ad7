"""Every network against the table: counts, shapes, docstrings, a step."""

import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.data.statistics import measure
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.cpu.switch import plain_forms
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.step import create_state, make_train_step
from tests.helpers import assert_close, compare, init_keys, noise, shapes_of
from tests.models.table import KINDS, TABLE

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")
# Parameters and multiply-adds of each layer.
DENSE_LAYERS = {
    "fc6": (37_752_832, 37_748_736),
    "fc7": (16_781_312, 16_777_216),
    "fc8": (4_097_000, 4_096_000),
}
LAYERS = {
    "alexnet_paper": {
        "conv1": (34_944, 105_415_200),
        "conv2": (307_456, 223_948_800),
        "conv3": (885_120, 149_520_384),
        "conv4": (663_936, 112_140_288),
        "conv5": (442_624, 74_760_192),
        **DENSE_LAYERS,
    },
    "alexnet_ungrouped": {
        "conv1": (34_944, 105_415_200),
        "conv2": (614_656, 447_897_600),
        "conv3": (885_120, 149_520_384),
        "conv4": (1_327_488, 224_280_576),
        "conv5": (884_992, 149_520_384),
        **DENSE_LAYERS,
    },
    "alexnet_torchvision": {
        "conv1": (23_296, 70_276_800),
        "conv2": (307_392, 223_948_800),
        "conv3": (663_936, 112_140_288),
        "conv4": (884_992, 149_520_384),
        "conv5": (590_080, 99_680_256),
        **DENSE_LAYERS,
    },
    "alexnet_fashion": {
        "conv1": (11_712, 33_872_256),
        "conv2": (614_656, 415_334_400),
        "conv3": (885_120, 127_401_984),
        "conv4": (1_327_488, 191_102_976),
        "conv5": (884_992, 127_401_984),
        "fc6": (26_218_496, 26_214_400),
        "fc7": (16_781_312, 16_777_216),
        "fc8": (40_970, 40_960),
    },
    "alexnet_half": {
        "conv1": (17_472, 52_707_600),
        "conv2": (153_728, 111_974_400),
        "conv3": (221_376, 37_380_096),
        "conv4": (331_968, 56_070_144),
        "conv5": (221_312, 37_380_096),
        "fc6": (9_439_232, 9_437_184),
        "fc7": (4_196_352, 4_194_304),
        "fc8": (2_049_000, 2_048_000),
    },
}


def multiply_adds(model, input_shape):
    """Counts them in the traced forward pass."""
    image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
    variables = {"params": shapes_of(model, input_shape)}
    with plain_forms():  # as defined, not as a platform's forms save them
        return count(jax.make_jaxpr(model.apply)(variables, image).jaxpr)


def count(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        out = equation.outvars[0].aval
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval  # (kh, kw, in, out)
            total += out.size * kernel.size // kernel.shape[-1]
        elif equation.primitive.name == "dot_general":
            total += out.size * equation.invars[0].aval.shape[-1]
        else:
            for inner in equation.params.values():
                if hasattr(inner, "jaxpr"):
                    total += count(inner.jaxpr)
    return total


def test_every_model_is_in_the_table():
    assert TABLE.keys() == MODELS.keys()


@pytest.mark.parametrize("name", TABLE)
def test_parameters_multiply_adds_and_shapes(name):
    known = TABLE[name]
    reference = MODELS[name].reference
    assert reference[1:3] == (known.input_shape, known.num_classes)
    input_shape = (1, *known.input_shape)
    model = create_model(name, num_classes=known.num_classes, training=False)
    shapes = shapes_of(model, input_shape)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == known.params
    assert multiply_adds(model, input_shape) == known.macs
    rows = describe(model, input_shape)
    assert sum(row.params for row in rows) == known.params
    assert sum(row.macs for row in rows) == known.macs
    kinds = ("conv", "dense", "max_pool", "max_pool_ceil", "avg_pool")
    traced = [
        "×".join(map(str, row.output_shape[1:]))
        for row in rows
        if row.kind in (*kinds, "adaptive_avg_pool")
    ]
    assert " ".join(traced) == known.shapes


@pytest.mark.parametrize("name", LAYERS)
def test_layer_by_layer(name):
    known = TABLE[name]
    model = create_model(name, training=True, num_classes=known.num_classes)
    rows = describe(model, (1, *known.input_shape))
    assert {row.name: (row.params, row.macs) for row in rows if row.params} == (
        LAYERS[name]
    )


@pytest.mark.parametrize("name", TABLE)
def test_the_docstring_says_what_the_table_does(name):
    docstring, known = MODELS[name].__doc__, TABLE[name]
    height, width, channels = known.input_shape
    for text in (
        f"{known.params:,}",
        f"{known.macs:,}",
        "Input:",
        "Published:",
        "Differences",
        "Source:",
    ):
        assert text in " ".join(docstring.split()), text
    assert re.search(rf"\(B, {height}, {width}, (C|{channels})\)", docstring)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["alexnet_2012", "alexnet_torchvision", "lenet5"])
def test_it_trains_two_steps(name):
    """On the smallest images, with few channels, and as its author fed it.

    Every gradient of every network is in tests/test_golden.py.
    """
    size = 28 if name == "lenet5" else 67
    fields = {} if name == "lenet5" else {"width": 1 / 16}
    # Drawn so that two images move every bias.
    model = create_model(
        name, num_classes=10, training=True, initializer="torch", **fields
    )
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (2, 16, 16, 1), np.uint8),
        "label": np.array([1, 7], np.int32),
        "mask": np.ones(2, bool),
    }
    tx = optax.sgd(0.01)
    state = create_state(model, tx, (1, size, size, 1), jax.random.key(0))
    prepare = create_pipeline(
        model.author_scale, lambda: measure([batch["image"]]), size
    )
    step = jax.jit(
        make_train_step(model, tx, prepare, steps_per_epoch=9, log_every_steps=9)
    )
    first, _ = step(state, batch, jax.random.key(1))
    trained, _ = step(first, batch, jax.random.key(1))
    assert int(trained.step) == 2 and int(trained.first_bad) == 0
    for path, leaf in jax.tree.leaves_with_path(trained.params):
        drawn = state.params[path[0].key][path[1].key]
        assert not np.array_equal(leaf, drawn), path  # the gradient reaches it


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("alexnet_d2l", 3, 46_764_746 + 2 * 11 * 11 * 96),
        ("alexnet_half", 1, 14_590_314),
        ("alexnet_half", 3, 14_601_930),
        ("lenet5", 3, 61_706 + 2 * 5 * 5 * 6),
    ],
)
def test_other_channels(name, channels, parameters):
    size = TABLE[name].input_shape[0]
    shapes = shapes_of(
        create_model(name, num_classes=10, training=True), (1, size, size, channels)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def small_network(name):
    """A narrow network without dropout, its variables, and two small images."""
    size, fields = (28, {}) if name == "lenet5" else (67, {"width": 1 / 16})
    model = create_model(name, training=False, num_classes=3, **fields)
    images = noise(2, size, size, TABLE[name].input_shape[-1])
    return model, model.init(init_keys(), images), images


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_forward_mode_agrees_with_reverse_mode(name):
    model, variables, images = small_network(name)
    direction = jax.tree.map(lambda a: 0.1 * noise(*a.shape), (variables, images))

    def loss(variables, images):
        return jax.nn.logsumexp(model.apply(variables, images), axis=-1).sum()

    def derivatives(at, direction):
        _, change = jax.jvp(loss, at, direction)
        gradients = jax.grad(loss, (0, 1))(*at)
        products = jax.tree.map(jnp.vdot, gradients, direction)
        return change, sum(jax.tree.leaves(products))

    got, wanted = jax.jit(derivatives)((variables, images), direction)
    np.testing.assert_allclose(got, wanted, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_hessian_is_the_same_in_both_orders(name):
    model, variables, images = small_network(name)
    direction = jax.tree.map(lambda a: 0.1 * noise(*a.shape), variables)

    def loss(variables):
        return jax.nn.logsumexp(model.apply(variables, images), axis=-1).sum()

    def products(variables, direction):
        _, forward_over_reverse = jax.jvp(jax.grad(loss), (variables,), (direction,))
        reverse_over_forward = jax.grad(
            lambda variables: jax.jvp(loss, (variables,), (direction,))[1]
        )(variables)
        return forward_over_reverse, reverse_over_forward

    compare(*jax.jit(products)(variables, direction), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_batches_of_no_size_yet_and_of_none(name):
    """A program exported once serves every batch; an empty batch has no logits."""
    model, variables, images = small_network(name)
    (batch,) = jax.export.symbolic_shape("batch")
    any_images = jax.ShapeDtypeStruct((batch, *images.shape[1:]), jnp.float32)
    exported = jax.export.export(jax.jit(model.apply))(variables, any_images)
    logits = jax.jit(model.apply)(variables, images)
    assert_close(exported.call(variables, images), logits, share=1e-4)
    assert jax.jit(model.apply)(variables, images[:0]).shape == (0, 3)
