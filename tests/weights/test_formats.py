"""Every format gives the weights that went into it, bit for bit."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.models import create_model
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from tests.weights import writers
from tests.weights.published import (
    WIDTH,
    caffe_layers,
    npy_layers,
    onnx_graph,
    params_of,
    torch_arrays,
)
from tests.weights.runnable import save_runnable_onnx


def converted(path, network=None, **options):
    return convert(path, *read_source(path), network, **options)


def assert_same(got, wanted):
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype("float32")}


SAVE = {
    "torch": lambda path, arrays: writers.save_torch(path, writers.state_dict(arrays)),
    "legacy": lambda path, arrays: writers.save_torch_legacy(
        path, writers.state_dict(arrays)
    ),
    "safetensors": writers.save_safetensors,
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("save", SAVE)
def test_a_state_dict_of_torchvisions(save, dtype, tmp_path):
    path = tmp_path / "weights"  # a name that says nothing
    params = params_of("alexnet_torchvision", jnp.dtype(dtype))
    SAVE[save](path, torch_arrays(params))
    found = converted(path)
    assert (found.network, found.num_classes) == ("alexnet_torchvision", 7)
    assert (found.width, found.left_over) == (WIDTH, [])
    assert {one.source_type for one in found.arrays} == {dtype}
    assert_same(found.params, jax.tree.map(lambda leaf: leaf.astype("f4"), params))


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_scripts_checkpoint(key, tmp_path):
    params = params_of("alexnet_torchvision")
    named = {
        name.replace("features.", "module.features.module."): array
        for name, array in torch_arrays(params).items()
    }
    value = {"epoch": 3, key: writers.state_dict(named), "best": 0.5}
    writers.save_torch(tmp_path / "checkpoint", value)
    assert_same(converted(tmp_path / "checkpoint").params, params)


def test_tensors_that_are_cut_from_one_storage(tmp_path):
    params = params_of("alexnet_torchvision")
    value = writers.state_dict(torch_arrays(params))
    kernel = torch_arrays(params)["classifier.4.weight"]
    rows, columns = kernel.shape
    flat = np.concatenate([np.zeros(5, np.float32), kernel.T.ravel()])
    value["classifier.4.weight"] = writers.Tensor(flat, (1, rows), 5, (rows, columns))
    writers.save_torch(tmp_path / "w", value)
    assert_same(converted(tmp_path / "w").params, params)


@pytest.mark.parametrize("network", ["alexnet_caffe", "caffenet"])
@pytest.mark.parametrize(
    "form",
    [
        {"is_v1": True, "is_old": True},
        {"is_v1": True, "is_old": True, "is_packed": False},
        {},
        {"is_packed": False},
        {"is_double": True},
    ],
    ids=["V1", "V1-unpacked", "V2", "V2-unpacked", "double"],
)
def test_a_caffemodel_and_which_of_the_two_it_is(network, form, tmp_path):
    params = params_of(network)
    writers.save_caffe(tmp_path / "w", caffe_layers(params, network), **form)
    found = converted(tmp_path / "w")
    assert found.network == network
    assert_same(found.params, params)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_pickled_dict_of_numpy(protocol, is_named, tmp_path):
    params = params_of("alexnet_caffe")
    layers = npy_layers(params)
    if is_named:
        names = ("weights", "biases")
        layers = {k: dict(zip(names, v, strict=True)) for k, v in layers.items()}
    writers.save_npy(tmp_path / "w", layers, protocol)
    assert converted(tmp_path / "w").network == "alexnet_caffe"
    found = converted(tmp_path / "w", "caffenet")
    assert found.network == "caffenet"
    assert_same(found.params, params)


@pytest.mark.parametrize("form", ["raw", "floats", "external"])
@pytest.mark.parametrize(
    "network", ["alexnet_torchvision", "alexnet_caffe", "caffenet"]
)
def test_an_onnx_graph(network, form, tmp_path):
    params = params_of(network)
    nodes, arrays = onnx_graph(params, network)
    arrays["fc8_w_0"] = np.ascontiguousarray(arrays["fc8_w_0"].T)  # transB is 0
    nodes[-1] = (*nodes[-1][:2], {})
    writers.save_onnx(tmp_path / "w", nodes, arrays, form=form)
    found = converted(tmp_path / "w")
    assert found.network == network
    assert_same(found.params, params)


def test_safetensors_as_the_library_writes_them(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    params = params_of("alexnet_torchvision")
    library.save_file(torch_arrays(params), tmp_path / "w")
    assert_same(converted(tmp_path / "w").params, params)


@pytest.mark.slow
def test_logits_are_pytorchs_and_not_without_the_order_of_fc6(tmp_path):
    torch = pytest.importorskip("torch")
    networks = pytest.importorskip("benchmarks.torch_networks")
    torch.manual_seed(0)
    twin = networks.torch_network("alexnet_torchvision", 224, 3, 1 / 4).eval()
    layers = [one for one in twin if hasattr(one, "weight")]
    names = [*torch_arrays(params_of("alexnet_torchvision"))][::2]
    state = {}
    for name, layer in zip(names, layers, strict=True):
        state[name] = layer.weight.detach()
        state[name.replace("weight", "bias")] = layer.bias.detach()
    torch.save(state, tmp_path / "w.pth")
    image = np.random.default_rng(0).normal(size=(2, 224, 224, 3)).astype("f4")
    with torch.no_grad():
        wanted = twin(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    params = converted(tmp_path / "w.pth").params
    model = create_model(
        "alexnet_torchvision", num_classes=10, width=1 / 4, training=False
    )
    got = model.apply({"params": params}, image)
    scale = np.abs(wanted).max()
    assert np.abs(got - wanted).max() < 1e-4 * scale
    params["fc6"]["kernel"] = state["classifier.1.weight"].numpy().T
    wrong = model.apply({"params": params}, image)
    assert np.abs(wrong - wanted).max() > 1e-2 * scale


_MEASURE = """
import re, sys
from pathlib import Path
from alexnet_jax.convert import main
sys.modules["torch"] = None  # which would run the network as well, in more memory
main(sys.argv[1:])
# Not ru_maxrss, which is the parent's until this process is larger.
print(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""
FORMS = ("torch", "legacy", "safetensors", "npy", "onnx", "packed", "unpacked")


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_whole_network_takes_less_than_a_gigabyte(form, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.weights.published.WIDTH", 1.0)
    caffe = form in ("npy", "packed", "unpacked")
    network = "alexnet_caffe" if caffe else "alexnet_torchvision"
    params = params_of(network, num_classes=1000)
    path = tmp_path / "w"
    if form == "npy":
        writers.save_npy(path, npy_layers(params))
    elif form == "onnx":  # which ONNX Runtime runs besides
        save_runnable_onnx(path, network, params)
    elif caffe:
        layers = caffe_layers(params, network)
        writers.save_caffe(path, layers, is_packed=form == "packed")
    else:
        SAVE[form](path, torch_arrays(params))
    for flags in (["--check"], [f"--to={tmp_path / 'run'}"]):
        command = [sys.executable, "-c", _MEASURE, path, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout.split()[-1]) < 1e9 / 1024, flags  # kB
        if form == "onnx":
            pytest.importorskip("onnxruntime")
            assert "(ONNX Runtime" in done.stdout
