import dataclasses
import math
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.models import MODELS, AlexNet, create_model
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.step import create_state, make_train_step

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


class Known(NamedTuple):
    """What is known of a network: `input_shape` and classes are its author's."""

    input_shape: tuple[int, int, int]
    num_classes: int
    params: int
    macs: int
    shapes: str  # of every convolution, pool and dense layer, in order


_DENSE = "4096 4096 1000"
_GRID = "55×55×{0} 27×27×{0} 27×27×{1} 13×13×{1} 13×13×{2} 13×13×{3} 13×13×{4} 6×6×{4}"
_SMALL = "54×54×96 26×26×96 26×26×256 12×12×256 12×12×384 12×12×384 12×12×256 5×5×256"
TWO_TOWERS = f"{_GRID.format(96, 256, 384, 384, 256)} {_DENSE}"
OF_2014 = f"{_GRID.format(64, 192, 384, 256, 256)} {_DENSE}"
TABLE = {
    "alexnet_d2l": Known(
        (224, 224, 1), 10, 46_764_746, 938_146_176, f"{_SMALL} 4096 4096 10"
    ),
    "alexnet_paper": Known((224, 224, 3), 1000, 60_965_224, 724_406_816, TWO_TOWERS),
    "alexnet_2012": Known((224, 224, 3), 1000, 60_965_224, 724_406_816, TWO_TOWERS),
    "alexnet_2012_one_gpu": Known(
        (224, 224, 3),
        1000,
        59_798_312,
        391_514_384,
        "55×55×48 27×27×48 27×27×128 13×13×128 13×13×192 13×13×192 13×13×256 6×6×256 "
        + _DENSE,
    ),
    "alexnet_2012_conv6": Known(
        (224, 224, 3),
        1000,
        61_555_304,
        745_640_480,
        f"{_GRID.format(96, 256, 384, 384, 256)} 6×6×256 {_DENSE}",
    ),
    "alexnet_caffe": Known((227, 227, 3), 1000, 60_965_224, 724_406_816, TWO_TOWERS),
    "caffenet": Known((227, 227, 3), 1000, 60_965_224, 724_406_816, TWO_TOWERS),
    "alexnet_one_weird_trick": Known(
        (224, 224, 3), 1000, 61_100_840, 714_188_480, OF_2014
    ),
    "alexnet_torchvision": Known(
        (224, 224, 3),
        1000,
        61_100_840,
        714_188_480,
        OF_2014.replace("6×6×256", "6×6×256 6×6×256"),
    ),
    "alexnet_keras": Known(
        (224, 224, 3), 1000, 50_844_008, 1_009_945_728, f"{_SMALL} {_DENSE}"
    ),
    "alexnet_fashion": Known(
        (224, 224, 1), 10, 46_764_746, 938_146_176, f"{_SMALL} 4096 4096 10"
    ),
    "alexnet_half": Known(
        (224, 224, 3),
        1000,
        16_630_440,
        311_191_824,
        f"{_GRID.format(48, 128, 192, 192, 128)} 2048 2048 1000",
    ),
    "alexnet_ungrouped": Known(
        (227, 227, 3), 1000, 62_378_344, 1_135_256_096, TWO_TOWERS
    ),
    "lenet5": Known(
        (28, 28, 1),
        10,
        61_706,
        416_520,
        "28×28×6 14×14×6 10×10×16 5×5×16 120 84 10",
    ),
}
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

D2L_SUMMARY = """\
Conv output shape:\t (1, 54, 54, 96)
custom_jvp output shape:\t (1, 54, 54, 96)
function output shape:\t (1, 26, 26, 96)
Conv output shape:\t (1, 26, 26, 256)
custom_jvp output shape:\t (1, 26, 26, 256)
function output shape:\t (1, 12, 12, 256)
Conv output shape:\t (1, 12, 12, 384)
custom_jvp output shape:\t (1, 12, 12, 384)
Conv output shape:\t (1, 12, 12, 384)
custom_jvp output shape:\t (1, 12, 12, 384)
Conv output shape:\t (1, 12, 12, 256)
custom_jvp output shape:\t (1, 12, 12, 256)
function output shape:\t (1, 5, 5, 256)
function output shape:\t (1, 6400)
Dense output shape:\t (1, 4096)
custom_jvp output shape:\t (1, 4096)
Dropout output shape:\t (1, 4096)
Dense output shape:\t (1, 4096)
custom_jvp output shape:\t (1, 4096)
Dropout output shape:\t (1, 4096)
Dense output shape:\t (1, 10)
"""


