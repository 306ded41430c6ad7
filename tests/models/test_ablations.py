"""The ablations: each changes what it says, and nothing else."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.normalization import LocalResponseNorm, MapNorm
from alexnet_jax.layers.pooling import max_pool_2x2, max_pool_ceil
from alexnet_jax.models import ABLATIONS, MODELS, create_configured, create_model
from alexnet_jax.models.ablations import Ablatable, ablate
from alexnet_jax.step import create_state, make_train_step
from tests.helpers import activations, compare, padded_batch, setup_towers, shapes_of

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

ABLATABLE = [name for name, kind in MODELS.items() if issubclass(kind, Ablatable)]


class Known(NamedTuple):
    """What is known of alexnet_2012 with an ablation, at 224×224 and 1000 classes."""

    params: int
    macs: int
    sides: list[int]  # of the maps after conv1, pool1, conv2, pool2, conv5 and pool5
    kinds: set[str]  # that it has besides those of all, or that replace ...
    gone: set[str]  # ... these


AUTHOR = [55, 27, 27, 13, 13, 6]
NORMS = {"lrn", "map_norm"}
TABLE = {
    ("normalization", "none"): Known(60_965_224, 724_406_816, AUTHOR, set(), NORMS),
    ("normalization", "batch"): Known(
        60_965_224 + 2 * (96 + 256), 724_406_816, AUTHOR, {"batch_norm"}, NORMS
    ),
    # layers-147.cfg: conv2 pads 1 and conv5 nothing, so fc6 reads as many units.
    ("pooling", "2x2"): Known(
        60_965_224,
        686_891_552,
        [55, 28, 26, 13, 11, 6],
        {"max_pool_2x2"},
        {"max_pool_ceil"},
    ),
    ("pooling", "average"): Known(
        60_965_224, 724_406_816, AUTHOR, {"avg_pool_3x3"}, {"max_pool_ceil"}
    ),
    ("activation", "tanh"): Known(60_965_224, 724_406_816, AUTHOR, {"tanh"}, {"relu"}),
    # layers-150.cfg: more maps in conv2 and units in fc6 make up for the links.
    ("links", False): Known(60_714_408, 724_323_872, AUTHOR, set(), {"flatten"}),
}


def rows_of(**fields):
    model = create_model("alexnet_2012", training=True, num_classes=1000, **fields)
    return describe(model, (1, 224, 224, 3))


def test_every_ablation_is_in_the_table():
    assert {field for field, _ in TABLE} == ABLATIONS.keys()


def test_without_ablations_nothing_is_exchanged():
    layers = [nn.Conv(8, (3, 3), name="conv1"), nn.relu, max_pool_ceil, flatten]
    assert ablate(layers) == layers


def test_parts_are_exchanged_in_their_places():
    layers = [nn.relu, LocalResponseNorm("paper"), max_pool_ceil, MapNorm(), flatten]
    exchanged = ablate(layers, activation="tanh", pooling="2x2", normalization="none")
    assert exchanged == [nn.tanh, max_pool_2x2, flatten]


@pytest.mark.parametrize("ablation", TABLE, ids=str)
def test_parameters_shapes_and_layers(ablation):
    known, plain, rows = TABLE[ablation], rows_of(), rows_of(**dict([ablation]))
    assert sum(row.params for row in rows) == known.params
    assert sum(row.macs for row in rows) == known.macs
    sides = {row.name: row.output_shape[1] for row in rows}
    names = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")
    assert [sides[name] for name in names] == known.sides
    kinds = {row.kind for row in plain} - known.gone | known.kinds
    assert {row.kind for row in rows} == kinds
    assert rows[-1].receptive_field is not None


def test_the_weights_are_the_same_but_where_links_are_cut():
    plain = shapes_of(
        create_model("alexnet_2012", num_classes=10, training=True), (1, 224, 224, 3)
    )
    for field, value in TABLE:
        model = create_model(
            "alexnet_2012", num_classes=10, training=True, **{field: value}
        )
        shapes = shapes_of(model, (1, 224, 224, 3))
        changed = {
            layer
            for layer in plain
            if shapes[layer]["kernel"] != plain[layer]["kernel"]
        }
        if field == "links":
            assert changed == {"conv2", "conv3", "fc6"}
            assert shapes["conv3"]["kernel"].shape == (3, 3, 160, 384)
            assert shapes["fc6"]["kernel"].shape == (6 * 6 * 128, 8192)
            # fc7 is of 4,096 units that read 4,096 of a tower, instead of both halves.
            assert shapes["fc7"]["kernel"].shape == (4096, 4096)
        else:
            assert changed == set()
        new = {"norm1", "norm2"} if value == "batch" else set()
        assert shapes.keys() - plain.keys() == new


@pytest.mark.parametrize("name", ABLATABLE)
def test_every_network_takes_them_together(name):
    links = MODELS[name].towers == 1
    fields = {"pooling": "2x2", "normalization": "batch", "activation": "tanh"}
    model = create_model(name, training=True, num_classes=1000, links=links, **fields)
    kinds = {row.kind for row in describe(model, (1, 224, 224, 3))}
    assert kinds.isdisjoint({*NORMS, "relu", "max_pool_ceil"})
    assert kinds >= {"batch_norm", "tanh", "max_pool_2x2"}
    assert ("flatten" in kinds) is links


@pytest.mark.slow
def test_without_links_towers_meet_in_fc8_alone():
    model = create_model(
        "alexnet_2012", num_classes=10, training=False, width=1 / 8, links=False
    )
    model = model.clone(initializer="torch")
    image = jax.random.normal(jax.random.key(2), (1, 67, 67, 1))
    variables = jax.jit(model.init)(jax.random.key(0), image)
    changed = jax.tree.map(jnp.copy, variables)
    half = changed["params"]["conv1"]["bias"].shape[0] // 2
    bias = changed["params"]["conv1"]["bias"]
    changed["params"]["conv1"]["bias"] = bias.at[half:].add(1.0)
    look = jax.jit(lambda variables: activations(model, variables, image))
    before, after = look(variables), look(changed)
    for name in ("conv1", "pool2", "conv3", "conv5", "fc6", "fc7"):
        a, b = np.split(np.asarray(before[name] != after[name]), 2, axis=-1)
        assert not a.any() and b.any(), name
    assert (before["fc8"] != after["fc8"]).all()


# In pairs, since each compiles: what BatchNorm does not need, and what it may meet.
PLAIN = {"normalization": "none", "pooling": "average", "activation": "tanh"}
CUT = {"normalization": "batch", "pooling": "2x2", "links": False}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("fields", "layouts"),
    [
        pytest.param(PLAIN, [(1, 2)], id="plain", marks=pytest.mark.slow),
        pytest.param(CUT, [(2, 2)], id="cut", marks=pytest.mark.slow),
    ],
)
def test_any_devices_make_the_same_step(fields, layouts):
    """And every kernel has a gradient, in both towers."""
    batch = padded_batch((8, 16, 16, 3), 6)
    one, train_one, eval_one = setup_towers("alexnet_2012", 1, 1, batch, **fields)
    before = jax.device_get(one)
    after = train_one(one)
    for layer, parts in after.params.items():
        part = "scale" if layer.startswith("norm") else "kernel"
        moved = np.asarray(parts[part] != before.params[layer][part])
        halves = np.split(moved, 2, axis=-1) if layer != "fc8" else [moved]
        assert all(half.any() for half in halves), layer
    for name, statistics in after.batch_stats.items():
        assert (statistics["mean"] != 0).all(), name
    for layout in layouts:
        many, train_many, eval_many = setup_towers(
            "alexnet_2012", *layout, batch, **fields
        )
        compare(after, train_many(many))
    compare(eval_one(one), eval_many(many))


@pytest.mark.slow
def test_batch_norm_trains_in_bfloat16():
    """Its statistics stay float32."""
    model = create_model(
        "alexnet_2012",
        num_classes=10,
        training=True,
        width=1 / 16,
        normalization="batch",
    )
    tx = optax.sgd(0.1)
    image = np.random.default_rng(0).normal(size=(4, 67, 67, 1)).astype(np.float32)
    step = make_train_step(
        model, tx, lambda x: x, dtype="bfloat16", steps_per_epoch=9, log_every_steps=9
    )
    state = create_state(model, tx, image.shape, jax.random.key(0))
    batch = {
        "image": jnp.asarray(image),
        "label": jnp.arange(4, dtype=jnp.int32),
        "mask": jnp.ones(4, bool),
    }
    state, _ = jax.jit(step)(state, batch, jax.random.key(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.batch_stats)} == {
        jnp.dtype("float32")
    }
    assert (state.batch_stats["norm1"]["mean"] != 0).all() and not state.first_bad


@pytest.mark.slow
def test_batch_norm_uses_the_batch_in_training_and_what_it_ran_up_after():
    model = create_model(
        "alexnet_paper",
        num_classes=10,
        training=True,
        width=1 / 16,
        normalization="batch",
    )
    image = 100 * jax.random.normal(jax.random.key(2), (4, 67, 67, 1))
    variables = jax.jit(model.init)(jax.random.key(0), image)

    def norm1(model, image):
        outputs = {type(layer): x for layer, x in model.layer_outputs(image)}
        return outputs[nn.BatchNorm]  # the last: norm2

    keys = {"dropout": jax.random.key(3)}
    trained, changes = model.apply(
        variables, image, rngs=keys, method=norm1, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(trained.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(trained.var((0, 1, 2)), 1, atol=1e-2)
    evaluated = model.clone(training=False).apply(
        {**variables, **changes}, image, method=norm1
    )
    assert not np.allclose(trained, evaluated)
    alone = model.clone(training=False).apply(
        {**variables, **changes}, image[:1], method=norm1
    )
    np.testing.assert_allclose(evaluated[:1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "field", "value", "line"),
    [
        ("alexnet_paper", "normalization", "lrn", "must be one of .*; got 'lrn'$"),
        ("alexnet_2012", "pooling", "max", "must be one of .*; got 'max'$"),
        ("alexnet_2012", "activation", "relu6", "must be one of .*; got 'relu6'$"),
        ("alexnet_2012_one_gpu", "links", False, "must be True .* one tower; got F"),
        ("alexnet_d2l", "pooling", "2x2", "must be 'author' with .*: alexnet_paper, "),
        (
            "lenet5",
            "links",
            False,
            "must be True with lenet5, .* got False; networks with ",
        ),
    ],
)
def test_ablations_that_cannot_be(name, field, value, line, config):
    config.model.name, config.model[field] = name, value
    with pytest.raises(InputError, match=f"^model.{field} {line}") as error:
        create_configured(config)
    assert "\n" not in str(error.value)
