"""Checkpoints as training scripts save them, and small files made to do harm."""

import argparse
import collections
import io
import json
import pickle
import struct
import time
import zipfile

import jax
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.weights import torch_files
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.read import read_source
from tests.weights import writers
from tests.weights.published import params_of, torch_arrays, write_torch

TORCH = "alexnet_torchvision"
SAVE = {"new": writers.save_torch, "old": writers.save_torch_legacy}


def refused(path):
    with pytest.raises(InputError) as caught:
        convert(path, *read_source(path))
    text = str(caught.value)
    assert str(path) in text and text.isprintable()
    return text


def assert_read(path, params):
    found = convert(path, *read_source(path))
    jax.tree.map(np.testing.assert_array_equal, found.params, params)


def checkpoint(params, key, prefix=""):
    """As PyTorch's example and torchvision's script save one after an epoch."""
    arrays = torch_arrays(params)
    momenta = {
        place: {"momentum_buffer": writers.Tensor(np.ones(3)), "step": 7}
        for place in range(len(arrays))
    }
    return {
        "epoch": 90,
        key: writers.state_dict({prefix + n: one for n, one in arrays.items()}),
        "best_acc1": writers.Tensor(np.array(56.5, np.float32)),
        "accuracy": np.float64(0.5),
        "optimizer": {"state": momenta, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "lr_scheduler": {"milestones": collections.Counter([30, 60]), "_last_lr": [1]},
        "args": argparse.Namespace(lr=0.1, devices={0, 1}),
    }


@pytest.mark.parametrize("form", SAVE)
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_checkpoint_of_training(form, key, tmp_path):
    params = params_of(TORCH)
    SAVE[form](tmp_path / "w", checkpoint(params, key, "module."))
    assert_read(tmp_path / "w", params)


def test_an_optimizers_arrays_are_not_read(tmp_path, monkeypatch):
    value = checkpoint(params_of(TORCH), "state_dict")
    value["optimizer"]["state"][0]["exp_avg"] = writers.Tensor(np.ones(1_000_000))
    writers.save_torch_legacy(tmp_path / "w", value)
    sizes = []
    frombuffer = np.frombuffer
    monkeypatch.setattr(
        torch_files.np,
        "frombuffer",
        lambda data, kind: sizes.append(len(data)) or frombuffer(data, kind),
    )
    read_source(tmp_path / "w")
    assert len(sizes) == 16 and max(sizes) < 8_000_000


@pytest.mark.parametrize("form", ["torch", "safetensors"])
@pytest.mark.parametrize(
    "old, new",
    [
        ("", "module."),
        ("", "_orig_mod."),
        ("", "_orig_mod.module."),
        ("features.", "features.module."),
    ],
)
def test_names_of_wrappers(form, old, new, tmp_path):
    params = params_of(TORCH)
    arrays = {
        name.replace(old, new, 1): array for name, array in torch_arrays(params).items()
    }
    if form == "torch":
        writers.save_torch(tmp_path / "w", writers.state_dict(arrays))
    else:
        writers.save_safetensors(tmp_path / "w", arrays)
    assert_read(tmp_path / "w", params)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_name_with_and_without_a_wrapper(prefix, tmp_path):
    extra = {f"{prefix}features.0.bias": np.zeros(4, np.float32)}
    write_torch(tmp_path / "w", **extra)
    assert f"{prefix}features.0.bias" in refused(tmp_path / "w")
    writers.save_safetensors(tmp_path / "w", torch_arrays(params_of(TORCH)) | extra)
    assert "of two networks" in refused(tmp_path / "w")


def test_a_wrappers_name_within_a_word_stays(tmp_path):
    write_torch(tmp_path / "w", **{"submodule.0": np.zeros(3, np.float32)})
    assert "submodule.0 would be left over" in refused(tmp_path / "w")


@pytest.mark.parametrize(
    "value, words",
    [
        ((1, 2), "a tuple"),
        (None, "None"),
        ({}, "an empty dict"),
        ({"lr": 0.1}, "'lr' is a float"),
        (np.float64(1), "a setting"),
    ],
)
@pytest.mark.parametrize("form", SAVE)
def test_what_holds_no_state_dict_is_named(form, value, words, tmp_path):
    SAVE[form](tmp_path / "w", value)
    text = refused(tmp_path / "w")
    assert words in text and "state_dict()" in text and "damaged" not in text


def save_pickle(path, content, members=(), how=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", content)
        for name, data in members:
            archive.writestr(f"archive/{name}", data)


def test_a_program_and_a_module_are_named(tmp_path):
    save_pickle(tmp_path / "w", b"N.", [("constants.pkl", b""), ("code/a.py", b"")])
    text = refused(tmp_path / "w")
    assert "TorchScript" in text and "state_dict()" in text
    save_pickle(tmp_path / "w", b"\x80\x02ctorch.nn\nLinear\n)\x81.")
    assert "state_dict()" in refused(tmp_path / "w")


def nested(kind, depth=60):
    """A value of a few bytes in which each holds the one before twice."""
    code = b"\x80\x02K\x01q\x00"
    for place in range(1, depth):
        get = b"h" + bytes([place - 1])
        inner = {"tuple": get * 2 + b"\x86", "list": b"(" + get * 2 + b"l"}[kind]
        code += b"0" + inner + b"q" + bytes([place])
    return code, b"h" + bytes([depth - 1])


def tensor(storage="torch\nFloatStorage", key=b"X\x01\0\0\x000", shape=b"K\x01\x85"):
    """A pickle's tensor, whose parts may be any."""
    name = storage if isinstance(storage, bytes) else b"c" + storage.encode() + b"\n"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage" + name + key
        + b"X\x03\0\0\0cpuK\x04tQK\x00" + shape + b"K\x01\x85\x89}tR"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["tuple", "list"])
@pytest.mark.parametrize("place", ["key", "pair", "value", "shape", "storage", "type"])
def test_values_that_grow_without_end_are_not_gone_through(kind, place, tmp_path):
    made, last = nested(kind)
    content = {
        "key": b"}" + last + b"K\x01s",
        "pair": b"ccollections\nOrderedDict\n" + last + b"K\x01\x86\x85\x85R",
        "value": b"}X\x01\0\0\0a" + last + b"s",
        "shape": b"}X\x01\0\0\0a" + tensor(shape=last + b"\x85") + b"s",
        "storage": b"}X\x01\0\0\0a" + tensor(key=last) + b"s",
        "type": b"}X\x01\0\0\0a" + tensor(storage=last) + b"s",
    }[place]
    save_pickle(tmp_path / "w", made + content + b".", [("data/0", bytes(16))])
    start = time.perf_counter()
    refused(tmp_path / "w")
    legacy = torch_files.LEGACY_MAGIC + made + last + b"." + b"\x80\x02}." * 2
    (tmp_path / "w").write_bytes(legacy + b"\x80\x02].")
    refused(tmp_path / "w")
    assert time.perf_counter() - start < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 4 << 30) + b"abc.",
        b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
        b"\x80\x02B\0\0\0\x01" + bytes(1 << 24) + b".",
    ],
)
def test_pickles_that_ask_for_memory(content, tmp_path, peak_memory):
    save_pickle(tmp_path / "w", content)
    (tmp_path / "old").write_bytes(torch_files.LEGACY_MAGIC + content)
    with peak_memory() as peak:
        refused(tmp_path / "w")
        refused(tmp_path / "old")
    assert peak() < 100e6


