"""What becomes of networks that are no chain, and of local weights."""

from typing import ClassVar

import numpy as np
import pytest
from flax.linen import relu

from alexnet_jax import export
from alexnet_jax.errors import InputError
from alexnet_jax.exporting.formats import Network, write_and_check
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.exporting.stablehlo import call_stablehlo
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import MODELS
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference
from alexnet_jax.trained import TrainedModel
from tests.exporting.cases import random_variables
from tests.exporting.runs import make_run
from tests.graphs import Fork, Joined

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


class Local(AlexNetBase):
    """A chain with weights of each place."""

    reference: ClassVar = Reference("a test", (12, 12, 1), 7, "")

    def setup(self):
        self.net = self.sequential(
            [self.conv("conv1", 4, 3, stride=2), relu, self.local("local2", 4, 3)],
            [flatten, self.dense("fc8", self.num_classes)],
        )


NETWORKS = {"fork": Fork, "joined": Joined, "local": Local}


@pytest.fixture(params=NETWORKS)
def workdir(request, tmp_path, monkeypatch):
    """A run of such a network with random weights."""
    for name, network in NETWORKS.items():
        monkeypatch.setitem(MODELS, name, network)
    changes = {"model.width": 1.0, "data.image_size": 12, "data.scale": "unit"}
    make_run(tmp_path / "run", request.param, (12, 12, 1), **changes)
    return tmp_path / "run"


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["stablehlo", "safetensors"])
def test_formats_that_hold_any_network(form, workdir, tmp_path):
    net = TrainedModel(workdir)
    folder = tmp_path / "out"
    folder.mkdir()
    _, check = write_and_check(form, folder, Network(net))
    assert check.difference is not None and check.difference < 1e-5
    if form == "stablehlo":
        image = np.random.default_rng(5).integers(0, 256, (3, 12, 12, 1), np.uint8)
        wanted = net.predict(image).probabilities
        found = call_stablehlo(folder, image)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        assert wanted.std(axis=0).max() > 1e-3  # images are told apart


WORDS = {
    "Fork": "error: network Fork cannot be exported: it is no chain of layers, layer "
    "conv1 reads images; formats stablehlo and safetensors hold any network",
    "Joined": "error: network Joined cannot be exported: it is no chain of layers, "
    "layer concat2 reads relu1 and relu2; formats stablehlo and safetensors hold any "
    "network",
    "Local": "error: layer local2, LocallyConnected, cannot be exported: other tools ",
}


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_formats_with_layers_of_their_own(form, workdir, tmp_path, error_line):
    pytest.importorskip(form)
    to = tmp_path / "out"
    line = error_line(export.main, workdir, f"--format={form}", f"--to={to}")
    assert line.startswith(WORDS[type(TrainedModel(workdir).model).__name__])
    assert not to.exists()


def test_without_other_libraries_it_is_said_too():
    for network in (Fork, Joined):
        variables = random_variables(network(), (12, 12, 1))
        with pytest.raises(InputError, match=f"network {network.__name__} cannot be"):
            list_operations(network(), variables, (12, 12, 1))


class InBlocks(AlexNetBase):
    """A chain that is written as blocks."""

    def setup(self):
        self.net = self.graph(
            ("conv1", "images", [self.conv("conv1", 4, 3, stride=2), relu]),
            ("fc8", "conv1", [flatten, self.dense("fc8", self.num_classes)]),
        )


def test_blocks_in_a_row_are_a_chain():
    variables = random_variables(InBlocks(), (12, 12, 1))
    found = list_operations(InBlocks(), variables, (12, 12, 1))
    assert [one.name for one in found] == ["conv1", "relu1", "flatten", "fc8"]
