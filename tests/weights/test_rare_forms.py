"""Forms of the formats that frameworks and converters write now and then."""

import jax
import ml_dtypes
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from alexnet_jax.weights.source import Damaged
from alexnet_jax.weights.wire import shorts
from tests.weights import writers
from tests.weights.published import (
    caffe_layers,
    npy_layers,
    onnx_graph,
    params_of,
    torch_arrays,
)

TORCH, CAFFE = "alexnet_torchvision", "alexnet_caffe"


def assert_read(path, params, **options):
    found = convert(path, *read_source(path), **options)
    jax.tree.map(np.testing.assert_array_equal, found.params, params)


def refused(path):
    with pytest.raises(InputError) as caught:
        convert(path, *read_source(path))
    return str(caught.value)


def with_outputs(nodes):
    """Names what nodes give; each reads what the one before gave."""
    made = []
    for place, (kind, inputs, attributes) in enumerate(nodes):
        first = f"y{place - 1}" if place else "x"
        made.append((kind, [first, *inputs[1:]], attributes, [f"y{place}"]))
    return made


def save(path, nodes, arrays):
    writers.save_onnx(path, nodes, arrays)


def test_a_product_and_a_sum_are_a_dense_layer(tmp_path):
    params = params_of(TORCH)
    nodes, arrays = onnx_graph(params, TORCH)
    made = []
    for kind, inputs, attributes in nodes:
        if kind != "Gemm":
            made.append((kind, inputs, attributes))
            continue
        arrays[inputs[1]] = np.ascontiguousarray(arrays[inputs[1]].T)
        made += [("MatMul", inputs[:2], {}), ("Add", ["x", inputs[2]], {})]
    save(tmp_path / "w", with_outputs(made), arrays)
    assert_read(tmp_path / "w", params)


@pytest.mark.parametrize("kind", ["Transpose", "Identity", "Cast"])
def test_an_array_that_a_node_passes_on(kind, tmp_path):
    params = params_of(TORCH, np.float16)
    nodes, arrays = onnx_graph(params, TORCH)
    name = "fc7_w_0"
    if kind == "Transpose":
        arrays[name] = np.ascontiguousarray(arrays[name].T)
    made = [(kind, [name], {}, ["passed"])]
    for kind_, inputs, attributes in nodes:
        inputs = ["passed" if one == name else one for one in inputs]
        made.append((kind_, inputs, attributes))
    save(tmp_path / "w", made, arrays)
    assert_read(tmp_path / "w", params)