def keys():
    return {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def shapes_of(model, input_shape):
    return jax.eval_shape(lambda: model.init(keys(), jnp.zeros(input_shape)))["params"]


def multiply_adds(model, input_shape):
    """Counts them in the traced forward pass."""
    image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
    variables = {"params": shapes_of(model, input_shape)}
    # As defined, not as Winograd saves them.
    with jax.default_matmul_precision("highest"):
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
        elif equation.primitive.name == "cond":  # a branch a platform
            (branches,) = {count(b.jaxpr) for b in equation.params["branches"]}
            total += branches
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
    model = create_model(name, num_classes=known.num_classes)
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


@pytest.mark.parametrize("name", ["alexnet_2012", "alexnet_torchvision", "lenet5"])
def test_it_trains_two_steps(name):
    """On the smallest images, with few channels, and as its author fed it.

    Every gradient of every network is in tests/test_golden.py.
    """
    size = 28 if name == "lenet5" else 67
    fields = {} if name == "lenet5" else {"width": 1 / 16}
    # Drawn so that two images move every bias.
    model = create_model(name, initializer="torch", **fields)
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
    shapes = shapes_of(create_model(name), (1, size, size, channels))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_layer_summary_prints_d2ls_lines(capsys):
    AlexNet(training=False).layer_summary((1, 224, 224, 1))
    assert capsys.readouterr().out == D2L_SUMMARY


def test_layer_summary_allocates_no_weights():
    before = sum(array.nbytes for array in jax.live_arrays())
    AlexNet(training=True).layer_shapes((1, 224, 224, 1))
    after = sum(array.nbytes for array in jax.live_arrays())
    assert after - before < 1_000_000  # the weights take 187 MB


def test_layers_carry_their_names():
    shapes = shapes_of(AlexNet(), (1, 224, 224, 1))
    convs, denses = [f"conv{i}" for i in range(1, 6)], ["fc6", "fc7", "fc8"]
    assert sorted(shapes) == convs + denses
    assert shapes["conv1"]["kernel"].shape == (11, 11, 1, 96)
    assert shapes["fc8"]["bias"].shape == (10,)


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
    model = create_model(name)
    model.layer_shapes((1, smallest, smallest, 1))
    size = smallest - 1
    with pytest.raises(InputError, match=f"image_size {size} is too small for"):
        model.layer_shapes((1, size, size, 1))


def test_unknown_names():
    with pytest.raises(InputError, match="model.name must be one of .*'vgg'$"):
        create_model("vgg")
    nearest = "got 'alexnet-papr'; the nearest: alexnet_paper"
    with pytest.raises(InputError, match=nearest):
        create_model("alexnet-papr")
    model = create_model("lenet5", initializer="kaiming")
    with pytest.raises(InputError, match="model.init must be one of .*'kaiming'"):
        model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))


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
    model = create_model("alexnet_paper", **{field: value})
    with pytest.raises(InputError, match=f"model.{field} must be in {allowed}; got"):
        model.layer_shapes((1, 224, 224, 3))


def test_width_halves_the_channels_to_even_numbers():
    half = create_model("alexnet_d2l", width=0.5, num_classes=10)
    shapes = shapes_of(half, (1, 224, 224, 1))
    made = [shapes[f"conv{i}"]["kernel"].shape[-1] for i in range(1, 6)]
    assert made == [48, 128, 192, 192, 128]
    assert shapes["fc7"]["kernel"].shape == (2048, 2048)
    least = shapes_of(create_model("caffenet", width=1e-3), (1, 227, 227, 3))
    assert least["conv4"]["kernel"].shape == (3, 3, 1, 2)


