"""Towers on devices of their own are the network on one device."""

import re
import shutil
from pathlib import Path
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.collectives import bytes_by_device, describe_collectives
from alexnet_jax.inspection.lowering import lower_step
from alexnet_jax.inspection.tables import summarize
from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.towers import GatherTowers
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import layer_name
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.parallel import create_parallel
from alexnet_jax.train import train_and_evaluate
from tests.helpers import TOWERS_SIZE as SIZE
from tests.helpers import compare, padded_batch, setup_towers
from tests.models.table import TABLE

DOCS = (Path(__file__).parents[2] / "docs" / "parallel.md").read_text()
TOWERED = [name for name, known in TABLE.items() if known.towers == 2]
# Data × model; the first is one device, the next three pmap, the last towers.
LAYOUTS = ((1, 1), (2, 1), (8, 1), (1, 2), (4, 2))


@pytest.fixture
def padded():
    """A batch of 8 with 3 true images: of four rows two hold padding only."""
    return padded_batch((8, 16, 16, 3), 3)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(
            layout, id=str(layout), marks=[pytest.mark.slow] * (layout != (1, 2))
        )
        for layout in LAYOUTS[1:]
    ],
)
def test_loss_and_every_gradient(layout, padded):
    one, train_one, eval_one = setup_towers("alexnet_2012", 1, 1, padded)
    many, train_many, eval_many = setup_towers("alexnet_2012", *layout, padded)
    compare(train_one(one), train_many(many))
    compare(eval_one(one), eval_many(many))


# The step with the towers of `alexnet_2012` is tested above.
OTHERS = [name for name in TOWERED if name not in ("alexnet_2012", "alexnet_paper")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet_paper", *OTHERS])
def test_every_network_with_towers(name, padded):
    """Caffe's normalisation crosses from one device to the other."""
    one, train_one, _ = setup_towers(name, 1, 1, padded)
    many, train_many, _ = setup_towers(name, 1, 2, padded)
    compare(train_one(one), train_many(many))


def test_towers_are_what_the_table_says():
    towers = {name: kind.towers for name, kind in MODELS.items()}
    assert towers == {name: known.towers for name, known in TABLE.items()}


@pytest.mark.parametrize(
    ("name", "links"),
    [(name, True) for name in TOWERED]
    + [(name, False) for name in TOWERED if hasattr(MODELS[name], "links")],
)
def test_gathers_stand_before_what_reads_both_towers(name, links):
    fields = {} if links else {"links": False}
    tower = create_model(
        name, num_classes=10, training=True, tower_axis="model", **fields
    )
    layers = tower.bind({}).net.layers
    gathers = [layer for layer in layers if isinstance(layer, GatherTowers)]
    conv6 = ["conv6"] * (name == "alexnet_2012_conv6")
    readers = ["conv3", *conv6, "fc6", "fc7"] * links
    assert [layer.reader for layer in gathers] == [*readers, "fc8"]
    assert [layer.replicated for layer in gathers] == [False] * len(readers) + [True]
    for place, layer in enumerate(layers):
        if isinstance(layer, GatherTowers):
            reads = layers[place + 1 + (layers[place + 1] is flatten)]
            assert reads.name == layer.reader


@pytest.mark.slow
def test_clipping_sees_the_gradient_of_both_towers(padded):
    config = default_config().optim
    config.name, config.momentum, config.weight_decay = "sgd_2012", 0.9, 5e-4
    config.clip_norm = 1e-3
    schedule = create_schedule(config, 0.1, 1, 1)
    states = []
    for model_axis in (1, 2):
        tx = create_optimizer(config, schedule, "model" if model_axis == 2 else None)
        state, train, _ = setup_towers("alexnet_2012", 1, model_axis, padded, tx)
        states.append(train(state))
    compare(*states)


@pytest.mark.slow
def test_dropout_is_reproducible_and_differs_between_the_towers(padded):
    tx = optax.sgd(0.01, momentum=0.9)
    runs = []
    for _ in range(2):
        state, train, _ = setup_towers("alexnet_2012", 2, 2, padded, tx, rate=0.5)
        runs.append(train(train(train(state))))
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get(runs))
    # Where a unit was dropped for all images in all steps its bias never moved.
    bias = np.asarray(runs[0].opt_state[0].trace["fc7"]["bias"])
    a, b = np.split(bias == 0, 2)
    assert a.any() and b.any() and not np.array_equal(a, b)