@pytest.fixture
def peak_memory():
    import contextlib
    import tracemalloc

    @contextlib.contextmanager
    def measure():
        tracemalloc.start()
        found = []
        try:
            yield lambda: found[0]
        finally:
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    return measure


def test_a_member_that_is_compressed(tmp_path):
    name = b"}X\x01\0\0\0a" + tensor() + b"s."
    for members in ([("data/0", bytes(16))],):
        save_pickle(tmp_path / "w", b"\x80\x02" + name, members, zipfile.ZIP_DEFLATED)
        assert "is compressed" in refused(tmp_path / "w")


def test_numbers_that_are_repeated_without_end(tmp_path):
    value = writers.state_dict(torch_arrays(params_of(TORCH)))
    wide = writers.Tensor(np.zeros(1, np.float32), (0, 0), 0, (2_000_000_000, 256))
    value["classifier.6.weight"] = wide
    value["classifier.6.bias"] = writers.Tensor(
        np.zeros(1, np.float32), (0,), 0, (2_000_000_000,)
    )
    writers.save_torch(tmp_path / "w", value)
    assert "repeats" in refused(tmp_path / "w")
    value = writers.state_dict(torch_arrays(params_of(TORCH)))
    value["features.0.bias"] = writers.Tensor(np.ones(1, np.float32), (0,), 0, (4,))
    writers.save_torch(tmp_path / "w", value)
    convert(tmp_path / "w", *read_source(tmp_path / "w"))


def test_npy_whose_bytes_are_a_number(tmp_path):
    head = io.BytesIO()
    form = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(head, form)
    code = (
        b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(\x8a\x05\0\0\0\0\x02"
        b"cnumpy\ndtype\nX\x02\0\0\0f4\x85R(K\x01tX\x01\0\0\0CtR."
    )
    (tmp_path / "w").write_bytes(head.getvalue() + code)
    assert "in place of numbers" in refused(tmp_path / "w")
    made, last = nested("tuple")
    (tmp_path / "w").write_bytes(head.getvalue() + made + b"}" + last + b"Ns.")
    assert "as a key" in refused(tmp_path / "w")


@pytest.mark.parametrize("kind", ["F8_E4M3", "F4", "F99"])
def test_types_of_safetensors_that_numpy_has_not(kind, tmp_path):
    entry = {"dtype": kind, "shape": [4], "data_offsets": [0, 2 if kind == "F4" else 4]}
    text = json.dumps({"conv1.weight": entry}).encode()
    data = bytes(entry["data_offsets"][1])
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + data)
    text = refused(tmp_path / "w")
    assert f"of type {kind}" in text and "damaged" not in text


def test_odd_names_are_shown_in_one_line(tmp_path):
    write_torch(tmp_path / "w", **{"odd\nname\x1b[31m": np.zeros(3, np.float32)})
    assert r"odd\nname\x1b[31m would be left over" in refused(tmp_path / "w")


def test_protocols_of_npy_with_bytes_that_can_change(tmp_path):
    from tests.weights.published import npy_layers

    params = params_of("caffenet")
    for protocol in (4, pickle.HIGHEST_PROTOCOL):
        writers.save_npy(tmp_path / "w", npy_layers(params), protocol)
        assert_read(tmp_path / "w", params)
