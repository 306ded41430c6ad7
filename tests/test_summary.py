"""The summary command: what it prints, and how it answers mistakes."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import pytest

from alexnet_jax.inspection.layers import describe
from alexnet_jax.inspection.tables import align, summarize
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import MODELS, Classifier, create_model
from alexnet_jax.summary import main
from tests.models.table import TABLE
from tests.test_step import UserNet

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def printed(capsys):
    def run(*argv):
        main(argv)
        return capsys.readouterr().out

    return run


def test_one_network(printed):
    lines = printed("alexnet_paper").splitlines()
    assert lines[0] == "alexnet_paper: input 224×224×3, 1000 classes"
    rows = {line.split()[0]: line for line in lines[1:] if line.strip()}
    conv2 = "conv2 5×5/1 pad 2 2 groups 27×27×256 51 307,456 0.5 223,948,800 30.9 0.75"
    assert rows["conv2"].split() == conv2.split()
    assert rows["fc6"].split()[1:4] == ["4096", "355", "37,752,832"]
    assert rows["total"].split() == ["total", "60,965,224", "724,406,816", "7.74"]
    norm = "norm1 5 maps α 0.0001 k 2 2 groups 55×55×96 11 1.16"
    assert rows["norm1"].split() == norm.split()


def test_other_images_and_classes(printed):
    (network,) = json.loads(
        printed("alexnet_half", "--input_shape=224,224,1", "--num_classes=10", "--json")
    )
    assert network["params"] == 14_590_314 and network["macs"] == 274_025_904
    assert network["input_shape"] == [1, 224, 224, 1]
    batch = summarize("alexnet_half", (8, 224, 224, 1), 10)
    assert batch.layers[0].output_shape == (8, 55, 55, 48)
    assert (batch.macs, batch.activation_bytes) == (  # an image's, whatever the batch
        network["macs"],
        network["activation_bytes"],
    )


def test_json_of_all(printed):
    networks = json.loads(printed("--list", "--json"))
    assert [network["name"] for network in networks] == list(MODELS)
    for network in networks:
        known = TABLE[network["name"]]
        assert (network["params"], network["macs"]) == (known.params, known.macs)
        assert network["input_shape"] == [1, *known.input_shape]
        for key in ("params", "macs", "activation_bytes"):
            assert sum(layer[key] for layer in network["layers"]) == network[key]
        assert all(
            {"name", "kind", "output_shape", "params", "macs"} <= layer.keys()
            for layer in network["layers"]
        )
        names = [layer["name"] for layer in network["layers"]]
        assert len(set(names)) == len(names)


def test_the_list(printed):
    lines = printed("--list").splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert all(MODELS[line.split()[0]].reference.source in line for line in lines)
    torchvision = next(line for line in lines if "torchvision" in line)
    assert re.search(r"61,100,840 +714,188,480 +ImageNet 56.52 / 79.07", torchvision)


def test_two_side_by_side(printed):
    lines = printed("alexnet_2012", "alexnet_paper").splitlines()
    marked = [line.split()[1] for line in lines if line.startswith("≠")]
    assert marked == ["init", "relu1", "norm1", "relu1", "norm2", "mapnorm2"] + [
        "relu5",
        "relu5",
    ]
    plain = [line.split()[0] for line in lines[2:] if line[:1] == " " and line.strip()]
    assert plain[:4] == ["input", "images", "conv1", "pool1"]
    assert plain[-2:] == ["params", "MACs"]


def test_rows_keep_each_networks_order():
    names = ["alexnet_2012", "alexnet_caffe", "caffenet"]
    columns = [summarize(name).layers for name in names]
    rows = align(columns)
    for place, layers in enumerate(columns):
        assert [row[place] for row in rows if row[place]] == layers
    assert all(len({layer.name for layer in row if layer}) == 1 for row in rows)


def test_receptive_fields():
    """1 + Σ (kernel - 1) · jump: known by hand for the paper and LeNet-5."""

    def fields(name):
        layers = summarize(name).layers
        return [row.receptive_field for row in layers if row.kind in ("conv", "dense")]

    assert fields("alexnet_paper") == [11, 51, 99, 131, 163, 355, 355, 355]
    assert fields("lenet5") == [5, 14, 32, 32, 32]
    # The 5×5 normalisation of its own map adds four units of two strides' jump.
    assert fields("alexnet_2012")[2] == 99 + 4 * 8


def test_a_users_own_network():
    rows = describe(UserNet(), (1, 28, 28, 1))
    shapes = jax.eval_shape(
        lambda: UserNet().init(
            {"params": jax.random.key(0), "dropout": jax.random.key(0)},
            jax.numpy.zeros((1, 28, 28, 1)),
        )
    )["params"]
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert sum(row.params for row in rows) == total
    # A lambda that keeps the size is taken to see one place at a time.
    assert rows[-1].receptive_field == 3 + 13 * 2


class PoolNet(Classifier):
    def setup(self):
        pool = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
        self.net = nn.Sequential([lambda x: pool(x), flatten, nn.Dense(10)])


def test_what_a_users_pool_sees_is_not_guessed():
    rows = describe(PoolNet(), (1, 8, 8, 1))
    assert [row.receptive_field for row in rows] == [None, None, None]
    assert rows[-1].params == 170


def test_it_allocates_no_weights():
    before = sum(array.nbytes for array in jax.live_arrays())
    rows = describe(create_model("alexnet_paper"), (1, 224, 224, 3))
    assert any(row.kind == flatten.__name__ for row in rows)
    after = sum(array.nbytes for array in jax.live_arrays())
    assert after - before < 1_000_000


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "name a network, or give --list; try alexnet_paper"),
        (["alexnet_papr"], "model.name must be one of .* the nearest: alexnet_paper"),
        (
            ["alexnet_paper", "--input_shape=20,20,3"],
            "image_size 20 is too small for AlexNetPaper: layer 15, max_pool_ceil, .*",
        ),
        (
            ["alexnet_paper", "--input_shape=20,3"],
            "argument --input_shape: must be height, width and channels, .* '20,3'",
        ),
        (["alexnet_paper", "--input_shape=224,224,0"], ".*got '224,224,0'"),
        (["alexnet_paper", "--num_classes=0"], ".*must be at least 1; got '0'"),
        (["alexnet_paper", "--jsn"], "unrecognized arguments: --jsn"),
        (list(MODELS)[:5], "NAME: at most 4 stand side by side; got 5; --list has all"),
    ],
)
def test_mistakes_are_answered_with_a_line(argv, line):
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert re.match(f"error: {line}", str(error.value.code))
    assert "\n" not in str(error.value.code)


def test_the_docs_tables_are_the_commands(printed):
    """docs/alexnets.md carries what the command prints, to the letter."""
    text = (DOCS / "alexnets.md").read_text()
    for argv in (["--list"], ["--kernels"], ["alexnet_2012", "alexnet_paper"]):
        command = f"python -m alexnet_jax.summary {' '.join(argv)}"
        table = "\n".join(line.rstrip() for line in printed(*argv).splitlines())
        assert f"{command}\n```\n\n```\n{table}\n```" in text, argv


def test_the_command_runs():
    command = [sys.executable, "-m", "alexnet_jax.summary", "lenet5"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "lenet5: input 28×28×1, 10 classes" in made.stdout and not made.stderr