@pytest.mark.heavy
def test_tower_a_up_to_pool2_does_not_see_tower_b():
    """The Jacobian on two devices: of each tower's maps by the other's parameters."""
    parallel = create_parallel(1, 2, 1, "alexnet_2012")
    fields = {"width": 1 / 16, "training": False, "initializer": "torch"}
    model = create_model("alexnet_2012", num_classes=10, **fields)
    tower = parallel.local_model(model)
    image = jax.random.normal(jax.random.key(1), (1, SIZE, SIZE, 3))
    params = jax.jit(model.init)(jax.random.key(0), image)["params"]

    def outputs(tower, x):
        return [(layer_name(layer), x) for layer, x in tower.layer_outputs(x)]

    def strengths(params, image):
        """What each tower's pool2 and its conv3 come to, `(1, 2)`."""
        made = tower.apply({"params": params}, image, method=outputs)
        names = [name for name, _ in made]
        pool2 = made[names.index("GatherTowers") - 1][1]
        conv3 = made[names.index("conv3")][1]
        return jnp.stack([jnp.square(pool2).sum(), jnp.square(conv3).sum()])[None]

    specs = parallel.specs(params)
    both = jax.shard_map(
        strengths,
        mesh=parallel.mesh,
        in_specs=(specs, PartitionSpec()),
        out_specs=PartitionSpec("model"),
        check_vma=False,
    )
    jacobian = jax.jit(jax.jacrev(both))(params, image)["conv2"]["kernel"]
    assert jacobian.shape[:2] == (2, 2)  # tower; pool2 or conv3
    # By whose parameters.
    a, b = np.split(np.abs(jacobian).max((2, 3, 4)), 2, axis=-1)
    assert a[0, 0].any() and b[1, 0].any()
    assert not b[0, 0].any() and not a[1, 0].any()
    assert b[0, 1].any() and a[1, 1].any()


def run(config, tmp_path, name, layout, steps):
    config.parallel.data, config.parallel.model = layout
    config.num_train_steps = steps
    return train_and_evaluate(config, tmp_path / name)


@pytest.fixture
def towers(config):
    config.model.name, config.model.width = "alexnet_2012", 1 / 8
    config.model.init, config.model.dropout_rate = "torch", 0.0
    config.data.image_size = 40
    config.optim.learning_rate = 0.01
    config.data.scale = "standard"
    return config


@pytest.mark.slow
def test_a_checkpoint_goes_from_layout_to_layout(towers, tmp_path, capsys):
    """Written by 2×2; opened by one, by pmap on four, and by one pair: the same."""
    run(towers, tmp_path, "run", (2, 2), 2)
    printed = capsys.readouterr().out
    assert "4 × cpu: 2 towers × 2 batch shards" in printed
    line = re.search(r"state +([\d.]+) MB on each .* ([\d.]+) MB in total", printed)
    each, whole = map(float, line.groups())
    assert 0.45 < each / whole < 0.55
    results = []
    for number, layout in enumerate([(2, 2), (1, 1), (4, 1), (1, 2)]):
        shutil.copytree(tmp_path / "run", tmp_path / str(number))
        results.append(run(towers, tmp_path, str(number), layout, 4))
    for result in results[1:]:
        assert result["test/top1"] == results[0]["test/top1"]
        assert result["test/loss"] == pytest.approx(results[0]["test/loss"], rel=1e-5)


@pytest.mark.slow
def test_nothing_is_said_but_what_2012_said():
    parallel = create_parallel(2, 2, 16, "alexnet_paper")
    step = describe_collectives(
        parallel, MODELS["alexnet_paper"], (16, 224, 224, 3), 1000
    )
    said = [
        (one.part, one.purpose, one.kind, one.sent_bytes / 4 / step.device_batch_size)
        for one in step.collectives
        if one.purpose not in ("count", "flag")
    ]
    gather, scatter = "all-gather", "reduce-scatter"
    *talk, gradients = said
    assert talk == [
        ("forward", "conv3", gather, 21_632),
        ("forward", "fc6", gather, 4_608),
        ("forward", "fc7", gather, 2_048),
        ("forward", "fc8", gather, 2_048),
        ("backward", "fc7", scatter, 2_048),
        ("backward", "fc6", scatter, 4_608),
        ("backward", "conv3", scatter, 21_632),
    ]
    assert gradients[:3] == ("update", "gradients", "all-reduce")
    tower, fc8 = 28_434_112, 4_097_000
    summed = {one.purpose: one.result_bytes // 4 for one in step.collectives}[
        "gradients"
    ]
    assert 0 <= summed - (tower + fc8) <= 3  # and the loss, hits and examples
    # Parameters and momentum, and a few numbers.
    assert 0 <= step.device_state_bytes - 8 * (tower + fc8) < 100
    assert 0 <= step.state_bytes - 8 * (2 * tower + fc8) < 100
    assert len(step.automatic) > 4 * len(step.collectives)


def test_memory_is_read_from_the_shards(padded):
    state, _, _ = setup_towers("alexnet_paper", 2, 2, padded)
    memory = bytes_by_device(state.params)
    sizes = {
        name: sum(leaf.nbytes for leaf in layer.values())
        for name, layer in state.params.items()
    }
    half = (sum(sizes.values()) - sizes["fc8"]) // 2
    assert len(memory) == 4 and set(memory.values()) == {half + sizes["fc8"]}


