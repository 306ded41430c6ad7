"""The released files of 2012 and 2014: they are what the hand-written tables say.

The files are others'; `CUDA_CONVNET_DIR` names their folder.
"""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.experiments import read_experiments
from alexnet_jax.inspection.layers import describe
from alexnet_jax.inspection.tables import side_by_side, summarize
from alexnet_jax.models import create_configured, create_model
from alexnet_jax.models.cuda_convnet import (
    Experiment,
    network_class,
    params_beside,
    read_text,
)
from alexnet_jax.optim import create_optimizer, create_schedule, group_of
from alexnet_jax.preprocessing.pipeline import scale_and_resize
from alexnet_jax.step import create_state, make_train_step
from alexnet_jax.transfer.layer_updates import updates_of

# By layer file, the network that was written by hand, and its ablations.
TWINS = {
    "2012/layers/layers-145.cfg": ("alexnet_2012", {}),
    "2012/layers/layers-145-half.cfg": ("alexnet_2012_one_gpu", {}),
    "2012/layers/layers-147.cfg": ("alexnet_2012", {"pooling": "2x2"}),
    "2012/layers/layers-148.cfg": ("alexnet_2012", {"normalization": "none"}),
    "2012/layers/layers-150.cfg": ("alexnet_2012", {"links": False}),
    "2012/layers/layers-146-2012-2011.cfg": ("alexnet_2012_conv6", {}),
    "2014/layers/layers-imagenet-1gpu.cfg": ("alexnet_one_weird_trick", {}),
}
FIRST = next(iter(TWINS))
# Its weights were taken from another run.
DRAWN = {"2012/layers/layers-146-2012-2011.cfg": "2012"}
IMAGES = (1, 224, 224, 3)


def pair(released, file, **fields):
    """The network of a file and the one that was written by hand."""
    name, ablations = TWINS[file]
    given = {"initializer": DRAWN[file]} if file in DRAWN else {}
    read = create_model(f"cfg:{released / file}", **given, **fields)
    return read, create_model(name, num_classes=read.num_classes, **ablations, **fields)


@pytest.fixture(scope="module")
def rows(released):
    return read_experiments(released)


@pytest.mark.heavy
def test_each_file_is_read_or_refused_in_one_line(released, rows):
    files = [*released.rglob("*.cfg")]
    layers = [row for row in rows if row.has_layers]
    of_params = [row for row in rows if row.has_params]
    assert (len(files), len(layers), len(of_params)) == (190, 78, 112)
    refused = [row for row in layers if row.refused]
    assert len(layers) - len(refused) == 72
    refused_params = [row for row in of_params if row.params_refused]
    assert len(of_params) - len(refused_params) == 111
    names = {file.name for file in files}
    said = [row.refused for row in refused]
    said += [row.params_refused for row in refused_params]
    for line in said:
        file, number, rest = re.fullmatch(r"([^:]+\.cfg):(\d+): (.+)", line).groups()
        assert file in names and int(number) > 1
        assert "is not supported: " in rest
    kinds = sorted(re.search(r"type (\S+) is not", row.refused)[1] for row in refused)
    assert kinds == [
        "cost.crossent2", "cost.crossent2", "cost.rflickr", "cost.sum2", "treefc",
        "treefc",
    ]  # fmt: skip


@pytest.mark.parametrize("file", TWINS)
def test_layers_shapes_parameters_and_multiply_adds(released, file):
    read, by_hand = pair(released, file)
    assert describe(read, IMAGES) == describe(by_hand, IMAGES)
    assert read.author_scale == by_hand.author_scale
    assert read.towers == by_hand.towers
    assert type(read).reference.input_shape == IMAGES[1:]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=() if file == FIRST else pytest.mark.slow)
        for file in TWINS
    ],
)
def test_first_values_are_the_same_to_the_bit(released, file):
    read, by_hand = pair(released, file, width=0.125)
    images = jnp.zeros((1, 67, 67, 3), jnp.float32)
    made = [jax.jit(one.init)(jax.random.key(3), images) for one in (read, by_hand)]
    jax.tree.map(np.testing.assert_array_equal, *made)
    assert jax.tree.leaves(made[0]["params"])[0].size


@pytest.mark.parametrize("file", [file for file in TWINS if not TWINS[file][1]])
def test_nothing_differs_side_by_side(released, file):
    read = summarize(f"cfg:{released / file}")
    by_hand = summarize(TWINS[file][0])
    table = side_by_side([read, by_hand], [read.name, by_hand.name])
    (marks, *_) = table.columns
    assert set(marks.cells) == {""}


@pytest.mark.parametrize(
    "file", [file for file in TWINS if (file.startswith("2012") and file not in DRAWN)]
)
def test_momentum_decay_and_the_ratio_of_rates_are_sgd_2012s(released, file):
    read, _ = pair(released, file)
    updates = read.layer_updates
    for name, update in updates.arrays.items():
        is_kernel = name.endswith("kernel")
        assert update.momentum == 0.9
        assert update.weight_decay == (5e-4 if is_kernel else 0.0)
        assert update.max_norm == 0 and update.contrast == (0.0, 0.0)
        if is_kernel and update.rate.base:
            bias = updates.arrays[name.replace("kernel", "bias")].rate.base
            # Twice the kernels', which alone were divided by ten as the run went on.
            tens = math.log10(bias / (2 * update.rate.base))
            assert 0 <= round(tens) <= 3 and tens == pytest.approx(round(tens))
    assert updates.coefficient == 1.0


