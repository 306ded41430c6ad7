"""The diagram of a network's two towers."""

from typing import ClassVar

import pytest
from flax.linen import relu

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.tables import describe_model, summarize
from alexnet_jax.inspection.tower_diagram import draw_towers, stages
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.images import GaussianBlur
from alexnet_jax.models.base import AlexNetBase
from tests.graphs import Fork


def test_the_picture_is_drawn_from_the_network(tmp_path):
    path = tmp_path / "towers.png"
    draw_towers(summarize("caffenet"), path)
    assert path.stat().st_size > 10_000
    drawn = stages(summarize("caffenet"))
    assert [(stage.name, stage.reads) for stage in drawn] == [
        *[
            ("conv1", "local"),
            ("conv2", "local"),
            ("conv3", "both"),
            ("conv4", "local"),
        ],
        *[("conv5", "local"), ("fc6", "both"), ("fc7", "both"), ("fc8", "replicated")],
    ]
    assert [stage.name for stage in drawn if stage.halo] == ["conv1", "conv2"]
    assert not any(stage.halo for stage in stages(summarize("alexnet_2012")))
    assert drawn[1].output == (13, 13, 256) and drawn[1].extras == ["pool", "norm"]


def test_a_network_of_one_tower(tmp_path):
    with pytest.raises(InputError, match="needs a network of two towers; got lenet5"):
        draw_towers(summarize("lenet5"), tmp_path / "towers.png")


def test_a_network_that_is_no_chain(tmp_path):
    summary = describe_model("fork", Fork(), (1, 12, 12, 1))
    line = "^--picture needs a chain of layers; conv1 of fork reads images$"
    with pytest.raises(InputError, match=line):
        draw_towers(summary, tmp_path / "towers.png")
    assert not [*tmp_path.iterdir()]


class Blurred(AlexNetBase):
    """Two towers of images without detail."""

    towers: ClassVar[int] = 2

    def setup(self):
        self.net = self.sequential(
            [GaussianBlur(3, 1.0), self.conv("conv1", 8, 3), relu],
            [flatten, self.dense("fc8", self.num_classes)],
        )


def test_layers_before_the_first_with_weights(tmp_path):
    summary = describe_model("blurred", Blurred(), (1, 12, 12, 1))
    drawn = [(one.name, one.reads, one.output) for one in stages(summary)]
    assert drawn == [("conv1", "local", (10, 10, 8)), ("fc8", "replicated", (10,))]
    draw_towers(summary, tmp_path / "towers.png")