def test_the_arithmetic_in_the_docs():
    paper = {row.name: row.params for row in summarize("alexnet_paper").layers}
    whole, fc8 = sum(paper.values()), paper["fc8"]
    convolutions = sum(paper[f"conv{number}"] for number in range(1, 6))
    half = (whole - fc8) // 2 + fc8

    def summed(count, devices):
        return 2 * (devices - 1) / devices * 4 * count

    def towers(devices):
        talk = 4 * 128 * (2 * (21_632 + 4_608 + 2_048) + 2_048)
        return talk + summed(half, devices // 2)

    def one_weird_trick(devices):
        gathered = (devices - 1) * 4 * 64 * 2 * (9_216 + 4_096 + 4_096)
        return summed(convolutions, devices) + gathered

    for devices in (2, 8, 64, 512):
        sent = summed(whole, devices), towers(devices), one_weird_trick(devices)
        cells = " | ".join(f"{count / 1e6:,.1f} MB" for count in sent)
        assert f"| {devices} | {cells} |" in DOCS
    assert one_weird_trick(52) < summed(whole, 52)
    assert one_weird_trick(53) > summed(whole, 53)
    step_s = 64 * 3 * 2 * sum(row.macs for row in summarize("alexnet_paper").layers)
    step_s /= 0.4 * 790e12
    for devices, link, rate in (
        ("8, one machine", "NVLink", 450e9),
        ("64", "InfiniBand", 50e9),
        ("512", "InfiniBand", 50e9),
    ):
        count = int(devices.partition(",")[0])
        seconds = summed(whole, count) / rate, towers(count) / rate
        cells = " | ".join(f"{1e3 * second:.2f} ms" for second in seconds)
        assert f"| {devices} | {link} | {cells} |" in DOCS
        images = [int(64 * second / step_s + 0.5) for second in seconds]
        rows = DOCS.splitlines()
        row = next(line for line in rows if f"| {devices} | {link}" in line)
        found = [int(word) for word in re.findall(r"\d+", row.rpartition("ms |")[2])]
        assert found == pytest.approx(images, abs=1)


@pytest.mark.parametrize(
    ("data", "model", "batch_size", "name", "line"),
    [
        (1, 2, 8, "lenet5", "parallel.model must be 1 with lenet5, .* caffenet$"),
        (1, 4, 8, "caffenet", "parallel.model must be 1 or 2 with caffenet"),
        (8, 2, 8, "caffenet", "parallel.data × parallel.model .* 8, .* got 8 × 2"),
        (4, 2, 6, "caffenet", "batch_size must be a multiple of the 4 .* got 6"),
    ],
)
@pytest.mark.usefixtures("eight_devices")
def test_layouts_that_cannot_be(data, model, batch_size, name, line):
    with pytest.raises(InputError, match=line) as error:
        create_parallel(data, model, batch_size, name)
    assert "\n" not in str(error.value)


def test_all_devices_are_taken_in_pairs():
    parallel = create_parallel(-1, 2, 8, "caffenet")
    assert parallel.mesh.devices.shape == (4, 2)
    assert len({*parallel.mesh.devices.flat}) == 8


@pytest.mark.heavy
@pytest.mark.parametrize("layout", [(2, 1), (1, 2)])
def test_a_step_is_lowered_for_rectangles(layout):
    name = "lenet5" if layout[1] == 1 else "alexnet_2012"
    parallel = create_parallel(*layout, 2, name)
    lowered = lower_step(parallel, MODELS[name], (2, 67, 99, 1), 10)
    assert "2x67x99x1xui8" in lowered.as_text() or "1x67x99x1xui8" in lowered.as_text()


class Undivided(AlexNetBase):
    """Two towers up to a layer that no device can have a share of."""

    towers: ClassVar[int] = 2
    layer: str = "local2"

    def setup(self):
        layers = {
            "local2": self.local("local2", 4, 3),
            "bias2": self.place_bias("bias2"),
            "RandomChannels": RandomChannels(1, 0),
        }
        self.net = self.sequential(
            [self.conv("conv1", 8, 3, pad=1), nn.relu],
            [layers[self.layer], flatten, self.dense("fc8", self.num_classes)],
        )


@pytest.mark.parametrize("name", ["local2", "bias2", "RandomChannels"])
def test_layers_without_a_share(name):
    model = Undivided(layer=name)
    model.layer_shapes((1, 6, 6, 1))  # on one device
    line = f"parallel.model must be 1: {name} cannot be divided between devices"
    with pytest.raises(InputError, match=line):
        model.clone(tower_axis="model").layer_shapes((1, 6, 6, 1))


def test_groups_of_what_every_tower_has():
    """A tower's share of the maps is not what its groups read."""
    model = GroupedImages(tower_axis="model")
    with pytest.raises(InputError, match="conv1 cannot be divided between devices"):
        model.layer_shapes((1, 6, 6, 4))


def test_groups_that_several_towers_share():
    model = PairsOfTowers(tower_axis="model")
    with pytest.raises(InputError, match="conv2 cannot be divided between devices"):
        model.layer_shapes((1, 6, 6, 1))


class PairsOfTowers(AlexNetBase):
    """Four towers, of which two each read each other's maps."""

    towers: ClassVar[int] = 4

    def setup(self):
        conv = self.conv
        self.net = self.sequential([conv("conv1", 8, 1), conv("conv2", 8, 1, groups=2)])


class GroupedImages(AlexNetBase):
    """A first convolution in groups."""

    towers: ClassVar[int] = 2

    def setup(self):
        self.net = self.sequential([self.conv("conv1", 8, 3, groups=2)])
