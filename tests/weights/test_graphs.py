"""ONNX graphs of other networks, and graphs whose numbers lie in other files."""

import os

import numpy as np
import pytest

from alexnet_jax.convert import main
from alexnet_jax.errors import InputError
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from tests.weights import writers
from tests.weights.published import caffe_layers, onnx_graph, params_of, weights_of
from tests.weights.runnable import save_runnable_onnx

onnx = pytest.importorskip("onnx")
TORCH, CAFFE = "alexnet_torchvision", "alexnet_caffe"


@pytest.fixture(autouse=True)
def no_tool(monkeypatch):
    """An environment without a tool to compare with."""
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)


def changed(path, network, kind, place=0, **attributes):
    """Writes a graph with other attributes in a node; None removes one."""
    save_runnable_onnx(path, network, weights_of(network))
    model = onnx.load(path)
    node = [one for one in model.graph.node if one.op_type == kind][place]
    kept = [one for one in node.attribute if one.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(
        onnx.helper.make_attribute(name, value)
        for name, value in attributes.items()
        if value is not None
    )
    onnx.save(model, path)


OTHERS = [
    (TORCH, "Conv", {"strides": [2, 2]}),
    (TORCH, "Conv", {"pads": [1, 1, 3, 3]}),
    (TORCH, "Conv", {"pads": [0, 0, 0, 0]}),
    (TORCH, "Conv", {"dilations": [2, 2]}),
    (TORCH, "Conv", {"pads": None, "auto_pad": "SAME_UPPER"}),
    (TORCH, "Conv", {"pads": None, "auto_pad": "VALID"}),
    (TORCH, "MaxPool", {"kernel_shape": [2, 2]}),
    (TORCH, "MaxPool", {"strides": [1, 1]}),
    (TORCH, "MaxPool", {"pads": [1, 1, 1, 1]}),
    (CAFFE, "Conv", {"group": 2}),
    (CAFFE, "LRN", {"size": 3}),
    (CAFFE, "LRN", {"alpha": 2e-4}),
    (CAFFE, "LRN", {"beta": 0.5}),
    (CAFFE, "LRN", {"bias": 2.0}),
    # Of other types than ONNX gives them.
    (TORCH, "Conv", {"strides": 4}),
    (TORCH, "MaxPool", {"pads": 1}),
    (CAFFE, "Conv", {"group": [1]}),
    (CAFFE, "LRN", {"alpha": [1e-4]}),
]


@pytest.mark.parametrize("network, kind, attributes", OTHERS)
def test_a_layer_that_does_something_else(
    network, kind, attributes, tmp_path, error_line
):
    changed(tmp_path / "w", network, kind, **attributes)
    line = error_line(main, "--check", tmp_path / "w")
    assert "of another network" in line and kind in line


@pytest.mark.parametrize(
    "network, kind, place, attributes",
    [
        (CAFFE, "MaxPool", 0, {"ceil_mode": 0, "pads": [0, 0, 1, 1]}),
        (CAFFE, "MaxPool", 1, {"ceil_mode": None, "auto_pad": "NOTSET"}),
        (CAFFE, "LRN", 0, {"beta": None, "bias": None, "alpha": None}),
        (CAFFE, "Conv", 1, {"pads": None, "auto_pad": "SAME_UPPER"}),
        (CAFFE, "Conv", 2, {"strides": None, "kernel_shape": [3, 3]}),
        (TORCH, "Conv", 0, {"pads": [2, 2, 3, 3]}),
    ],
)
def test_other_words_for_the_same_layer(
    network, kind, place, attributes, tmp_path, capsys
):
    changed(tmp_path / "w", network, kind, place, **attributes)
    main(["--check", str(tmp_path / "w")])
    assert f"ONNX graph, {network}" in capsys.readouterr().out


def test_a_damaged_size_of_what_goes_in(tmp_path, error_line):
    save_runnable_onnx(tmp_path / "w", TORCH, weights_of(TORCH))
    content = bytearray((tmp_path / "w").read_bytes())
    name = onnx.load(tmp_path / "w").graph.input[0].name.encode()
    head = b"\x0a" + bytes([len(name)]) + name + b"\x12"
    content[content.rindex(head) + len(head) + 1] = 0x7F  # the length of a field
    (tmp_path / "w").write_bytes(content)
    assert "damaged" in error_line(main, "--check", tmp_path / "w")


def test_layers_in_another_order(tmp_path, error_line):
    save_runnable_onnx(tmp_path / "w", "caffenet", weights_of("caffenet"))
    flags = ["--check", tmp_path / "w", "--network=alexnet_caffe"]
    assert "is of caffenet" in error_line(main, *flags)
    save_runnable_onnx(tmp_path / "w", CAFFE, weights_of(CAFFE))
    flags = ["--check", tmp_path / "w", "--network=caffenet"]
    assert "is of alexnet_caffe" in error_line(main, *flags)
    model = onnx.load(tmp_path / "w")
    names = {one.name: one for one in model.graph.initializer}
    for old, tensor in names.items():  # as `export` names them
        new = old.replace("_w_0", ".weight").replace("_b_0", ".bias")
        tensor.name = new
        for node in model.graph.node:
            node.input[:] = [new if one == old else one for one in node.input]
    onnx.save(model, tmp_path / "w")
    line = error_line(main, *flags)
    assert "LRN, not MaxPool" in line


@pytest.mark.parametrize("network", ["caffenet", CAFFE])
def test_a_network_that_the_order_of_layers_contradicts(network, tmp_path):
    path = tmp_path / "w"
    writers.save_caffe(path, caffe_layers(params_of(network), network))
    (other,) = {"caffenet", CAFFE} - {network}
    with pytest.raises(InputError, match=f"is of {network}"):
        convert(path, *read_source(path), other)
    assert convert(path, *read_source(path), network).network == network


def test_two_initializers_of_one_name(tmp_path, error_line):
    save_runnable_onnx(tmp_path / "w", TORCH, weights_of(TORCH))
    model = onnx.load(tmp_path / "w")
    model.graph.initializer.append(model.graph.initializer[0])
    onnx.save(model, tmp_path / "w")
    assert "two initializers" in error_line(main, "--check", tmp_path / "w")


def external(path, **where):
    """Writes a graph whose numbers lie in `w.data` but for one array's."""
    writers.save_onnx(path, *onnx_graph(params_of(TORCH), TORCH), form="external")
    model = onnx.load(path, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.name == "conv1_w_0")
    entries = {one.key: one.value for one in tensor.external_data} | where
    del tensor.external_data[:]
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "where, words",
    [
        ({"location": ""}, "'.'"),
        ({"location": "."}, "'.'"),
        ({"location": None}, "'.'"),
        ({"location": "gone"}, "'gone'"),
        ({"location": "a"}, "'a'"),
        ({"location": "link"}, "link to elsewhere"),
        ({"location": "a/../../x"}, "not beside it"),
        ({"offset": "-5"}, "'w.data'"),
        ({"length": "-7"}, "'w.data'"),
        ({"length": str(1 << 50)}, "'w.data'"),
        ({"offset": str(1 << 50), "length": None}, "'w.data'"),
    ],
)
def test_numbers_that_are_said_to_lie_elsewhere(where, words, tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "w"
    external(path, **where)
    (tmp_path / "x").write_bytes(bytes(1 << 16))
    (tmp_path / "a" / "link").symlink_to(tmp_path / "x")
    (tmp_path / "a" / "a").mkdir()
    with pytest.raises(InputError) as caught:
        read_source(path)
    assert str(path) in str(caught.value) and words in str(caught.value)


def test_a_cache_of_links_is_read(tmp_path):
    (tmp_path / "blobs").mkdir()
    external(tmp_path / "blobs" / "w")
    (tmp_path / "snapshot").mkdir()
    for name in ("w", "w.data"):
        os.symlink(f"../blobs/{name}", tmp_path / "snapshot" / name)
    source, _ = read_source(tmp_path / "snapshot" / "w")
    assert np.isfinite(source.arrays["conv1_w_0"]).all()


def test_a_file_that_its_own_tool_cannot_run(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    save_runnable_onnx(tmp_path / "w", TORCH, weights_of(TORCH))
    model = onnx.load(tmp_path / "w")
    model.graph.node[0].op_type = "Conv"
    model.graph.node[1].input[0] = "nowhere"
    onnx.save(model, tmp_path / "w")
    main(["--check", str(tmp_path / "w")])
    out, err = capsys.readouterr()
    assert "logits    not compared: ONNX Runtime does not run" in out
    assert err.startswith("warning: ONNX Runtime does not run")