def test_keras_has_its_softmax_on_request():
    plain, softmax = (
        create_model("alexnet_keras", training=False, width=1 / 16, softmax=softmax)
        for softmax in (False, True)
    )
    image = jnp.linspace(0, 1, 2 * 67 * 67).reshape(2, 67, 67, 1)
    variables = jax.jit(plain.init)(keys(), image)
    expected = jax.nn.softmax(plain.apply(variables, image))
    np.testing.assert_allclose(softmax.apply(variables, image), expected, rtol=1e-6)


def activations(model, variables, image):
    """The outputs of all layers, by their names in the summary."""
    outputs = model.apply(
        variables, image, method=lambda self, x: [y for _, y in self.layer_outputs(x)]
    )
    names = [row.name for row in describe(model, image.shape)]
    return dict(zip(names, outputs, strict=True))


class TestTowers:
    """The first half of the maps is tower a's, the second tower b's."""

    def test_tower_a_sees_tower_b_from_conv3_on(self):
        model = create_model("alexnet_2012", training=False, width=0.25)
        image = 100 * jax.random.normal(jax.random.key(2), (1, 90, 90, 3))
        variables = jax.jit(model.init)(keys(), image)
        changed = jax.tree.map(jnp.copy, variables)
        for layer in ("conv1", "conv2"):
            for part, array in changed["params"][layer].items():
                half = array.shape[-1] // 2
                changed["params"][layer][part] = array.at[..., half:].multiply(2.0)
        before = activations(model, variables, image)
        after = activations(model, changed, image)
        for name in ("conv1", "norm1", "pool1", "conv2", "norm2", "mapnorm2", "pool2"):
            half = before[name].shape[-1] // 2
            a, b = np.split(np.asarray(before[name]), [half], axis=-1)
            new_a, new_b = np.split(np.asarray(after[name]), [half], axis=-1)
            np.testing.assert_array_equal(a, new_a, err_msg=name)
            assert not np.allclose(b, new_b), name
        half = before["conv3"].shape[-1] // 2
        assert not np.allclose(before["conv3"][..., :half], after["conv3"][..., :half])

    def test_merged_normalisation_changes_the_border_alone(self):
        model = create_model("alexnet_2012", training=False)
        image = 100 * jax.random.normal(jax.random.key(3), (1, 40, 40, 3))
        kernel = 0.01 * jax.random.normal(jax.random.key(4), (11, 11, 3, 96))
        conv1 = jax.lax.conv_general_dilated(
            image, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        (norm1,) = (layer for layer in norms_of(model) if layer.groups == 2)
        merged = dataclasses.replace(norm1, groups=1)
        differs = np.asarray(norm1(conv1) != merged(conv1)).any((0, 1, 2))
        assert list(np.flatnonzero(differs)) == [46, 47, 48, 49]


def norms_of(model):
    """The kinds of normalisation across maps that a network has."""
    found = []

    def look(self, x):
        layers = (layer for layer, _ in self.layer_outputs(x))
        found.extend(x for x in layers if isinstance(x, LocalResponseNorm))

    jax.eval_shape(
        lambda: nn.Module.init(model, keys(), jnp.zeros((1, 90, 90, 3)), method=look)
    )
    return set(found)


def test_dropout_is_active_in_training_alone():
    model = create_model("alexnet_half", num_classes=3, width=1 / 16)
    image = jnp.ones((2, 67, 67, 1))
    variables = jax.jit(model.init)(keys(), image)

    def logits(model, seed):
        return model.apply(variables, image, rngs={"dropout": jax.random.key(seed)})

    assert not np.array_equal(logits(model, 0), logits(model, 1))
    model = model.clone(training=False)
    np.testing.assert_array_equal(logits(model, 0), logits(model, 1))
    assert logits(model, 0).shape == (2, 3)
