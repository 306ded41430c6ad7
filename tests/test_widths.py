"""Every command with a table, on terminals of several widths and in a pipe."""

import json
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from alexnet_jax import checkpoint, convert, evaluate, predict, summary, sweep
from alexnet_jax.data.spec import DATA_FILE
from alexnet_jax.reporting.text import evaluation_text
from tests.experiment_files import CONV, RATES
from tests.exporting.runs import make_run
from tests.helpers import config_with
from tests.pictures import picture

WIDTHS = [40, 60, 80, 200]
PATHS = ("checkpoint  ", "data        ")


@pytest.fixture
def printed(capsys, monkeypatch):
    """What a command prints on a terminal of so many columns; None for a pipe."""

    def call(command, width, *argv):
        if width is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(width))
        command(list(argv))
        lines = capsys.readouterr().out.splitlines()
        # Which name a folder's path, however long that is.
        return [line for line in lines if not line.startswith(PATHS)]

    return call


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Layer files, in the current folder, so that no line has a long path."""
    monkeypatch.chdir(tmp_path)
    for name in ("1", "with-a-name-of-many-letters-as-they-had-in-2012"):
        (tmp_path / f"layers-{name}.cfg").write_text(CONV)
        (tmp_path / f"layer-params-{name}.cfg").write_text(RATES)
    (tmp_path / "layers-2.cfg").write_text(CONV.replace("type=fc", "type=treefc"))


SUMMARIES = {
    "one": (["alexnet_paper"], ["layer", "settings", "params"]),
    "two": (["alexnet_2012", "alexnet_paper"], ["layer", "60,965,224"]),
    "three": (["alexnet_2012", "alexnet_paper", "caffenet"], ["layer", "60,965,224"]),
    "four": (
        ["alexnet_2012", "alexnet_one_weird_trick", "caffenet", "lenet5"],
        ["layer", "61,706"],
    ),
    "list": (["--list"], ["name", "alexnet_one_weird_trick"]),
    "cfg": (["cfg:layers-1.cfg"], ["settings", "rate"]),
    "cfgs": (["cfg:layers-1.cfg", "alexnet_2012"], ["layer", "conv1"]),
    "report": (["--report", "."], ["name", "differs"]),
    "collectives": (
        ["lenet5", "--parallel.data=2", "--input-shape=28,28,1", "--batch-size=4"],
        ["purpose", "sent, MB"],
    ),
}


@pytest.mark.heavy
@pytest.mark.usefixtures("files", "eight_devices")
@pytest.mark.parametrize("what", SUMMARIES)
def test_summary(what, printed):
    argv, important = SUMMARIES[what]
    whole = printed(summary.main, None, *argv)
    for width in WIDTHS:
        lines = printed(summary.main, width, *argv)
        assert max(map(cell_len, lines)) <= width, (width, lines)
        text = "\n".join(lines)
        if width >= 80:
            assert all(word in text for word in important), (width, text)
        if width == 200 and what != "report":  # whose sentences are longer
            assert len(lines) == len(whole)
            assert "…" not in text and "not shown" not in text
        # None is broken in two, and a line below says what is missing.
        if what in ("one", "two", "three", "four", "list"):
            ours, theirs = (
                one[[line[:2] for line in one].index("──") :] for one in (lines, whole)
            )
            count = len(theirs)
            firsts = [
                [line[:3].strip() for line in one[:count]] for one in (ours, theirs)
            ]
            assert firsts[0] == firsts[1]
            note = " ".join(" ".join(ours[count:]).split())
            assert note.endswith("or with --json") == (width < 200)


NAMES = ("a class of a hundred letters " * 4, "狗" * 50, "cat")


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """A run whose classes have long names."""
    run = tmp_path_factory.mktemp("long") / "run"
    make_run(run, "lenet5", (28, 28, 1), **{"model.num_classes": 3})
    spec = json.loads((run / DATA_FILE).read_text())
    spec["class_names"] = NAMES
    (run / DATA_FILE).write_text(json.dumps(spec))
    return run


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_predict(width, long_names, tmp_path, printed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(long_names, "run")
    name = "a-picture-with-a-name-of-many-letters-as-cameras-give-them-2012.png"
    (tmp_path / name).write_bytes(picture(0, kind="PNG"))
    lines = printed(predict.main, width, "run", name)
    lines = [line for line in lines if not line.startswith("  note: ")]
    assert width is None or max(map(cell_len, lines)) <= width
    assert any("cat" in line for line in lines)
    assert (NAMES[1] in "\n".join(lines)) == (width is None or width >= 120)


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_evaluate(width, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    classes = [
        {"class": name, "examples": 10_000, "top1": 0.5, "mistaken_for": NAMES[1],
         "mistaken": 5_000}
        for name in NAMES
    ]  # fmt: skip
    found = {"workdir": "run", "step": 4, "data": "mine", "split": "test", "views": 1}
    found |= {"examples": 30_000, "top1": 0.5, "classes": classes}
    lines = [line for line in evaluation_text(found) if not line.startswith(PATHS)]
    assert width is None or max(map(cell_len, lines)) <= width
    head = next(line for line in lines if line.startswith("cl"))
    assert "top-1, %" in head
    if width is None:
        assert lines[-1].startswith("cat ") and lines[-1].endswith(
            f"{NAMES[1]} (5,000)"
        )
    elif width >= 80:
        assert "(5,000)" in lines[lines.index(head) + 1]


@pytest.mark.parametrize("width", WIDTHS)
def test_evaluate_and_checkpoint_of_a_run(
    width, trained, tmp_path, printed, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    (tmp_path / "run/checkpoints/4/metrics/metrics").unlink()
    for command in (evaluate.main, checkpoint.main):
        lines = printed(command, width, "run")
        assert max(map(cell_len, lines)) <= width
    rows = [line.split() for line in lines if line[:10].strip(" ,0123456789/") == ""]
    assert [row[0] for row in rows if row] == ["4", "8"]
    assert "epoch" in lines[0] or width == 40


@pytest.mark.parametrize("width", [40, 60, 80])
def test_convert(width, long_names, printed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(long_names, "run")
    lines = printed(convert.main, width, "--check", "run")
    end = next(k for k, line in enumerate(lines) if line.startswith("total"))
    assert max(map(cell_len, lines[1 : end + 1])) <= width
    assert any("not shown: " in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sweep(width, printed):
    values = {"optim.learning_rate": [0.1, 0.5], "seed": [1, 2]}
    values |= {"data.manual_dir": ["long/" * 20 + "a", "long/" * 20 + "b"]}

    runs = sweep.combine(values, config_with)
    for one in runs:
        one.result = {"test/top1": 0.5, "best/top1": 0.5 + one.values["seed"] / 10}

    def command(_):
        sweep._print_results(runs, Path("runs/rates"))

    lines = printed(command, width)
    assert max(map(cell_len, lines)) <= width
    assert "last test top-1" in lines[1] or width == 40
    assert any("runs/rates/sweep.json" in line for line in lines) == (width < 200)
