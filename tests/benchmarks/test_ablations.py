"""The table of the ablations, from the rows of their runs."""

import json
import sys
from types import SimpleNamespace

import pytest

from benchmarks import ablations


def write(workdir, variant, seed, *rows, stop=40):
    folder = workdir / variant / f"seed-{seed}"
    folder.mkdir(parents=True)
    config = {"config": {"num_epochs": 1, "num_train_steps": stop}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps({"epoch": 0.1, **row}) + "\n" for row in rows]
    (folder / "metrics.jsonl").write_text("".join(lines))


def row(step, train, **more):
    return {"step": step, "train/top1": train, **more}


@pytest.fixture
def workdir(tmp_path):
    for seed, base, tanh in ((0, 0.80, 0.70), (1, 0.82, 0.76)):
        first = {"grad/conv1": 1.0 + seed, "grad/fc8": 4.0}
        last = {"grad/conv1": 3.0 + seed, "grad/fc8": 4.0, "test/top1": base}
        rows = row(20 + 10 * seed, 0.76, **first), row(40, 0.7, **last)
        write(tmp_path, "baseline", seed, *rows)
        write(tmp_path, "tanh", seed, row(40, 0.6 + 0.2 * seed, **{"test/top1": tanh}))
    write(tmp_path, "no_lrn", 0, row(20, 0.5, **{"test/top1": 0.5}))  # has not ended
    return tmp_path


def test_the_table(workdir):
    table = ablations.make_table(ablations.read_runs(workdir)).splitlines()
    assert table[2:4] == [
        "| `baseline` | 2 | 81.00 ± 1.41 |  | 25 |  |",
        # Differences of -10 and -6: their mean, and its standard error.
        "| `tanh` | 2 | 73.00 ± 4.24 | -8.00 ± 2.00 | 1 × never | - |",
    ]
    assert table[4] == ""
    assert table[5:] == [
        "| norm of the kernel's gradient | conv1 | fc8 |",
        "| --- | ---: | ---: |",
        "| `baseline` | 2.5 | 4 |",
    ]


def test_every_variant_with_a_seed_before_the_next(tmp_path, monkeypatch, capsys):
    asked = []

    def run(command, **_):
        asked.append(command)
        return SimpleNamespace(returncode=int("tanh" in command[3]))

    monkeypatch.setattr(ablations.subprocess, "run", run)
    argv = ["", f"--workdir={tmp_path}", "--variants=baseline,tanh", "--seeds=0,1"]
    monkeypatch.setattr(sys, "argv", [*argv, "--config.model.width=0.25"])
    with pytest.raises(SystemExit, match="^2 runs failed"):
        ablations.main()
    runs = [(one[3].partition(":")[2], one[-1]) for one in asked]
    assert runs == [
        (variant, f"--config.seed={seed}")
        for seed in (0, 1)
        for variant in ("baseline", "tanh")
    ]
    assert all("--config.model.width=0.25" in command for command in asked)
    assert (tmp_path / "table.md").exists()


@pytest.mark.parametrize(
    ("word", "line"),
    [("--variants=relu", "be among baseline, "), ("--seed=1", "--seed=1")],
)
def test_what_is_unknown_is_named(word, line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", word])
    with pytest.raises(SystemExit):
        ablations.main()
    assert line in capsys.readouterr().err
