"""The StableHLO file answers as the network does, alone."""

import dataclasses
import json
import math
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
from PIL import ExifTags, Image, ImageOps

from alexnet_jax.data.pictures import read_picture
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.exporting import formats
from alexnet_jax.exporting.formats import Network, write_and_check
from alexnet_jax.exporting.preprocessing_file import describe, write_preprocessing
from alexnet_jax.exporting.stablehlo import write_stablehlo
from alexnet_jax.run.imported import new_run
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights.peers import PICTURE
from tests.exporting.runs import config_of, make_run, spec_of, weights_of
from tests.models.table import KINDS

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


@pytest.mark.slow
def test_it_answers_for_any_number_of_images(tmp_path):
    net, network = exported(tmp_path, "lenet5")
    compare(net, network)
    image = np.zeros((1, *net.spec.image_shape), np.uint8)
    wanted = net.predict(image).probabilities
    np.testing.assert_allclose(network.call(image), wanted, rtol=0, atol=1e-5)


_QUICK = ("alexnet_2012", "lenet5")


@pytest.mark.heavy
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in KINDS
    ],
)
def test_networks_answer_as_they_do(network, tmp_path):
    changes = {} if network == "lenet5" else {"data.image_size": 80}
    changes["data.scale"] = "unit"
    compare(*exported(tmp_path, network, **changes))


@pytest.mark.slow
def test_so_does_one_with_running_statistics(tmp_path):
    changes = {"model.normalization": "batch", "data.image_size": (67, 80)}
    changes["data.scale"] = "unit"
    compare(*exported(tmp_path, "alexnet_paper", **changes))


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert len([line for line in code.splitlines() if line]) <= 55
    return code


# By the kind of run: changes of its config, its images' shape, whether they are files.
_RUNS = {
    "bicubic": ({"data.resize": "bicubic"}, (40, 44, 3), True),
    "bilinear": ({"data.resize": "bilinear"}, (256, 256, 3), True),
    "gray": ({"data.resize": "bilinear"}, (51, 33, 1), True),
    "warp": ({"data.fit": "warp", "data.resize": "bilinear"}, (40, 44, 3), True),
    "light": ({}, (32, 32, 3), False),
    "dark": ({}, (28, 28, 1), False),
    "dark colors": ({}, (28, 20, 3), False),
}


def pictures_of(folder):
    """The picture that ships, and odd files of all kinds."""
    yield PICTURE
    with Image.open(PICTURE) as image:
        colors = image.resize((123, 181))
    exif = Image.Exif()
    for turn in (3, 6):
        exif[ExifTags.Base.Orientation] = turn
        image = Image.open(PICTURE)
        image.save(folder / f"turned{turn}.jpg", exif=exif)
        yield folder / f"turned{turn}.jpg"
    clear = colors.copy()
    clear.putalpha(Image.radial_gradient("L").resize(clear.size))
    wide = np.asarray(colors.convert("L")).astype(np.uint16) * 250 + 7
    odd = {
        "clear.png": clear,
        "palette.gif": colors.quantize(32),
        "wide.png": Image.fromarray(wide),
        "floats.tiff": Image.fromarray((wide / 65535).astype(np.float32)),
        "inks.jpg": colors.convert("CMYK"),
        "gray.png": colors.convert("L"),
        "gray and clear.png": clear.convert("LA"),
        "bits.png": colors.convert("1"),
        "odd.png": colors.crop((0, 0, 61, 180)),
    }
    for name, image in odd.items():
        image.save(folder / name)
        yield folder / name


@pytest.mark.parametrize("kind", _RUNS)
def test_the_lines_of_the_docs_read_pictures_as_predict_does(kind, tmp_path):
    """Byte for byte: what follows is the file's, which is compared elsewhere."""
    changes, shape, streamed = _RUNS[kind]
    config = config_of("lenet5", **changes)
    spec = spec_of(config, shape, streamed)
    if not streamed:
        spec = dataclasses.replace(spec, name="digits 1.0.0")
    if kind.startswith("dark"):
        bright = np.zeros((1, *shape), np.uint8)
        bright[:, 8:-8, 6:-6] = 255
        spec = dataclasses.replace(spec, measure=lambda: measure([bright]))
    with new_run(tmp_path / "run", config, spec, **weights_of(config, shape[-1])):
        pass
    net = TrainedModel(tmp_path / "run")
    about = describe(net, Network(net).pipeline, 1)
    assert about["fit"] == {"light": "box", "warp": "warp"}.get(
        kind, "pad" if "dark" in kind else "crop"
    )
    _, found, rest = lines_of_docs().partition("h, w = about")
    (code, found_too, _) = (found + rest).partition("class Handler")
    assert found and found_too
    names = {"about": json.loads(json.dumps(about)), "math": math, "np": np}
    names |= {"Image": Image, "ImageOps": ImageOps}
    exec(code, names)
    data = net.config.data
    for path in pictures_of(tmp_path):
        wanted = read_picture(path, net.spec, fit=data.fit, way=data.resize).image
        with path.open("rb") as file:
            image = np.asarray(names["read"](file)).reshape(shape)
        np.testing.assert_array_equal(image, wanted, err_msg=path.name)


@pytest.mark.e2e
@pytest.mark.parametrize("way", ["bicubic", "bilinear"])
def test_the_lines_of_the_docs_serve_it_without_this_package(way, tmp_path):
    net, _ = exported(tmp_path, "lenet5", **{"data.resize": way})
    write_preprocessing(tmp_path / "out", net, Network(net).pipeline)
    (tmp_path / "serve.py").write_text(lines_of_docs())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = [tmp_path / "serve.py", tmp_path / "out", str(port)]
    server = subprocess.Popen([sys.executable, "-c", _BLOCKED, *words])
    try:
        answer = ask(f"http://127.0.0.1:{port}", PICTURE.read_bytes(), server)
    finally:
        server.kill()
        server.wait()
    image = read_picture(PICTURE, net.spec, way=way).image
    wanted = net.predict(image[None]).probabilities[0]
    assert [*answer] == list(net.spec.class_names)
    np.testing.assert_allclose([*answer.values()], wanted, rtol=0, atol=1e-4)


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


def test_what_xla_cannot_compile_is_said(tmp_path, monkeypatch):
    def fail(folder, image):
        raise jax.errors.JaxRuntimeError("INTERNAL: no\nIR")

    make_run(tmp_path / "run", "lenet5", (28, 28, 1))
    network = Network(TrainedModel(tmp_path / "run"))
    monkeypatch.setattr(formats, "call_stablehlo", fail)
    said = r"^model.stablehlo cannot be compiled here \(INTERNAL: no IR\); nothing was"
    with pytest.raises(RunError, match=said):
        write_and_check("stablehlo", tmp_path, network)


def test_it_is_a_dependency():
    listed = tomllib.loads((WEIGHTS.parents[1] / "pyproject.toml").read_text())
    assert any(
        one.startswith("flatbuffers") for one in listed["project"]["dependencies"]
    )
