"""The diagram of a network's two towers."""

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.tables import summarize
from alexnet_jax.inspection.tower_diagram import draw_towers, stages


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
