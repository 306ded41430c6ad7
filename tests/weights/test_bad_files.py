"""What is wrong with a file is said in one line, and nothing in it is run."""

import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.weights import torch_files
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from tests.weights import writers
from tests.weights.published import (
    caffe_layers,
    npy_layers,
    onnx_graph,
    params_of,
    torch_arrays,
    write_torch,
)

TORCH, CAFFE = "alexnet_torchvision", "alexnet_caffe"


def error_of(path, **options):
    with pytest.raises(InputError) as caught:
        convert(path, *read_source(path), **options)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def write(form, path):
    if form == "torch":
        write_torch(path)
    elif form == "legacy":
        arrays = torch_arrays(params_of(TORCH))
        writers.save_torch_legacy(path, writers.state_dict(arrays))
    elif form == "safetensors":
        writers.save_safetensors(path, torch_arrays(params_of(TORCH)))
    elif form == "npy":
        writers.save_npy(path, npy_layers(params_of(CAFFE)))
    elif form == "onnx":
        writers.save_onnx(path, *onnx_graph(params_of(CAFFE), CAFFE))
    else:
        layers = caffe_layers(params_of(CAFFE), CAFFE)
        writers.save_caffe(path, layers, is_packed=form == "caffe")


FORMS = ("torch", "legacy", "safetensors", "npy", "onnx", "caffe", "unpacked")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_short_anywhere(form, tmp_path):
    path = tmp_path / "w"
    write(form, path)
    whole = path.read_bytes()
    for share in (0.0001, 0.001, 0.01, 0.3, 0.7, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        text = error_of(path)
        assert any(word in text for word in ("cut short", "not all of", "format"))
    path.write_bytes(whole[:-1])
    assert "cut short" in error_of(path)


@pytest.mark.heavy
@pytest.mark.parametrize("form", FORMS)
def test_bytes_that_were_changed_are_one_line_or_are_read(form, tmp_path):
    path = tmp_path / "w"
    write(form, path)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.integers(0, 3000, 25):
        broken = bytearray(whole)
        broken[place] ^= 1 << draw.integers(8)
        path.write_bytes(broken)
        try:
            convert(path, *read_source(path), ignore=True)
        except InputError as error:
            assert "\n" not in str(error)


def test_what_libraries_raise_on_damaged_bytes(tmp_path):
    path = tmp_path / "w"
    for form, old, new in (
        ("npy", b"'shape': ()", b"'shape': (("),
        ("legacy", b"features.0.weight", b"features.0.weigh\xff"),
        ("safetensors", b'"F32"', b'"F99"'),
    ):
        write(form, path)
        path.write_bytes(path.read_bytes().replace(old, new, 1))
        error_of(path)
    # A pickle that asks for more memory than there is.
    huge = torch_files.LEGACY_MAGIC + b"\x80\x02r\xff\xff\xff\x7f" + bytes(90)
    path.write_bytes(huge)
    assert "damaged" in error_of(path)


class Evil:
    """Would make a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({str(self.target)!r}, 'w')",)


@pytest.mark.parametrize("form", ["torch", "legacy", "npy", "pickle"])
def test_code_in_a_pickle_is_not_run(form, tmp_path):
    path, target = tmp_path / "w", tmp_path / "ran"
    if form == "npy":
        writers.save_npy(path, {"conv1": Evil(target)})
    elif form == "pickle":
        path.write_bytes(pickle.dumps(Evil(target)))
    else:
        value = writers.state_dict(torch_arrays(params_of(TORCH)))
        value["evil"] = Evil(target)
        save = {"torch": writers.save_torch, "legacy": writers.save_torch_legacy}
        save[form](path, value)
    text = error_of(path)
    assert "pickle" in text and not target.exists()
    assert form == "pickle" or "exec, which builds no array" in text


@pytest.mark.parametrize(
    "name", ["os.system", "torch.load", "numpy.load", "builtins.x"]
)
def test_a_pickle_gets_no_function_by_name(name, tmp_path):
    module, _, function = name.rpartition(".")
    code = f"c{module}\n{function}\n(S'x'\ntR.".encode()
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("archive/data.pkl", code)
    assert name in error_of(tmp_path / "w")


def test_strides_that_reach_beyond_a_storage(tmp_path):
    for strides, offset in (((1 << 40, 1), 0), ((1, 1), 99), ((-1, 1), 0)):
        value = writers.state_dict(torch_arrays(params_of(TORCH)))
        wild = writers.Tensor(np.zeros(9, np.float32), strides, offset, (3, 3))
        value["features.0.weight"] = wild
        writers.save_torch(tmp_path / "w", value)
        assert "damaged" in error_of(tmp_path / "w")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
        (b"\x1f\x8b" + bytes(90), "unpack it"),
        (b"hello, world", "no format that is read"),
        (bytes(200), "no format that is read"),
    ],
)
def test_what_is_often_in_place_of_weights(content, words, tmp_path):
    path = tmp_path / "alexnet.pth"
    path.write_bytes(content)
    assert words in error_of(path)


def test_an_archive_and_an_array_of_other_things(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    assert "torch.save did not write" in error_of(tmp_path / "w.npz")
    np.save(tmp_path / "w.npy", np.zeros((3, 3)))
    assert "not layers by name" in error_of(tmp_path / "w.npy")


def test_half_of_the_layers(tmp_path):
    arrays = torch_arrays(params_of(TORCH))
    half = dict([*arrays.items()][:8])
    writers.save_safetensors(tmp_path / "w", half)
    text = error_of(tmp_path / "w", ignore=True)
    assert "features.10.weight, features.10.bias" in text and "of 16" in text
    layers = caffe_layers(params_of(CAFFE), CAFFE)
    writers.save_caffe(tmp_path / "w", layers[:9])
    assert "fc6/0, fc6/1" in error_of(tmp_path / "w")


def test_another_networks_weights(tmp_path):
    vgg = {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)}
    writers.save_safetensors(tmp_path / "w", vgg | {"features.2.bias": np.zeros(64)})
    text = error_of(tmp_path / "w")
    assert "features.3.weight" in text and "it holds features.2.bias" in text
    write_torch(tmp_path / "w", **{"features.0.weight": np.zeros((4, 3, 7, 7), "f4")})
    text = error_of(tmp_path / "w")
    assert "features.0.weight is (4, 3, 7, 7), not (4, 3, 11, 11)" in text
    nodes, arrays = onnx_graph(params_of(TORCH), TORCH)
    writers.save_onnx(tmp_path / "w", nodes[1:], arrays)
    assert "4 convolutions" in error_of(tmp_path / "w")


def test_what_is_left_over(tmp_path):
    write_torch(tmp_path / "w", extra=np.zeros(3, np.float32))
    assert "extra would be left over" in error_of(tmp_path / "w")
    found = convert(tmp_path / "w", *read_source(tmp_path / "w"), ignore=True)
    assert found.left_over == ["extra"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_that_are_not_finite(value, dtype, tmp_path):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    bias = np.zeros(24, kind)
    bias[3] = value
    write_torch(tmp_path / "w", **{"features.6.bias": bias})
    assert "features.6.bias holds NaN or infinity" in error_of(tmp_path / "w")


def test_a_float64_that_float32_does_not_have(tmp_path):
    write_torch(tmp_path / "w", **{"features.6.bias": np.full(24, 1e300)})
    assert "NaN or infinity" in error_of(tmp_path / "w")


def test_numbers_that_are_no_floats(tmp_path):
    write_torch(tmp_path / "w", **{"features.6.bias": np.zeros(24, np.int64)})
    text = error_of(tmp_path / "w")
    assert "features.6.bias is of type int64" in text and "bfloat16" in text


def test_a_network_of_another_grid(tmp_path):
    write_torch(tmp_path / "w")
    text = error_of(tmp_path / "w", network="alexnet_one_weird_trick")
    assert "must be one of ('alexnet_torchvision',)" in text
    writers.save_npy(tmp_path / "w", npy_layers(params_of(CAFFE)))
    assert "caffenet" in error_of(tmp_path / "w", network="alexnet_paper")


def test_numbers_of_an_onnx_graph_that_lie_elsewhere(tmp_path):
    nodes, arrays = onnx_graph(params_of(TORCH), TORCH)
    writers.save_onnx(tmp_path / "w", nodes, arrays, form="external")
    content = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(content.replace(b"w.data", b"/w.dat"))
    assert "not beside it" in error_of(tmp_path / "w")
    (tmp_path / "w").write_bytes(content)
    (tmp_path / "w.data").write_bytes(bytes(100))
    assert "cut short" in error_of(tmp_path / "w")


@pytest.mark.parametrize("begin", [b"\x80", b"PK", b"<", b"BZh", b"\n"])
def test_a_safetensors_header_as_long_as_another_format_begins(begin, tmp_path):
    path = tmp_path / "w"
    writers.save_safetensors(path, torch_arrays(params_of(TORCH)))
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    length = int.from_bytes(begin.ljust(2, b"\x10"), "little")
    header = whole[8:start].ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header + whole[start:])
    assert path.read_bytes().startswith(begin)
    assert convert(path, *read_source(path)).network == TORCH
