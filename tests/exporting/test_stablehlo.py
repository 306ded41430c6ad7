"""The StableHLO file answers as the network does, alone."""

import json
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from alexnet_jax.data.pictures import read_picture
from alexnet_jax.errors import InputError
from alexnet_jax.exporting.formats import Network, write_and_check
from alexnet_jax.exporting.preprocessing_file import write_preprocessing
from alexnet_jax.exporting.stablehlo import write_stablehlo
from alexnet_jax.models import MODELS
from alexnet_jax.trained import TrainedModel
from tests.exporting.runs import make_run
from tests.pictures import picture

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

WEIGHTS = Path(__file__).parents[2] / "docs" / "weights.md"


def exported(tmp_path, network, image_shape=(40, 44, 3), **changes):
    make_run(tmp_path / "run", network, image_shape, **changes)
    net = TrainedModel(tmp_path / "run")
    (tmp_path / "out").mkdir()
    notes, check = write_and_check("stablehlo", tmp_path / "out", Network(net))
    content = (tmp_path / "out" / "model.stablehlo").read_bytes()
    assert f"jax {jax.__version__}" in notes[0] and "jax" in check.by
    return net, export.deserialize(bytearray(content))


def compare(net, network, tolerance=1e-5):
    draw = np.random.default_rng(5)
    assert network.platforms == ("cpu", "cuda", "tpu")
    low, high = np.array([[0, 0, 200], [256, 40, 256]]).reshape(2, 3, 1, 1, 1)
    image = draw.integers(low, high, (3, *net.spec.image_shape), np.uint8)
    found, wanted = np.asarray(network.call(image)), net.predict(image).probabilities
    assert found.dtype == np.float32 and found.shape == (3, 7)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    assert wanted.std(axis=0).max() > 10 * tolerance  # images are told apart


def test_it_answers_for_any_number_of_images(tmp_path):
    net, network = exported(tmp_path, "lenet5")
    compare(net, network)
    image = np.zeros((1, *net.spec.image_shape), np.uint8)
    wanted = net.predict(image).probabilities
    np.testing.assert_allclose(network.call(image), wanted, rtol=0, atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("network", MODELS)
def test_every_network_answers_as_it_does(network, tmp_path):
    changes = {} if network == "lenet5" else {"data.image_size": 80}
    changes["data.scale"] = "unit"
    compare(*exported(tmp_path, network, **changes))


@pytest.mark.heavy
def test_so_does_one_with_running_statistics(tmp_path):
    changes = {"model.normalization": "batch", "data.image_size": (67, 80)}
    changes["data.scale"] = "unit"
    compare(*exported(tmp_path, "alexnet_paper", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"eval.views": 10, "augment.canvas": 32},
        {"data.scale": "pixels", "augment.canvas": 32},
        {"data.scale": "caffe", "augment.canvas": (36, 32)},
        {"data.image_size": (28, 40)},
    ],
    ids=str,
)
def test_so_does_every_kind_of_run(changes, tmp_path):
    compare(*exported(tmp_path, "lenet5", **changes))


def test_so_does_a_run_in_bfloat16(tmp_path):
    compare(*exported(tmp_path, "lenet5", dtype="bfloat16"), tolerance=3e-3)


_BLOCKED = """
import sys
sys.modules["alexnet_jax"] = None  # so that its import fails
sys.argv = sys.argv[1:]
exec(open(sys.argv[0]).read())
"""


def lines_of_docs():
    (code,) = re.findall(r"```python\n(# serve\.py.*?)```", WEIGHTS.read_text(), re.S)
    assert len([line for line in code.splitlines() if line]) <= 24
    return code


@pytest.mark.e2e
@pytest.mark.parametrize("fit", ["crop", "warp"])
def test_the_lines_of_the_docs_serve_it_without_this_package(fit, tmp_path):
    net, _ = exported(tmp_path, "lenet5", **{"data.fit": fit})
    write_preprocessing(tmp_path / "out", net, Network(net).pipeline)
    (tmp_path / "serve.py").write_text(lines_of_docs())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = [tmp_path / "serve.py", tmp_path / "out", str(port)]
    server = subprocess.Popen([sys.executable, "-c", _BLOCKED, *words])
    try:
        path = tmp_path / "a.png"
        path.write_bytes(picture(0, (90, 70), kind="PNG"))
        answer = ask(f"http://127.0.0.1:{port}", path.read_bytes(), server)
    finally:
        server.kill()
        server.wait()
    image = read_picture(path, net.spec, fit=fit).image
    wanted = net.predict(image[None]).probabilities[0]
    assert [*answer] == list(net.spec.class_names)
    np.testing.assert_allclose([*answer.values()], wanted, atol=1e-3)


def ask(address, content, server):
    for _ in range(300):
        try:
            with urllib.request.urlopen(address, content, timeout=30) as reply:
                return json.load(reply)
        except OSError:
            assert server.poll() is None
            time.sleep(0.1)
    raise AssertionError("no answer")


def test_without_flatbuffers_it_is_said(tmp_path, monkeypatch):
    """JAX imports it late, and does not depend on it."""
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(InputError, match="flatbuffers is not installed"):
        write_stablehlo(tmp_path, lambda image: image, (4, 4, 1))
    assert [*tmp_path.iterdir()] == []


def test_it_is_a_dependency():
    listed = tomllib.loads((WEIGHTS.parents[1] / "pyproject.toml").read_text())
    assert any(
        one.startswith("flatbuffers") for one in listed["project"]["dependencies"]
    )
