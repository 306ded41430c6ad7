"""A run goes out as safetensors and comes back bit for bit; so does a run's folder."""

import base64
import dataclasses
import io
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from alexnet_jax.convert import main as convert
from alexnet_jax.errors import InputError
from alexnet_jax.export import main as export
from alexnet_jax.exporting.safetensors_file import write_safetensors
from alexnet_jax.models import MODELS
from alexnet_jax.models.ablations import Ablatable
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights.own import Own, read_own, read_stated
from alexnet_jax.weights.read import read_source
from tests.exporting.runs import config_of, make_run, spec_of, weights_of

ABLATIONS = [
    {"model.normalization": "batch"},
    {"model.normalization": "none", "model.pooling": "2x2"},
    {"model.activation": "tanh", "model.links": False},
    {"model.num_classes": 3, "data.image_size": (100, 131), "augment.mirror": True},
]

_file = io.BytesIO()
np.save(_file, np.zeros(3))
NPY = _file.getvalue()


def assert_same(found, wanted):
    def same(path, a, b):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), path

    jax.tree_util.tree_map_with_path(same, found, wanted)


def there_and_back(path, config, image_shape):
    spec, weights = spec_of(config, image_shape), weights_of(config, image_shape[-1])
    write_safetensors(path, Own(config, spec, weights))
    found, left_over = read_own(path, read_source(path / "model.safetensors")[0])
    assert_same(found.weights, weights)
    assert_same(vars(found.spec.statistics), vars(spec.statistics))
    assert found.spec == spec and found.spec.text == spec.text
    assert found.config.to_json() == config.to_json() and left_over == []