def test_rates_of_145_are_those_of_the_last_stage(released):
    read, _ = pair(released, "2012/layers/layers-145.cfg")
    optim = default_config().optim
    optim.schedule, optim.learning_rate = "2012", 0.01
    last = create_schedule(optim, 0.01, 1, 90)
    for name, update in read.layer_updates.arrays.items():
        expected = 2.0 ** name.endswith("bias") * float(of_array(last, name)(89))
        assert update.rate.base == pytest.approx(expected, rel=1e-6), name
        assert update.rate.kind == "constant"


def of_array(schedule, name):
    """An array's rate, which is that of the narrowest group."""
    path = [jax.tree_util.DictKey(key) for key in name.split("/")]
    return schedule[group_of(path, schedule)]


def test_rates_of_2014_are_those_of_a_whole_run(released):
    read, _ = pair(released, "2014/layers/layers-imagenet-1gpu.cfg")
    optim = default_config().optim
    optim.schedule, optim.learning_rate = "one_weird_trick", 0.01
    steps = 1000
    schedule = create_schedule(optim, 0.01, 10, steps // 10)
    for name, update in read.layer_updates.arrays.items():
        is_bias = name.endswith("bias")
        rate = of_array(schedule, name)
        for step in range(0, steps, 37):
            expected = float(rate(step)) * (2 if is_bias else 1)
            found = float(update.rate.at(step / steps))
            assert found == pytest.approx(expected, rel=1e-5), (name, step)
        assert update.momentum == 0.9
        assert update.weight_decay == (0 if is_bias else 5e-4)


def three_steps(name, of_params=None, **settings):
    """Parameters after three steps at a narrow width."""
    config = default_config()
    config.model.name, config.model.width = name, 0.125
    config.optim.learning_rate = 0.01
    for key, value in settings.items():
        config.model[key] = value
    if of_params:
        config.optim.params = of_params
    else:
        config.optim.name = "sgd_2012"
        config.optim.momentum, config.optim.weight_decay = 0.9, 5e-4
    model = create_configured(config)
    updates = updates_of(model, config.optim.params)
    schedule = create_schedule(config.optim, model.lr, 10, 10, updates)
    optimizer = create_optimizer(config.optim, schedule, None, updates)
    state = create_state(model, optimizer, (1, 67, 67, 3), jax.random.key(0))
    step = jax.jit(
        make_train_step(
            model, optimizer, partial(scale_and_resize, size=(67, 67)),
            steps_per_epoch=10, log_every_steps=1,
        )
    )  # fmt: skip
    generator = np.random.RandomState(0)
    for _ in range(3):
        batch = {
            "image": generator.randint(0, 256, (4, 67, 67, 3)).astype(np.uint8),
            "label": generator.randint(0, 10, 4).astype(np.int32),
            "mask": np.ones(4, bool),
        }
        state, _ = step(state, batch, jax.random.key(1))
    return model.variable_shapes((1, 67, 67, 3))["params"], state.params


@pytest.mark.heavy
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=() if file == FIRST else pytest.mark.slow)
        for file in TWINS
    ],
)
def test_three_steps_are_the_same_to_the_bit(released, file, compiled_in_a_hurry):
    name, ablations = TWINS[file]
    path = released / file
    given = {"init": DRAWN[file]} if file in DRAWN else {}
    _, read = three_steps(f"cfg:{path}", str(params_beside(str(path))), **given)
    _, by_hand = three_steps(name, **ablations)
    jax.tree.map(np.testing.assert_array_equal, read, by_hand)
    fresh, _ = pair(released, file, width=0.125)
    # conv1 learned something, so that it is steps that are compared.
    drawn = fresh.init(jax.random.key(0), jnp.zeros((1, 67, 67, 3), jnp.float32))
    assert (drawn["params"]["conv1"]["kernel"] != read["conv1"]["kernel"]).any()


def described(released):
    """The networks of all layer files that are read, at a narrow width."""
    for file in sorted(released.rglob("layers*.cfg")):
        beside = params_beside(str(file))
        text = None if beside is None else read_text(str(beside), "params")
        for of_params in {text, None} if text else {None}:
            try:
                network = network_class(
                    Experiment(
                        f"cfg:{file.name}", read_text(str(file), "layers"), of_params,
                        strict=False, is_complete=False,
                    )
                )  # fmt: skip
            except InputError:
                continue
            yield file, network(width=0.1, training=False)
            break


@pytest.mark.slow
def test_every_network_has_its_classes_at_a_narrow_width(released):
    count = 0
    for file, model in described(released):
        shape = (1, *model.reference.input_shape)
        assert model.layer_shapes(shape)[-1][1] == (1, model.num_classes), file
        count += 1
    assert count == 72


@pytest.mark.slow
def test_every_kind_of_network_takes_an_image(released, compiled_in_a_hurry):
    """A network is of a kind of its own if it has a layer that none before it has."""
    seen, count = set(), 0
    for file, model in described(released):
        shape = (1, *model.reference.input_shape)
        rows = describe(model, shape)
        found = {(row.kind, re.sub(r"[\d.]+", "", row.settings)) for row in rows}
        if found <= seen:
            continue
        seen |= found
        count += 1
        image = jnp.ones(shape, jnp.float32)
        logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), image)
        assert logits.shape == (1, model.num_classes)
        assert jnp.isfinite(logits).all(), file
    assert count > 10
