"""Reports of networks that are no chain, and of those without a conv1."""

import re

import numpy as np
import pytest
from flax.linen import relu

from alexnet_jax.data import Batches
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import MODELS
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference
from alexnet_jax.reporting.sections import filter_sections, prediction_sections
from alexnet_jax.trained import load
from tests.exporting.runs import make_run
from tests.graphs import Fork

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


class Local(AlexNetBase):
    """Each place has weights of its own."""

    reference = Reference("a test", (12, 12, 1), 7, "")

    def setup(self):
        self.net = self.sequential(
            [self.local("local1", 4, 3, stride=2), relu],
            [flatten, self.dense("fc8", self.num_classes)],
        )


class Dense(AlexNetBase):
    """There are no maps."""

    reference = Reference("a test", (12, 12, 1), 7, "")

    def setup(self):
        self.net = self.sequential([flatten, self.dense("fc8", self.num_classes)])


def sections_of(network, tmp_path, monkeypatch):
    """The sections of a run with random weights, by their names."""
    monkeypatch.setitem(MODELS, "mine", network)
    changes = {"model.width": 1.0, "data.image_size": 12, "data.scale": "unit"}
    make_run(tmp_path / "run", "mine", (12, 12, 1), streamed=False, **changes)
    net = load(tmp_path / "run")
    draw = np.random.default_rng(4)
    image = draw.integers(0, 256, (6, 12, 12, 1), np.uint8)
    label = draw.integers(0, 7, 6).astype(np.int32)
    split = Batches(image, label, batch_size=4, seed=0)
    found = [*filter_sections(net), *prediction_sections(net, split, 6)]
    return {section.name: section for section in found}


@pytest.mark.slow
def test_a_network_that_is_no_chain(tmp_path, monkeypatch):
    found = sections_of(Fork, tmp_path, monkeypatch)
    assert "8 filters of 3×3×1 weights (4 in each of" in found["filters"].html
    shown = re.findall(r"maps of (\w+) that vary most", found["features"].html)
    assert shown == ["conv1", "conv2a", "conv2b", "conv3"]


@pytest.mark.heavy
def test_local_weights_are_no_filters(tmp_path, monkeypatch):
    found = sections_of(Local, tmp_path, monkeypatch)
    assert "filters" not in found
    assert "maps of local1 that vary most" in found["features"].html


@pytest.mark.heavy
def test_without_maps_there_are_no_figures_of_them(tmp_path, monkeypatch):
    found = sections_of(Dense, tmp_path, monkeypatch)
    assert not {"filters", "features"} & {*found} and "confusion" in found