@pytest.mark.parametrize("network", MODELS)
def test_every_network_comes_back(network, tmp_path):
    there_and_back(tmp_path, config_of(network), (40, 44, 3))


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_ablations_and_other_sizes_come_back(changes, tmp_path):
    network = "alexnet_2012"
    assert issubclass(MODELS[network], Ablatable)
    there_and_back(tmp_path, config_of(network, **changes), (40, 44, 1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run with BatchNorm, and what is exported of it; to be left as it is."""
    folder = tmp_path_factory.mktemp("own")
    changes = {"model.normalization": "batch", "data.image_size": 67}
    make_run(folder / "run", "alexnet_paper", **changes)
    export([str(folder / "run"), "--format=safetensors", f"--to={folder / 'out'}"])
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize(
    "source", ["out/model.safetensors", "run", "run/checkpoints/1"]
)
def test_a_run_is_made_again(exported, source, tmp_path, capsys):
    if source.endswith("/1"):
        (step,) = (exported / "run/checkpoints").glob("[0-9]*")
        source = step.relative_to(exported)
    convert([str(exported / source), f"--to={tmp_path / 'back'}", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {one["changes"] for one in report["arrays"]} == {""}
    old, new = TrainedModel(exported / "run"), TrainedModel(tmp_path / "back")
    count = sum(leaf.size for leaf in jax.tree.leaves(old.weights["params"]))
    assert report["parameters"] == count
    names = [one["name"] for one in report["arrays"]]
    assert "batch_stats/norm1/mean" in names and names[0] == "conv1/kernel"
    assert_same(new.weights, old.weights)
    assert new.config.to_json() == old.config.to_json()
    for name in ("data.json", "statistics.npz"):
        there, back = (exported / "run" / name), (tmp_path / "back" / name)
        assert there.read_bytes() == back.read_bytes()
    image = np.random.default_rng(0).integers(0, 256, (2, 40, 44, 3), np.uint8)
    assert_same(new.logits(image), old.logits(image))


@pytest.mark.parametrize("flag", ["--network=caffenet", "--mean=mean.npy"])
@pytest.mark.parametrize("source", ["out/model.safetensors", "run"])
def test_what_it_says_itself_is_not_asked(exported, source, flag, error_line):
    line = error_line(convert, "--check", exported / source, flag)
    assert "leave it out" in line


def rewrite(source, path, change):
    """Writes a file again with other arrays or metadata."""
    with safe_open(source, "np") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(arrays, metadata)
    save_file(arrays, path, metadata)
    return path


def as_type(arrays, name, dtype):
    arrays[name] = arrays[name].astype(dtype)


def with_config(metadata, change):
    config = json.loads(metadata["config"])
    change(config)
    metadata["config"] = json.dumps(config)


BAD = {
    "missing": (lambda a, m: a.pop("conv2.kernel"), "conv2.kernel of"),
    "state": (lambda a, m: a.pop("batch_stats.norm1.var"), "batch_stats.norm1.var of"),
    "extra": (lambda a, m: a.update(z=np.zeros(3)), "z would be left over"),
    "nan": (lambda a, m: a["fc6.bias"].fill(np.nan), "fc6.bias holds NaN"),
    "infinite": (lambda a, m: a["batch_stats.norm1.var"].fill(np.inf), "NaN or inf"),
    "half": (lambda a, m: as_type(a, "fc6.bias", np.float16), "float16"),
    "double": (lambda a, m: as_type(a, "fc6.bias", np.float64), "float64"),
    "shape": (lambda a, m: a.update({"fc6.bias": np.zeros(3, "f4")}), "(3,)"),
    "mean": (lambda a, m: a.pop("statistics.mean"), "statistics"),
    "mean_nan": (lambda a, m: a["statistics.mean"].fill(np.nan), "NaN"),
    "mean_type": (lambda a, m: as_type(a, "statistics.mean", int), "floats"),
    "more": (lambda a, m: a.update({"statistics.x": np.zeros(3)}), "statistics"),
    "channels": (
        lambda a, m: m.update(data=m["data"].replace("40", "3", 1)[:-40]),
        "specification",
    ),
    "format": (lambda a, m: m.update(format="alexnet_jax 2"), "alexnet_jax 2"),
    "no_config": (lambda a, m: m.pop("config"), "'config'"),
    "no_data": (lambda a, m: m.pop("data"), "'data'"),
    "json": (lambda a, m: m.update(config="{"), "damaged"),
    "list": (lambda a, m: m.update(config="[]"), "another version"),
    "number": (lambda a, m: m.update(config="3"), "another version"),
    "nested": (lambda a, m: m.update(config="[" * 100_000), "damaged"),
    "data_list": (lambda a, m: m.update(data="[]"), "damaged"),
    "network": (lambda a, m: m.update(network="lenet5"), "lenet5"),
    "future": (
        lambda a, m: with_config(m, lambda c: c["model"].update(depth=9)),
        "another version",
    ),
    "value": (
        lambda a, m: with_config(m, lambda c: c["model"].update(width=-1)),
        "model.width",
    ),
    "unknown": (
        lambda a, m: (
            with_config(m, lambda c: c["model"].update(name="resnet")),
            m.update(network="resnet"),
        ),
        "resnet",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_is_one_line(exported, kind, tmp_path, error_line):
    change, words = BAD[kind]
    path = rewrite(exported / "out/model.safetensors", tmp_path / "w", change)
    line = error_line(convert, path, f"--to={tmp_path / 'run'}")
    assert words in line and str(path) in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK", NPY, NPY[:20], b"PK\x03\x04" + bytes(40)]
)
def test_statistics_in_metadata_that_are_none(exported, content):
    path = exported / "out" / "model.safetensors"
    source, _ = read_source(path)
    stated = {"statistics": base64.b64encode(content).decode()}
    source = dataclasses.replace(source, metadata={**source.metadata, **stated})
    with pytest.raises(InputError, match="statistics .* missing or damaged") as caught:
        read_stated(path, source)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_left_over_may_be_left_out(exported, tmp_path, capsys):
    path = rewrite(exported / "out/model.safetensors", tmp_path / "w", BAD["extra"][0])
    convert(["--check", "--ignore", str(path)])
    assert "left out  z" in capsys.readouterr().out


@pytest.mark.heavy
def test_a_file_that_is_cut_short_or_changed(exported, tmp_path):
    whole = (exported / "out/model.safetensors").read_bytes()
    path = tmp_path / "w"
    for share in (0.001, 0.3, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="cut short|format"):
            read_source(path)
    draw = np.random.default_rng(0)
    for place in draw.integers(0, 6000, 60):
        broken = bytearray(whole)
        broken[place] ^= 1 << draw.integers(8)
        path.write_bytes(broken)
        try:
            read_own(path, read_source(path)[0], ignore=True)
        except (InputError, KeyError) as error:
            assert isinstance(error, InputError) and "\n" not in str(error)


@pytest.mark.heavy
def test_a_run_of_an_earlier_version_and_of_two_towers(tmp_path, capsys):
    source = Path(__file__).parents[1] / "data" / "run-0.1.0"
    shutil.copytree(source, tmp_path / "old")
    convert([str(tmp_path / "old"), f"--to={tmp_path / 'back'}"])
    assert "batch_stats" in capsys.readouterr().out
    old, new = TrainedModel(tmp_path / "old"), TrainedModel(tmp_path / "back")
    assert_same(new.weights, old.weights)
    assert new.config.to_json() == old.config.to_json()
    assert new.spec.matches(old.spec)
