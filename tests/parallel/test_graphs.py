"""Networks that are no chain on two devices are the network on one."""

from typing import ClassVar

import jax
import numpy as np
import pytest
from flax.linen import relu

from alexnet_jax.errors import InputError
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.graph import TakeTowers, blocks_of, concatenate
from alexnet_jax.layers.towers import GatherTowers
from alexnet_jax.models import MODELS
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.train import train_and_evaluate
from tests.graphs import Fork, Joined
from tests.helpers import checkpoint_of, compare, metrics_of, padded_batch, setup_towers

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


@pytest.fixture
def fork(monkeypatch):
    """The name of a registered network of two towers that is no chain."""
    monkeypatch.setitem(MODELS, "fork", Fork)
    return "fork"


@pytest.fixture
def padded():
    """A batch of 8 with 3 true images."""
    return padded_batch((8, 16, 16, 3), 3)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "layout", [(1, 2), pytest.param((2, 2), marks=pytest.mark.slow)]
)
def test_loss_and_every_gradient(fork, layout, padded):
    one, train_one, eval_one = setup_towers(fork, 1, 1, padded)
    many, train_many, eval_many = setup_towers(fork, *layout, padded)
    start = jax.device_get(one.params)
    after = train_one(one)
    # The rate is 1: what a parameter changes by is its gradient.
    compare(after, train_many(many))
    for (path, old), new in zip(
        jax.tree.leaves_with_path(start), jax.tree.leaves(after.params), strict=True
    ):
        assert np.abs(old - np.asarray(new)).max() > 0, jax.tree_util.keystr(path)
    compare(eval_one(one), eval_many(many))


def test_gathers_stand_before_what_reads_both_towers():
    tower = Fork(tower_axis="model")
    found = {}
    for block in blocks_of(tower.bind({}).net):
        for place, layer in enumerate(block.layers):
            if isinstance(layer, GatherTowers):
                found[block.name] = place, layer.reader, layer.replicated
    assert found == {
        "conv3": (0, "conv3", False),
        "fc6": (0, "fc6", False),
        "fc8": (0, "fc8", True),
    }


class Mixing(AlexNetBase):
    """Two towers, with blocks of a test's own after conv1 and conv2."""

    towers: ClassVar[int] = 2
    rest: tuple = ()

    def setup(self):
        conv = self.conv
        self.net = self.graph(
            ("conv1", "images", [conv("conv1", 4, 3, pad=1)]),
            ("conv2", "conv1", [conv("conv2", 4, 3, pad=1, groups=2), relu]),
            *(
                (name, reads, [self._make(layer) for layer in layers])
                for name, reads, layers in self.rest
            ),
        )

    def _make(self, layer):
        return layer if callable(layer) else self.dense(layer, self.num_classes)


FLAT = "parallel.model must be 1: flatten must stand right before the dense layer .*; "


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        (
            [("both", ("conv1", "conv2"), [concatenate, flatten, "fc8"])],
            "parallel.model must be 1: block both reads maps of several towers in "
            "another way than devices exchange them; got 2",
        ),
        (
            [("first", "conv2", [TakeTowers((0,), 2), flatten, "fc8"])],
            "parallel.model must be 1: block first reads maps of several towers in",
        ),
        (
            [("both", ("images", "conv2"), [lambda x: x[0] + x[1], flatten, "fc8"])],
            "parallel.model must be 1: block both reads maps of several towers in",
        ),
        (
            [("flat", "conv2", [flatten]), ("fc8", "flat", ["fc8"])],
            FLAT + "flat has it earlier",
        ),
        ([("fc8", "conv2", [flatten, relu, "fc8"])], FLAT + "fc8 has it earlier"),
        (
            [("end", "conv2", [flatten, "fc7"])],
            "parallel.model must be 1: the last layer with weights must be named fc8, ",
        ),
    ],
)
def test_towers_put_together_as_no_device_can(rest, line):
    images = (1, 6, 6, 4)
    Mixing(rest=rest).layer_shapes(images)  # on one device
    with pytest.raises(InputError, match=line) as error:
        Mixing(rest=rest, tower_axis="model").layer_shapes(images)
    assert "\n" not in str(error.value)


def test_a_network_without_towers_is_refused(monkeypatch, config, tmp_path):
    monkeypatch.setitem(MODELS, "joined", Joined)
    config.model.name, config.parallel.model = "joined", 2
    line = "^parallel.model must be 1 with joined, which has 1 tower; got 2"
    with pytest.raises(InputError, match=line):
        train_and_evaluate(config, tmp_path)


@pytest.fixture
def tiny(config):
    """A config of two epochs of four steps at 12×12."""
    config.model.name, config.model.init = "fork", "he"
    config.data.image_size, config.data.scale = 12, "standard"
    config.optim.learning_rate = 0.02
    config.num_epochs = 1
    return config


@pytest.mark.slow
def test_stopped_and_resumed(fork, tiny, tmp_path):
    whole = train_and_evaluate(tiny, tmp_path / "whole")
    tiny.num_train_steps = 2
    train_and_evaluate(tiny, tmp_path / "run")
    tiny.num_train_steps = None
    assert train_and_evaluate(tiny, tmp_path / "run") == whole
    states = [checkpoint_of(tmp_path / name, 4) for name in ("whole", "run")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    names = ("step", "train/loss", "test/loss")
    rows = [metrics_of(tmp_path / name, *names) for name in ("whole", "run")]
    assert rows[0][-1] == rows[1][-1]
