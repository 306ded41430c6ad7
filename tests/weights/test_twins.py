"""What this project exports to PyTorch and ONNX is read back, of every network."""

import jax
import numpy as np
import pytest

from alexnet_jax.config import default_config, differences
from alexnet_jax.convert import main
from alexnet_jax.export import main as export
from alexnet_jax.exporting.onnx_graph import write_onnx
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.exporting.torch_module import state_dict_names
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from tests.exporting.cases import CASES, random_variables
from tests.exporting.runs import config_of, make_run
from tests.weights import writers

WIDTH = 1 / 16
BATCH_NORM = [name for name, (_, fields, _) in CASES.items()
              if fields == {"normalization": "batch"}]  # fmt: skip
_QUICK = ("alexnet_2012_conv6", "alexnet_torchvision", "lenet5", BATCH_NORM[0])
NAMES = [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
    for name in (*MODELS, *BATCH_NORM)
]


def create(name):
    """Returns a network's name, its variables, and its operations."""
    network, fields, shape = CASES[name]
    if hasattr(MODELS[network], "width"):
        fields = {"width": WIDTH, **fields}
    model = create_model(network, num_classes=7, training=False, **fields)
    variables = random_variables(model, shape)
    return network, variables, list_operations(model, variables, shape)


def write_state_dict(path, network, operations, **changes):
    arrays = {**state_dict_names(network, operations), **changes}
    writers.save_torch(path, writers.state_dict(arrays))


def assert_same(found, variables):
    state = {name: tree for name, tree in variables.items() if name != "params"}
    jax.tree.map(np.testing.assert_array_equal, found.params, variables["params"])
    jax.tree.map(np.testing.assert_array_equal, found.model_state, state)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_of_any_network(name, tmp_path):
    network, variables, operations = create(name)
    counts = {"norm1.num_batches_tracked": np.array(3)} if name in BATCH_NORM else {}
    write_state_dict(tmp_path / "w", network, operations, **counts)
    found = convert(tmp_path / "w", *read_source(tmp_path / "w"), network)
    assert (found.network, found.num_classes) == (network, 7)
    assert_same(found, variables)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_of_any_network_says_which_it_is(name, tmp_path):
    pytest.importorskip("onnx")
    network, variables, operations = create(name)
    write_onnx(tmp_path, network, operations, metadata={"network": network})
    path = tmp_path / "model.onnx"
    config = default_config()
    config.model.update(name=network, num_classes=7)
    config.model.update(CASES[name][1])
    if hasattr(MODELS[network], "width"):
        config.model.width = WIDTH
    config.data.image_size = MODELS[network].reference.input_shape[0]
    found = convert(path, *read_source(path), config=config)
    assert found.network == network
    assert_same(found, variables)


@pytest.mark.slow
def test_a_state_dict_that_does_not_say_which_network_it_is(tmp_path, error_line):
    network, _, operations = create("alexnet_paper")
    write_state_dict(tmp_path / "w", network, operations)
    line = error_line(main, "--check", tmp_path / "w")
    assert "--network must say which" in line
    assert "alexnet_paper, alexnet_2012, " in line and "lenet5" not in line
    assert "alexnet_torchvision" not in line  # of other shapes
    line = error_line(main, "--check", "--network=lenet5", tmp_path / "w")
    assert "conv1.weight is (6, 3, 11, 11)" in line or "fc3" in line
    line = error_line(main, "--check", "--network=alexnet_conv6", tmp_path / "w")
    assert "--network must be one of" in line


def test_a_state_dict_of_no_network(tmp_path, error_line):
    network, _, operations = create("lenet5")
    wrong = {"conv1.weight": np.zeros((9, 9, 9, 9), np.float32)}
    write_state_dict(tmp_path / "w", network, operations, **wrong)
    assert "is of no network" in error_line(main, "--check", tmp_path / "w")


@pytest.mark.heavy
@pytest.mark.parametrize("network", ["alexnet_2012", "alexnet_d2l", "lenet5"])
def test_a_run_of_a_state_dict_alone(network, tmp_path, capsys):
    _, variables, operations = create(network)
    write_state_dict(tmp_path / "w", network, operations)
    main([str(tmp_path / "w"), f"--to={tmp_path / 'run'}", f"--network={network}"])
    err = capsys.readouterr().err
    channels = CASES[network][2][2]
    data = "ImageNet" if channels == 3 else "Fashion-MNIST"
    assert f"{data}'s are assumed" in err and err.count("\n") == 1
    net = TrainedModel(tmp_path / "run")
    jax.tree.map(
        np.testing.assert_array_equal, net.weights["params"], variables["params"]
    )
    images = np.zeros((1, *net.spec.image_shape), np.uint8)
    assert net.predict(images).probabilities.shape == (1, 7)


@pytest.mark.heavy
@pytest.mark.parametrize("inside", [False, True])
def test_an_exported_graph_makes_the_same_run_again(inside, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    changes = {"model.normalization": "batch", "data.scale": "pixels",
               "data.image_size": 96}  # fmt: skip
    weights = make_run(tmp_path / "a", "alexnet_paper", **changes)
    flags = ["--with-preprocessing"] * inside
    export([str(tmp_path / "a"), "--format=onnx", f"--to={tmp_path / 'x'}", *flags])
    main([str(tmp_path / "x" / "model.onnx"), f"--to={tmp_path / 'b'}"])
    one, other = TrainedModel(tmp_path / "a"), TrainedModel(tmp_path / "b")
    assert not [*differences(one.config, other.config)]
    assert other.spec.matches(one.spec)
    for found in (one.weights, other.weights):
        jax.tree.map(np.testing.assert_array_equal, found, weights)
    assert capsys.readouterr().err == ""


@pytest.mark.heavy
def test_a_graph_of_towers_without_links_is_refused(tmp_path, error_line):
    pytest.importorskip("onnx")
    make_run(tmp_path / "a", "alexnet_paper", **{"model.links": False})
    export([str(tmp_path / "a"), "--format=onnx", f"--to={tmp_path / 'x'}"])
    line = error_line(main, "--check", tmp_path / "x" / "model.onnx")
    assert "without links" in line and ".safetensors" in line


def test_a_graph_whose_metadata_are_damaged(tmp_path, error_line):
    pytest.importorskip("onnx")
    network, _, operations = create("lenet5")
    config = config_of("lenet5")
    whole = {"format": "alexnet_jax", "network": network}
    for metadata, words in (
        (whole, "no 'config'"),
        (whole | {"config": "{", "data": "{}"}, "damaged"),
        (whole | {"config": config.to_json(), "data": "{}"}, "statistics"),
        (
            whole | {"config": config.to_json(), "data": "{}", "statistics": "AAAA"},
            "statistics",
        ),
    ):
        write_onnx(tmp_path, network, operations, metadata=metadata)
        assert words in error_line(main, "--check", tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["alexnet_torchvision", "alexnet_2012", "lenet5"])
def test_an_exported_state_dict_makes_the_same_run_again(network, tmp_path):
    pytest.importorskip("torch")
    weights = make_run(tmp_path / "a", network)
    export([str(tmp_path / "a"), "--format=torch", f"--to={tmp_path / 'x'}"])
    main([str(tmp_path / "x" / "model.pth"), f"--to={tmp_path / 'b'}"])
    one, other = TrainedModel(tmp_path / "a"), TrainedModel(tmp_path / "b")
    assert not [*differences(one.config, other.config)]
    assert other.spec.matches(one.spec)
    jax.tree.map(np.testing.assert_array_equal, other.weights, weights)
