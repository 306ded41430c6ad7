"""Networks for PyTorch. What is not slow does without PyTorch itself."""

import ast
import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.exporting.torch_module import (
    module_source,
    state_dict_names,
    write_torch,
)
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.weights.conventions import CAFFE, TORCHVISION
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from alexnet_jax.weights.source import Source
from tests.exporting.cases import (
    CASES,
    OF_FILES,
    USERS,
    channels_first,
    create_case,
    logits_of,
    random_variables,
)
from tests.helpers import assert_close

DOCS = Path(__file__).parents[2] / "docs" / "weights.md"
_SHARE = 1e-5  # of the largest logit


def exported(name):
    model, variables, image = create_case(name)
    network = CASES[name][0] if name in CASES else name
    return network, list_operations(model, variables, image.shape[1:]), variables


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet_2012", "alexnet_torchvision", "lenet5", *USERS),
        "alexnet_paper-links=False-normalization=batch-pooling=2x2",
    ],
)
def test_the_source_is_python_and_no_line_is_long(name):
    network, operations, _ = exported(name)
    text = module_source(network, operations)
    assert max(map(len, text.splitlines())) <= 88
    tree = ast.parse(text)
    imported = {
        getattr(node, "module", None) or node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {"collections", "torch"}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for imported_name in ("torch", "OrderedDict"):
        is_imported = imported_name in text.partition('"""\n\n')[2].partition("def ")[0]
        assert (imported_name in used) <= is_imported
    for node in tree.body:  # no class that the network has no use for
        assert not isinstance(node, ast.ClassDef) or text.count(node.name) > 1


@pytest.mark.parametrize(
    "name",
    ['cfg:x"""\nraise SystemExit\n"""', r"cfg:C:\users\x.cfg", "cfg:é'\"", 'cfg:a"'],
)
def test_any_name_of_a_layer_file_is_text(name):
    _, operations, _ = exported("lenet5")
    tree = ast.parse(module_source(name, operations))
    assert ast.get_docstring(tree).startswith(f"{name} in PyTorch")
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(tree))


def test_the_docs_show_what_is_written():
    page = DOCS.read_text()
    shown = page.partition("# network.py\n")[2].partition("```")[0]
    model = create_model("alexnet_paper", num_classes=1000, training=False)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    # Zeros that take no memory.
    arrays = jax.tree.map(lambda a: np.broadcast_to(np.float32(0), a.shape), shapes)
    operations = list_operations(model, arrays, (224, 224, 3))
    assert module_source("alexnet_paper", operations) == shown


def test_names_are_caffes_but_torchvisions_of_torchvision():
    _, operations, variables = exported("alexnet_paper-normalization=batch")
    found = state_dict_names("alexnet_paper", operations)
    assert list(found)[:6] == [
        *("conv1.weight", "conv1.bias", "norm1.weight", "norm1.bias"),
        *("norm1.running_mean", "norm1.running_var"),
    ]
    np.testing.assert_array_equal(
        found["norm1.running_var"], variables["batch_stats"]["norm1"]["var"]
    )
    network, operations, _ = exported("alexnet_torchvision")
    names = [name for pair in TORCHVISION.names.values() for name in pair]
    assert list(state_dict_names(network, operations)) == names


def conventions_of(network):
    """How `convert` is told the names and layout of a state dict."""
    if network == "alexnet_torchvision":
        return TORCHVISION
    names = {layer: (f"{layer}.weight", f"{layer}.bias") for layer in CAFFE.names}
    return dataclasses.replace(CAFFE, names=names, is_bgr=False)


@pytest.mark.parametrize("network", OF_FILES)
def test_weights_come_back_bit_for_bit(network, tmp_path):
    _, operations, variables = exported(network)
    source = Source("state dict", dict(state_dict_names(network, operations)))
    back = convert(tmp_path, source, conventions_of(network), network)
    jax.tree.map(np.testing.assert_array_equal, back.params, variables["params"])


def test_a_missing_library_is_named_in_a_line(tmp_path, monkeypatch):
    network, operations, _ = exported("lenet5")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'alexnet_jax\[torch\]'"):
        write_torch(tmp_path, network, operations)
    assert list(tmp_path.iterdir()) == []


