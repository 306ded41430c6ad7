"""Networks as ONNX files, which ONNX Runtime opens."""

import dataclasses
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError
from alexnet_jax.exporting import onnx_graph
from alexnet_jax.exporting.onnx_graph import write_onnx
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import create_model
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from tests.exporting.cases import (
    CASES,
    USERS,
    Net,
    channels_first,
    create_case,
    logits_of,
    random_variables,
)
from tests.helpers import assert_close

_SHARE = 1e-5  # of the largest logit
# Between them they have every kind of layer; the others take as long again.
_QUICK = {
    *("alexnet_2012", "caffenet", "lenet5", *USERS),
    "alexnet_paper-links=False-normalization=batch-pooling=2x2",
    "alexnet_torchvision-160x192x3",
}


def run(folder, image):
    """Returns the outputs; the file must be sound."""
    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": image}), strict=True))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name",
    [
        name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in (*CASES, *USERS)
    ],
)
def test_onnx_runtime_computes_the_same_logits(name, tmp_path, compiled_in_a_hurry):
    model, variables, image = create_case(name)
    operations = list_operations(model, variables, image.shape[1:])
    write_onnx(tmp_path, name, operations, metadata={})
    given, logits = channels_first(image), logits_of(model, variables, image)
    found = run(tmp_path, given)
    assert list(found) == ["logits"]
    assert_close(found["logits"], logits, _SHARE)
    one = run(tmp_path, given[:1])  # any number of images
    assert_close(one["logits"], logits[:1], _SHARE)


def written(folder, name="alexnet_2012", **settings):
    model, variables, image = create_case(name)
    operations = list_operations(model, variables, image.shape[1:])
    notes = write_onnx(folder, name, operations, metadata=settings)
    return onnx.load(folder / "model.onnx"), notes


def test_the_graph_is_of_plain_operators(tmp_path):
    model, notes = written(tmp_path, "alexnet_caffe")
    kinds = [node.op_type for node in model.graph.node]
    block = ["Conv", "Relu", "LRN", "MaxPool"]
    assert kinds == [
        *(block * 2),
        *(["Conv", "Relu"] * 3),
        *["MaxPool", "Flatten", "Gemm", "Relu", "Gemm", "Relu", "Gemm"],
    ]
    assert notes == []
    (image,) = model.graph.input
    names = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert names == ["N", 3, 227, 227]
    arrays = [tensor.name for tensor in model.graph.initializer]
    assert arrays[:2] == ["conv1.weight", "conv1.bias"]


def test_what_is_composed_is_said_layer_by_layer(tmp_path):
    _, notes = written(tmp_path)
    names = [note.partition(":")[0] for note in notes]
    assert names == ["conv1", "norm1", "norm2", "mapnorm2", "drop6", "drop7"]
    assert notes[0] == (
        "conv1: its last windows hang over the edge; written as zeros, 3 at the bottom "
        "and 3 on the right"
    )
    assert "Split, LRN of each, Concat" in notes[1]


def test_metadata_is_kept(tmp_path):
    model, _ = written(tmp_path, "lenet5", network="lenet5", config='{"ä": 1}')
    kept = {entry.key: entry.value for entry in model.metadata_props}
    assert kept == {"network": "lenet5", "config": '{"ä": 1}'}
    (opset,) = model.opset_import
    assert (opset.domain, opset.version) == ("", 15)


def test_without_the_order_of_fc6_logits_differ(tmp_path):
    model, variables, image = create_case("alexnet_torchvision")
    logits = logits_of(model, variables, image)
    operations = [
        dataclasses.replace(one, weight=variables["params"]["fc6"]["kernel"].T)
        if one.name == "fc6"
        else one
        for one in list_operations(model, variables, image.shape[1:])
    ]
    write_onnx(tmp_path, "alexnet_torchvision", operations, metadata={})
    found = run(tmp_path, channels_first(image))["logits"]
    assert np.abs(found - logits).max() > 1e-2 * np.abs(logits).max()


_PIPELINES = {
    # scale: canvas, size, stored images, channels
    "unit": (None, (67, 67), (28, 28), 1),
    "pixels": (80, (67, 67), (80, 80), 3),
    "standard": ((75, 91), (67, 70), (100, 64), 3),
    "caffe": (76, (67, 67), (90, 90), 3),
    "torchvision": (None, (67, 67), (67, 67), 3),
}


def _shallow():
    return [nn.Conv(4, (5, 5), strides=4), nn.relu, flatten, nn.Dense(10)]


@pytest.mark.heavy
@pytest.mark.parametrize("scale", _PIPELINES)
def test_preprocessing_inside_does_what_the_pipeline_does(
    scale, tmp_path, compiled_in_a_hurry
):
    canvas, size, stored, channels = _PIPELINES[scale]
    augment = default_config().augment
    augment.canvas = canvas
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (3, *stored, channels), np.uint8)
    found = measure([image])
    pipeline = create_pipeline(scale, lambda: found, size, augment)
    model = Net(make=_shallow, training=False)
    variables = random_variables(model, (*size, channels))
    operations = list_operations(model, variables, (*size, channels))
    write_onnx(
        tmp_path,
        "shallow",
        operations,
        pipeline=pipeline,
        image_shape=(*stored, channels),
        metadata={},
    )
    logits = jax.jit(lambda x: model.apply(variables, pipeline(x)))(image)
    got = run(tmp_path, image)
    assert list(got) == ["logits", "probabilities"]
    assert_close(got["logits"], logits, _SHARE)
    assert_close(got["probabilities"], jax.nn.softmax(logits), _SHARE)


@pytest.mark.parametrize(
    "network", ["alexnet_torchvision", "alexnet_caffe", "caffenet"]
)
def test_weights_come_back_bit_for_bit(network, tmp_path):
    model, variables, image = create_case(network)
    operations = list_operations(model, variables, image.shape[1:])
    write_onnx(tmp_path, network, operations, metadata={})
    path = tmp_path / "model.onnx"
    back = convert(path, *read_source(path), network)
    assert back.network == network
    jax.tree.map(np.testing.assert_array_equal, back.params, variables["params"])


def test_a_missing_library_is_named_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'alexnet_jax\[onnx\]'"):
        written(tmp_path, "lenet5")


def test_a_network_too_large_for_the_format_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_LIMIT_BYTES", 2**20 + 1000)
    with pytest.raises(InputError, match="holds at most 2 GiB; lenet5 has 0.0 GiB"):
        written(tmp_path, "lenet5")
    assert list(tmp_path.iterdir()) == []


_MEASURE = """
import re, sys
from pathlib import Path
from alexnet_jax.exporting.onnx_graph import write_onnx
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.models import create_model
from tests.exporting.cases import random_variables
shape = 224, 224, 3
model = create_model("alexnet_paper", num_classes=1000, training=False)
variables = random_variables(model, shape)
operations = list_operations(model, variables, shape)
write_onnx(Path(sys.argv[1]), "alexnet_paper", operations, metadata={})
# Not ru_maxrss, which is the parent's until this process is larger.
print(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
def test_a_whole_network_is_written_in_little_memory_and_is_the_same(tmp_path):
    command = [sys.executable, "-c", _MEASURE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1.2e9 / 1024  # kB
    model = create_model("alexnet_paper", num_classes=1000, training=False)
    image = 40 * np.random.default_rng(1).normal(size=(2, 224, 224, 3))
    image = image.astype(np.float32)
    logits = logits_of(model, random_variables(model, image.shape[1:]), image)
    assert_close(run(tmp_path, channels_first(image))["logits"], logits, _SHARE)