def test_weights_in_constant_nodes(tmp_path):
    params = params_of(TORCH)
    nodes, arrays = onnx_graph(params, TORCH)
    constants = [("Constant", [], {"value": array}, [name])
                 for name, array in arrays.items()]  # fmt: skip
    save(tmp_path / "w", constants + nodes, {})
    assert_read(tmp_path / "w", params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_as_integers(dtype, tmp_path):
    params = params_of(TORCH, dtype)
    nodes, arrays = onnx_graph(params, TORCH)
    writers.save_onnx(tmp_path / "w", nodes, arrays, form="integers")
    assert_read(tmp_path / "w", params)


def test_integers_of_sixteen_bits(tmp_path):
    assert shorts(memoryview(b"")).size == 0
    whole = bytes([5, 0x80, 1, 0xFF, 0xFF, 3])
    assert shorts(memoryview(whole)).tolist() == [5, 128, 65535]
    for broken in (b"\x80", b"\xff\xff\x07", b"\x80\x80\x80\x01", b"\x80" * 40 + b"\0"):
        with pytest.raises(Damaged):
            shorts(memoryview(broken))


def test_one_array_of_two_layers(tmp_path):
    params = params_of(TORCH)
    params["conv5"]["bias"] = params["conv4"]["bias"]
    arrays = torch_arrays(params)
    state = writers.state_dict(arrays)
    state["features.10.bias"] = state["features.8.bias"]
    writers.save_torch(tmp_path / "w", state)
    assert_read(tmp_path / "w", params)
    nodes, arrays = onnx_graph(params, TORCH)
    nodes[4] = (nodes[4][0], [*nodes[4][1][:2], "conv4_b_0"], nodes[4][2])
    del arrays["conv5_b_0"]
    save(tmp_path / "w", nodes, arrays)
    assert_read(tmp_path / "w", params)


@pytest.mark.parametrize("kind", ["DequantizeLinear", "QLinearConv"])
def test_a_quantized_graph_is_refused_by_name(kind, tmp_path):
    nodes, arrays = onnx_graph(params_of(TORCH), TORCH)
    save(tmp_path / "w", [(kind, ["x"], {}), *nodes], arrays)
    text = refused(tmp_path / "w")
    assert f"quantized ONNX graph ({kind})" in text and "damaged" not in text


def test_a_dense_layer_that_scales_is_refused(tmp_path):
    nodes, arrays = onnx_graph(params_of(TORCH), TORCH)
    nodes[-1] = (*nodes[-1][:2], {"transB": 1, "alpha": 0.5})
    save(tmp_path / "w", nodes, arrays)
    assert "another alpha" in refused(tmp_path / "w")
    nodes[-1] = (*nodes[-1][:2], {"transB": 1, "alpha": 1.0, "beta": 1.0})
    save(tmp_path / "w", nodes, arrays)
    convert(tmp_path / "w", *read_source(tmp_path / "w"))


def test_weights_that_a_graph_computes_are_refused(tmp_path):
    nodes, arrays = onnx_graph(params_of(TORCH), TORCH)
    del arrays["fc7_w_0"]
    save(tmp_path / "w", nodes, arrays)
    assert "no numbers for fc7/kernel" in refused(tmp_path / "w")


def test_layers_of_training_and_duplicates_in_a_caffemodel(tmp_path):
    params = params_of(CAFFE)
    layers = caffe_layers(params, CAFFE)
    train = [("data", "Data", ()), ("data", "Data", ())]
    loss = [("loss", "SoftmaxWithLoss", ()), ("accuracy", "Accuracy", ())]
    writers.save_caffe(tmp_path / "w", train + layers + loss)
    assert_read(tmp_path / "w", params)
    writers.save_caffe(tmp_path / "w", [*layers, layers[0]])
    assert "two layers named conv1" in refused(tmp_path / "w")


def test_a_caffemodel_of_2013_is_refused_by_name(tmp_path):
    # NetParameter.layers { layer { name: "conv1" } }, under a net's name.
    inner = b"\x0a\x07\x0a\x05conv1"
    (tmp_path / "w").write_bytes(b"\x0a\x03Net\x12" + bytes([len(inner)]) + inner)
    text = refused(tmp_path / "w")
    assert "upgrade_net_proto_binary" in text and "2013" in text


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_npy_of_every_protocol(protocol, tmp_path):
    params = params_of(CAFFE)
    writers.save_npy(tmp_path / "w", npy_layers(params), protocol)
    assert_read(tmp_path / "w", params)


class Rebuilt:
    """Pickled as a call of one of PyTorch's functions, by its name."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments

    def __reduce__(self):
        return writers.torch_function(self.name), self.arguments


def test_parameters_with_state_and_tensors_with_a_type(tmp_path):
    params = params_of(TORCH)
    state = writers.state_dict(torch_arrays(params))
    bias = state["features.0.bias"]
    state["features.0.bias"] = Rebuilt(
        "torch._utils._rebuild_parameter_with_state", bias, True, {}, {"a": 1}
    )
    writers.save_torch(tmp_path / "w", state)
    assert_read(tmp_path / "w", params)


def test_a_pickle_names_no_function_of_its_own_to_rebuild_with(tmp_path):
    state = writers.state_dict(torch_arrays(params_of(TORCH)))
    state["features.0.bias"] = Rebuilt(
        "torch._tensor._rebuild_from_type_v2", dict, dict, (), {}
    )
    writers.save_torch(tmp_path / "w", state)
    text = refused(tmp_path / "w")
    assert "builtins.dict" in text or "__builtin__.dict" in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uint16", "float8_e4m3fn"])
def test_pytorchs_types_without_a_storage_are_named(kind, tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(array) for name, array in
             torch_arrays(params_of(TORCH)).items()}  # fmt: skip
    state["features.0.bias"] = torch.zeros(4).to(getattr(torch, kind))
    torch.save(state, tmp_path / "w")
    assert f"features.0.bias is of type {kind}" in refused(tmp_path / "w")
    parameter = torch.nn.Parameter(torch.tensor(torch_arrays(params_of(TORCH))
                                                ["features.0.bias"]))  # fmt: skip
    parameter.note = "kept as state"
    state["features.0.bias"] = parameter
    torch.save(state, tmp_path / "w")
    assert_read(tmp_path / "w", params_of(TORCH))


@pytest.mark.parametrize(
    ("place", "node", "line"),
    [
        (5, ("Transpose", ["y4"], {}), "transposes maps between"),
        (0, ("Mul", ["x", "conv1_b_0"], {}), "scales its images .Mul."),
    ],
)
def test_what_would_be_passed_over_is_refused(place, node, line, tmp_path):
    nodes, arrays = onnx_graph(params_of(TORCH), TORCH)
    save(tmp_path / "w", with_outputs([*nodes[:place], node, *nodes[place:]]), arrays)
    with pytest.raises(InputError, match=line):
        convert(tmp_path / "w", *read_source(tmp_path / "w"))


def test_names_as_lightning_writes_them(tmp_path):
    params = params_of(TORCH)
    arrays = {f"model.{name}": one for name, one in torch_arrays(params).items()}
    writers.save_torch(tmp_path / "w", writers.state_dict(arrays))
    assert_read(tmp_path / "w", params)