def load(folder):
    """Runs network.py where nothing of this project is, and loads the state dict."""
    torch = pytest.importorskip("torch")
    namespace = {}
    exec((folder / "network.py").read_text(), namespace)
    network = namespace["create_network"]()
    tensors = torch.load(folder / "model.pth", weights_only=True)
    network.load_state_dict(tensors, strict=True)
    return network


def torch_logits(network, image):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return network.eval()(torch.from_numpy(channels_first(image))).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *USERS])
def test_pytorch_computes_the_same_logits(name, tmp_path):
    torch = pytest.importorskip("torch")
    model, variables, image = create_case(name)
    network, operations, _ = exported(name)
    write_torch(tmp_path, network, operations)
    found = load(tmp_path)
    logits = logits_of(model, variables, image)
    assert_close(torch_logits(found, image), logits, _SHARE)
    found.train()(torch.from_numpy(channels_first(image))).sum().backward()
    gradients = [parameter.grad for parameter in found.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("network", OF_FILES)
def test_model_pth_comes_back_bit_for_bit(network, tmp_path):
    pytest.importorskip("torch")
    _, operations, variables = exported(network)
    write_torch(tmp_path, network, operations)
    path = tmp_path / "model.pth"
    source, _ = read_source(path)
    back = convert(path, source, conventions_of(network), network)
    jax.tree.map(np.testing.assert_array_equal, back.params, variables["params"])
    content = path.read_bytes()
    write_torch(tmp_path, network, operations)
    assert path.read_bytes() == content


@pytest.mark.slow
def test_without_the_order_of_fc6_logits_differ(tmp_path):
    pytest.importorskip("torch")
    model, variables, image = create_case("alexnet_caffe")
    operations = [
        dataclasses.replace(one, weight=variables["params"]["fc6"]["kernel"].T)
        if one.name == "fc6"
        else one
        for one in list_operations(model, variables, image.shape[1:])
    ]
    write_torch(tmp_path, "alexnet_caffe", operations)
    found = torch_logits(load(tmp_path), image)
    logits = logits_of(model, variables, image)
    assert np.abs(found - logits).max() > 1e-2 * np.abs(logits).max()


@pytest.mark.slow
def test_torchvisions_own_alexnet_takes_the_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # or built for another PyTorch
        pytest.skip(f"torchvision: {error}")
    shape = (224, 224, 3)
    model = create_model("alexnet_torchvision", num_classes=12, training=False)
    variables = random_variables(model, shape)
    operations = list_operations(model, variables, shape)
    write_torch(tmp_path, "alexnet_torchvision", operations)
    theirs = models.alexnet(num_classes=12)
    tensors = torch.load(tmp_path / "model.pth", weights_only=True)
    theirs.load_state_dict(tensors, strict=True)
    image = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    logits = logits_of(model, variables, image)
    assert_close(torch_logits(theirs, image), logits, _SHARE)
    ours = {name: type(part) for name, part in load(tmp_path).named_modules() if name}
    assert ours == {name: type(part) for name, part in theirs.named_modules() if name}


@pytest.mark.slow
@pytest.mark.parametrize("network", MODELS)
def test_another_pytorch_network_takes_the_arrays(network):
    """The peers of the benchmark, written from the networks' sources."""
    torch = pytest.importorskip("torch")
    peers = pytest.importorskip("benchmarks.torch_networks")
    size = MODELS[network].reference.input_shape[0]
    fields = {"width": 1 / 8} if hasattr(MODELS[network], "width") else {}
    model = create_model(network, num_classes=10, training=False, **fields)
    variables = random_variables(model, (size, size, 1))
    operations = list_operations(model, variables, (size, size, 1))
    peer = peers.torch_network(network, size, width=fields.get("width", 1.0))
    arrays = state_dict_names(network, operations).values()
    names = peer.state_dict()
    assert len(names) == len(arrays)
    peer.load_state_dict(
        {
            name: torch.from_numpy(np.array(array))
            for name, array in zip(names, arrays, strict=True)
        }
    )
    image = np.random.default_rng(1).normal(size=(2, size, size, 1)).astype(np.float32)
    assert_close(torch_logits(peer, image), logits_of(model, variables, image), _SHARE)
