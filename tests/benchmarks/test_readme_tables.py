"""README's results are those that lie in results/."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablations import make_table, read_runs
from benchmarks.readme_tables import main

ROOT = Path(__file__).parents[2]
RUNS = sorted(path.parent for path in (ROOT / "results").rglob("metrics.jsonl"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)
def test_a_run_has_its_config_versions_and_log(folder):
    record = json.loads((folder / "config.json").read_text())
    assert {"jax", "flax", "python"} <= record["versions"].keys()
    assert (folder / "log.txt").exists() or (folder.parent / "log.txt").exists()


def test_the_study_of_first_weights_is_what_was_measured():
    row = re.compile(
        r"^\| `(\w+)`[^|]* \| `(pixels|standard)` \| (\w+) \| ([\d.]+) \| ([\d.]+) \|$",
        re.MULTILINE,
    )
    found = row.findall((ROOT / "README.md").read_text())
    assert len(found) == 6
    for init, scale, first, late, top1 in found:
        name = init if scale == "pixels" else f"{init}-{scale}"
        folder = ROOT / "results" / "initialization" / name
        config = json.loads((folder / "config.json").read_text())["config"]
        assert config["model"]["init"] == init
        assert config["data"]["scale"] == {"pixels": "author"}.get(scale, scale)
        *rows, last = map(
            json.loads, (folder / "metrics.jsonl").read_text().splitlines()
        )
        left = [str(row["step"]) for row in rows if row["train/loss"] < 2.2]
        losses = [row["train/loss"] for row in rows if row["step"] >= 455]
        assert (left or ["never"])[0] == first
        assert f"{np.mean(losses):.3f}" == late
        assert f"{100 * last['test/top1']:.2f}" == top1


def test_the_table_is_what_was_measured(tmp_path, capsys):
    """`make results` would change nothing."""
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text())
    main([f"--folder={ROOT / 'results'}", f"--readme={readme}"])
    assert capsys.readouterr().out.startswith(f"written   {readme}, ")
    assert readme.read_text() == (ROOT / "README.md").read_text()


def publish(folder, step, **words):
    """A folder of two seeds of 40 steps in 4 epochs."""
    for seed, top1 in enumerate((0.5, 0.6)):
        workdir = folder / f"seed-{seed}"
        workdir.mkdir(parents=True)
        row = {"step": step, "epoch": step / 10, "time_s": 200.0 + 80 * seed}
        row |= {"train/loss": 1.0, "train/top1": 0.4, "test/loss": 1, "test/top1": top1}
        (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        config = {"num_epochs": 4, "num_train_steps": None}
        config |= {"data": {"name": "digits", "image_size": 8}}
        (workdir / "config.json").write_text(json.dumps({"config": config}))
    words = {"order": 1, "network": "n", "published": "-", "hardware": "CPU"} | words
    (folder / "run.json").write_text(json.dumps(words))


def test_a_table_is_written(tmp_path):
    publish(tmp_path / "results" / "b", 40, run="second", order=2)
    publish(tmp_path / "results" / "a", 25, run="first", time="a day")
    readme = tmp_path / "README.md"
    head, line = (
        (ROOT / "README.md").read_text().partition("| run |")[2].split("\n")[:2]
    )
    readme.write_text(f"before\n\n| run |{head}\n{line}\n| old |\n\nafter\n")
    for _ in range(2):
        main([f"--folder={tmp_path / 'results'}", f"--readme={readme}"])
    top1 = "2 | 55.00 ± 7.07 | -"
    assert readme.read_text().splitlines() == [
        *("before", "", f"| run |{head}", line),
        f"| first | n | digits, 8×8 | 2.5 of 4 epochs, partial | {top1} | CPU, a day "
        "| [log](results/a) |",
        f"| second | n | digits, 8×8 | 4 epochs | {top1} | CPU, 4 min each "
        "| [log](results/b) |",
        *("", "after"),
    ]


def test_epochs_stand_beside_the_published_ones(tmp_path):
    publish(tmp_path / "a", 20, run="first", by_epoch=[40, 50.5, 60])
    publish(tmp_path / "b", 25, run="cut in an epoch", by_epoch=[])
    publish(tmp_path / "c", 40, run="without")
    readme = tmp_path / "README.md"
    readme.write_text("| run | x |\n\n| epoch | x |\n| --- |\n| old |\n\nafter\n")
    for _ in range(2):
        main([f"--folder={tmp_path}", f"--readme={readme}"])
    assert readme.read_text().splitlines()[-7:] == [
        "| epoch | first, published | first, here | cut in an epoch, here |",
        "| ---: | ---: | ---: | ---: |",
        "| 1 | 40.00 |  |  |",
        "| 2 | 50.50 | 55.00 ± 7.07 |  |",
        "| 3 | 60.00 |  |  |",
        *("", "after"),
    ]
    readme.write_text("| run | x |\n")
    with pytest.raises(SystemExit, match=r"begins with '\| epoch \| '; found 0"):
        main([f"--folder={tmp_path}", f"--readme={readme}"])
    assert readme.read_text() == "| run | x |\n"


def test_mistakes(tmp_path):
    def refused(line):
        with pytest.raises(SystemExit, match=f"^error: .*{line}"):
            main([f"--folder={tmp_path}", f"--readme={tmp_path / 'README.md'}"])

    (tmp_path / "README.md").write_text("no table\n")
    refused("holds no folder with a run.json")
    publish(tmp_path / "a", 40)
    refused("a/run.json lacks run")
    publish(tmp_path / "b", 40, run="b")
    (tmp_path / "a" / "run.json").write_text("{")
    refused("a/run.json cannot be read")
    (tmp_path / "a" / "run.json").unlink()
    refused("README.md must hold one table of results that begins with .*; found 0")
    (tmp_path / "b" / "seed-0" / "config.json").unlink()
    refused("b lacks a config.json or a test result")


def test_the_ablations_are_what_was_measured():
    folder = ROOT / "results" / "ablations"
    table = make_table(read_runs(folder))
    assert (folder / "table.md").read_text() == table
    assert table.partition("\n\n")[0] in (ROOT / "README.md").read_text()
