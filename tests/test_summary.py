"""The summary command: what it prints, and how it answers mistakes."""

import json
import re
from pathlib import Path

import jax
import pytest
from PIL import Image

from alexnet_jax.convert import main as convert
from alexnet_jax.export import main as export
from alexnet_jax.models import MODELS
from alexnet_jax.predict import main as predict
from alexnet_jax.summary import main
from alexnet_jax.trained import TrainedModel
from tests.exporting.runs import make_run
from tests.models.table import TABLE

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
    flags = "--input-shape=224,224,1", "--num-classes=10", "--json"
    (network,) = json.loads(printed("alexnet_half", *flags))
    assert network["params"] == 14_590_314 and network["macs"] == 274_025_904
    assert network["input_shape"] == [1, 224, 224, 1]


@pytest.mark.heavy
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


@pytest.mark.heavy
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


@pytest.mark.heavy
@pytest.mark.usefixtures("eight_devices")
def test_the_collectives_of_a_step(printed):
    flags = "--parallel.data=2", "--input-shape=28,28,1", "--batch-size=4"
    head, _, *rows, step, state = printed("lenet5", *flags).splitlines()
    assert head.startswith("pass") and "sent per image" in head
    assert any("gradients" in row and "all-reduce" in row for row in rows)
    assert step.startswith(f"step of 4 images per device: {len(rows)} collectives; ")
    assert state == "state: 0.5 MB per device, 0.5 MB in total"


@pytest.mark.heavy
def test_a_runs_network(printed, tmp_path, monkeypatch, error_line):
    make_run(
        tmp_path / "run",
        "alexnet_half",
        (40, 44, 1),
        **{"data.image_size": (70, 90), "model.width": 1 / 8},
    )
    head, *_ = lines = printed(str(tmp_path / "run")).splitlines()
    assert head == "alexnet_half of width 0.125: input 70×90×1, 7 classes"
    weights = TrainedModel(tmp_path / "run").weights["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(weights))
    assert lines[-1].split()[:2] == ["total", f"{count:,}"]
    (found,) = json.loads(printed(str(tmp_path / "run/checkpoints/0"), "--json"))
    assert (found["params"], found["width"]) == (count, 0.125)
    monkeypatch.chdir(tmp_path)
    assert "20 classes" in printed("run", "--num-classes=20").splitlines()[0]
    assert "params" in printed("run", "alexnet_half")  # side by side
    assert "not a run" in error_line(main, "run", "--parallel.data=2")
    for name in (tmp_path, tmp_path / "none"):
        assert "has no readable config.json" in error_line(main, name)


@pytest.mark.parametrize(
    "command", [convert, export, predict, main], ids=lambda one: one.__module__
)
def test_help_has_eighty_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="^0$"):
        command(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_picture_of_the_towers(printed, tmp_path):
    file = tmp_path / "new" / "towers.png"
    assert printed("alexnet_2012", f"--picture={file}") == f"picture   {file}\n"
    with Image.open(file) as image:
        assert min(image.size) > 100


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "name a network, or give --list; try alexnet_paper"),
        (["alexnet_papr"], "model.name must be one of .* the nearest: alexnet_paper"),
        (
            ["alexnet_paper", "--input-shape=20,20,3"],
            "image_size 20 is too small for AlexNetPaper: layer 15, max_pool_ceil, .*",
        ),
        (
            ["alexnet_paper", "--input-shape=20,3"],
            "argument --input-shape: must be height, width and channels, .* '20,3'",
        ),
        (["alexnet_paper", "--input-shape=224,224,0"], ".*got '224,224,0'"),
        (["alexnet_paper", "--num-classes=0"], ".*must be at least 1; got '0'"),
        (["alexnet_paper", "--jsn"], "unrecognized arguments: --jsn"),
        (list(MODELS)[:5], "NAME: at most 4 networks fit side by side; got 5; --list"),
        (["lenet5", "--picture=a.png"], "--picture needs a network of two towers; got"),
        (["alexnet_2012", "--picture=/dev/null/a.png"], "--picture: /dev/null is no f"),
        (["alexnet_2012", "--picture=a.abc"], "--picture must end in one of .png, .pd"),
        (
            ["cfg:a", "--code", "--input-shape=31,31,3"],
            "--code and --input-shape exclude each other; give one of them",
        ),
        (
            ["lenet5", "--parallel.data=2", "--json"],
            "--parallel and --json exclude each other; give one of them",
        ),
        (["lenet5", "d2l", "--parallel.data=2"], "--parallel takes one NAME; got 2"),
        (["lenet5", "--list"], "--list takes no NAME; leave out lenet5"),
        (["lenet5", "--report=a"], "--report takes no NAME; leave out lenet5"),
        (["--report=a", "--num-classes=9"], "--report takes no --input-shape and no"),
        (["--report=a", "--list"], "--list and --report exclude each other; give one"),
        (["cfg:a", "--code", "--json"], "--code and --json exclude each other; give"),
        (["cfg:a", "--code", "--picture=a.png"], "--code and --picture exclude each"),
        (["cfg:a", "--code", "--list"], "--list and --code exclude each other; give"),
        (["cfg:a", "cfg:b", "--code"], "--code and --params take one NAME, cfg:FILE"),
        (["lenet5", "--batch-size=9"], "--batch-size is for --parallel; give --par"),
        (
            ["alexnet_2012", "--picture=a.png", "--parallel.model=2"],
            "--picture and --parallel exclude each other; give one of them",
        ),
    ],
)
def test_mistakes_are_answered_with_a_line(argv, line, error_line):
    assert re.match(f"error: {line}", error_line(main, *argv))


def shown_in_docs(*argv):
    """The lines that docs/alexnets.md shows of a summary."""
    command = f"python -m alexnet_jax.summary {' '.join(argv)}"
    _, found, rest = (
        (DOCS / "alexnets.md").read_text().partition(f"{command}\n```\n\n```\n")
    )
    assert found, command
    return rest.partition("\n```")[0].splitlines()


def test_the_docs_comparison_is_the_commands(printed):
    networks = "alexnet_2012", "alexnet_paper"
    lines = [line.rstrip() for line in printed(*networks).splitlines()]
    assert shown_in_docs(*networks) == lines


@pytest.mark.heavy
def test_the_docs_list_is_the_commands(printed):
    """Of the networks that it names: a new one need not be among them."""

    def rows(lines):
        return {line.split()[0]: line.split() for line in lines}

    shown, printed_rows = (
        rows(shown_in_docs("--list")),
        rows(printed("--list").splitlines()),
    )
    assert len(shown) > 10
    assert shown == {name: printed_rows[name] for name in shown}


@pytest.mark.slow
def test_the_docs_table_of_collectives_is_the_commands(printed):
    text = (DOCS / "parallel.md").read_text()
    lines = printed("alexnet_paper", "--parallel.model=2").splitlines()
    *table, partitioner, state = [line.rstrip() for line in lines]
    assert "\n".join(table) in text and state in text
    step = "step of 128 images per device: 8 collectives; each device sends 30.0 MB"
    assert table[-1] == step
    assert partitioner.startswith("by XLA's own partitioner: ")  # XLA's version decides
