"""What is exported comes back at every image size and number of channels."""

import importlib.util
import sys

import jax
import numpy as np
import pytest

from alexnet_jax.config import differences
from alexnet_jax.convert import main
from alexnet_jax.export import main as export
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.exporting.torch_module import state_dict_names
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights import torch_networks
from alexnet_jax.weights.conventions import TORCHVISION, TWIN
from tests.exporting.runs import make_run
from tests.weights import writers

GRAY = {"data.image_size": 64, "data.scale": "standard", "data.name": "fashion_mnist"}
CASES = {
    "square": ("alexnet_torchvision", (40, 44, 3), {"data.image_size": 256,
               "augment.canvas": 280}),  # maps of 7×7
    "rectangle": ("alexnet_torchvision", (80, 90, 3), {"data.image_size": (70, 85),
                  "augment.canvas": (80, 90)}),
    "columns": ("alexnet_torchvision", (40, 44, 3), {"data.image_size": (224, 280),
                "augment.canvas": 280}),  # 6 rows, more columns
    "gray": ("alexnet_torchvision", (28, 28, 1), GRAY),
    "gray Caffe": ("alexnet_caffe", (28, 28, 1), GRAY | {"data.image_size": 67}),
}  # fmt: skip


def assert_same_run(one, other):
    one, other = TrainedModel(one), TrainedModel(other)
    assert not [*differences(one.config, other.config)]
    assert other.spec.matches(one.spec)
    jax.tree.map(np.testing.assert_array_equal, other.weights, one.weights)


GRAPHS = [
    pytest.param(case, inside, marks=() if quick else pytest.mark.slow)
    for case in CASES
    for inside in (False, True)
    for quick in [inside and case in ("rectangle", "gray")]
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "inside"), GRAPHS)
def test_a_graph(case, inside, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    network, shape, changes = CASES[case]
    make_run(tmp_path / "a", network, shape, shape[-1] == 3, **changes)
    flags = ["--with-preprocessing"] * inside
    export([str(tmp_path / "a"), "--format=onnx", f"--to={tmp_path / 'x'}", *flags])
    capsys.readouterr()
    main([str(tmp_path / "x" / "model.onnx"), f"--to={tmp_path / 'b'}"])
    out, err = capsys.readouterr()
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert err == "" and "ONNX Runtime" in out and "left out" not in out


def write_state_dict(run, folder):
    """Writes what `export` does of a run, without PyTorch."""
    net = TrainedModel(run)
    variables = {"params": net.weights["params"], **net.weights["model_state"]}
    operations = list_operations(net.model, variables, net.input_shape[1:])
    folder.mkdir()
    arrays = state_dict_names(net.config.model.name, operations)
    writers.save_torch(folder / "model.pth", writers.state_dict(arrays))
    net.spec.save(folder)
    text = (run / "config.json").read_bytes()
    (folder / "config.json").write_bytes(text)
    return folder / "model.pth"


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES)
def test_a_state_dict(case, tmp_path):
    network, shape, changes = CASES[case]
    make_run(tmp_path / "a", network, shape, shape[-1] == 3, **changes)
    path = write_state_dict(tmp_path / "a", tmp_path / "x")
    main([str(path), f"--to={tmp_path / 'b'}"])
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("network", "wanted"),
    [("alexnet_caffe", TWIN), ("alexnet_torchvision", TORCHVISION)],
)
def test_logits_are_of_the_files_own_names(network, wanted, tmp_path, monkeypatch):
    make_run(tmp_path / "a", network)
    path = write_state_dict(tmp_path / "a", tmp_path / "x")
    tool = type(sys)("torch")
    tool.__version__, tool.__spec__ = "9.8.7", importlib.util.find_spec("numpy")
    monkeypatch.setitem(sys.modules, "torch", tool)
    first = "conv1.weight" if wanted is TWIN else "features.0.weight"
    monkeypatch.setattr(torch_networks, "load", lambda *_: {first: None})
    found = []

    def logits(_, network, convention, *rest):
        found.append((network, convention))
        raise RuntimeError

    monkeypatch.setattr(torch_networks, "logits", logits)
    main(["--check", str(path)])
    assert found == [(network, wanted)]


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES, "caffenet"])
def test_pytorch_answers_as_we_do(case, tmp_path, capsys):
    pytest.importorskip("torch")
    network, shape, changes = CASES.get(case, (case, (40, 44, 3), {}))
    make_run(tmp_path / "a", network, shape, shape[-1] == 3, **changes)
    export([str(tmp_path / "a"), "--format=torch", f"--to={tmp_path / 'x'}"])
    capsys.readouterr()
    main([str(tmp_path / "x" / "model.pth"), f"--to={tmp_path / 'b'}"])
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert "(PyTorch" in capsys.readouterr().out
