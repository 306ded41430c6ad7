"""Another tool's logits of the picture that ships, beside ours."""

import importlib.util
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.convert import main
from alexnet_jax.weights import mapping, peers, torch_networks
from tests.weights import writers
from tests.weights.draw_picture import draw_picture
from tests.weights.published import npy_layers, params_of, weights_of
from tests.weights.runnable import save_runnable_onnx

NETWORKS = ["alexnet_torchvision", "alexnet_caffe", "caffenet"]
LINE = re.compile(
    r"^logits    largest difference (\S+) of the largest, (\S+) \((.*)\)$"
)


def compared(capsys, *flags):
    """The line of a report: the difference, the largest logit, and the tool."""
    main([str(flag) for flag in flags])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "logits" in one]
    found = LINE.match(line)
    assert found, line
    return float(found[1]), float(found[2]), found[3]


@pytest.fixture
def no_torch(monkeypatch):
    """An environment without PyTorch, whatever this one has."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "torch" else find(name),
    )


def test_the_picture_is_the_one_that_was_drawn():
    with Image.open(peers.PICTURE) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (500, 375))
        error = np.asarray(image) - np.asarray(draw_picture()).astype(float)
    assert np.abs(error).mean() < 6
    assert peers.PICTURE.stat().st_size < 40_000


@pytest.mark.parametrize("network", NETWORKS)
def test_onnx_runtime_runs_the_file_itself(network, tmp_path, capsys):
    ort = pytest.importorskip("onnxruntime")
    path, params = tmp_path / "w", weights_of(network)
    save_runnable_onnx(path, network, params)
    difference, largest, tool = compared(capsys, "--check", path)
    assert difference < 1e-4 and largest > 0.1
    assert tool == f"ONNX Runtime {ort.__version__}"


@pytest.mark.heavy
def test_onnx_of_one_image_of_another_size_with_probabilities(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    how = {"sides": (224, 224), "count": 2, "softmax": True}  # the model zoo's
    save_runnable_onnx(tmp_path / "w", "caffenet", weights_of("caffenet"), **how)
    assert compared(capsys, "--check", tmp_path / "w")[0] < 1e-4


@pytest.mark.heavy
def test_onnx_that_takes_something_else(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "w"
    save_runnable_onnx(path, "caffenet", weights_of("caffenet"), sides=(63, 63))
    main(["--check", "--json", str(path)])
    found = json.loads(capsys.readouterr().out)["logits"]
    assert [*found] == ["not_compared"] and "63×63" in found["not_compared"]


def test_weights_that_were_misplaced_are_an_error(tmp_path, capsys, monkeypatch):
    """So would an order of fc6's rows be, that no check of shapes sees."""
    pytest.importorskip("onnxruntime")
    params = weights_of("alexnet_torchvision")
    save_runnable_onnx(tmp_path / "w", "alexnet_torchvision", params)
    bring_over = mapping._bring_over

    def misplace(path, ours, *rest):
        mapped = bring_over(path, ours, *rest)
        if ours != "fc6/kernel":
            return mapped
        rows = mapped.array.reshape(36, -1, mapped.array.shape[-1])
        array = rows.transpose(1, 0, 2).reshape(mapped.array.shape)
        return mapped._replace(array=array)

    monkeypatch.setattr(mapping, "_bring_over", misplace)
    with pytest.raises(SystemExit, match="^1$"):
        main(["--check", str(tmp_path / "w")])
    out, err = capsys.readouterr()
    assert LINE.match(out.splitlines()[-1])
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "do not rely on these weights" in err


def test_what_to_install_is_said(tmp_path, capsys, no_torch):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("caffenet")))
    main(["--check", str(tmp_path / "w")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "logits    not compared: install torch, and they are compared with those of "
        "PyTorch"
    )
    main(["--check", "--json", str(tmp_path / "w")])
    found = json.loads(capsys.readouterr().out)["logits"]
    assert "install torch" in found["not_compared"]


@pytest.mark.parametrize("difference", [0, 2e-6, 0.5, np.nan])
def test_the_line_and_the_object(difference, tmp_path, capsys, monkeypatch):
    """With a tool that is ours but for a difference."""
    writers.save_npy(tmp_path / "w", npy_layers(params_of("alexnet_caffe")))
    ours = np.linspace(-2, 4, 7, dtype=np.float32)
    tool = type(sys)("torch")
    tool.__version__, tool.__spec__ = "9.8.7+cpu", importlib.util.find_spec("numpy")
    monkeypatch.setitem(sys.modules, "torch", tool)
    monkeypatch.setattr(peers, "_our_logits", lambda *_: ours.copy())
    monkeypatch.setattr(
        torch_networks, "logits", lambda *_, **__: ours + np.float32(4 * difference)
    )
    is_good = difference < 1e-3
    for flags in ([], ["--json"]):
        if is_good:
            main(["--check", *flags, str(tmp_path / "w")])
        else:
            with pytest.raises(SystemExit, match="^1$"):
                main(["--check", *flags, str(tmp_path / "w")])
        out, err = capsys.readouterr()
        assert ("do not rely" in err) == (not is_good)
        if flags:
            found = json.loads(out)["logits"]
            assert found["tool"] == "PyTorch 9.8.7"
            assert found["largest"] == pytest.approx(4 * (1 + difference), nan_ok=True)
        else:
            assert LINE.match(out.splitlines()[-1])[3] == "PyTorch 9.8.7"


def test_a_tool_that_fails_is_no_failure(tmp_path, capsys, monkeypatch):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("alexnet_caffe")))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "torch", None)  # whose import fails
    main(["--check", str(tmp_path / "w")])
    captured = capsys.readouterr()
    assert "logits    not compared: PyTorch does not run" in captured.out
    assert captured.err == ""
