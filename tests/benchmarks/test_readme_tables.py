"""The tables of README.md and docs/results.md are those of results/."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablations import make_table, read_runs
from benchmarks.readme_tables import main

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results.md"
RUNS = sorted(path.parent for path in (ROOT / "results").rglob("metrics.jsonl"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)
def test_a_run_has_its_config_versions_and_log(folder):
    record = json.loads((folder / "config.json").read_text())
    assert {"alexnet_jax", "jax", "flax", "python"} <= record["versions"].keys()
    assert (folder / "log.txt").exists() or (folder.parent / "log.txt").exists()


def test_the_study_of_first_weights_is_what_was_measured():
    row = re.compile(
        r"^\| `(\w+)`[^|]* \| `(pixels|standard)` \| (\w+) \| ([\d.]+) \| ([\d.]+) \|$",
        re.MULTILINE,
    )
    found = row.findall(RESULTS.read_text())
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


@pytest.mark.parametrize(
    ("study", "title"),
    [
        ("initialization", "Do the paper's settings train?"),
        ("ablations", "What each part of it is worth"),
    ],
)
def test_a_study_says_which_version_made_it(study, title):
    files = (ROOT / "results" / study).rglob("config.json")
    made = {json.loads(f.read_text())["versions"]["alexnet_jax"] for f in files}
    (section,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)\n\|", RESULTS.read_text(), 24
    )
    assert {*re.findall(r"version (\d+\.\d+\.\d+)", section)} == made


def write(folder, readme, results):
    main([f"--folder={folder}", f"--readme={readme}", f"--results={results}"])


def test_the_tables_are_what_was_measured(tmp_path, capsys):
    """`make results` would change nothing."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").symlink_to(ROOT / "results")
    readme, results = tmp_path / "README.md", tmp_path / "docs" / "results.md"
    readme.write_text((ROOT / "README.md").read_text())
    results.write_text(RESULTS.read_text())
    write(tmp_path / "results", readme, results)
    assert capsys.readouterr().out == f"written   {results}, {readme}: 17 runs\n"
    assert readme.read_text() == (ROOT / "README.md").read_text()
    assert results.read_text() == RESULTS.read_text()


def test_the_links_lead_to_folders():
    for file, at_least in ((ROOT / "README.md", 5), (RESULTS, 13)):
        links = re.findall(r"\]\(([./]*results/[^)]*)\) \|$", file.read_text(), re.M)
        assert len(links) >= at_least
        assert all((file.parent / link / "run.json").exists() for link in links)


def publish(folder, step, **words):
    """A folder of two seeds of 40 steps in 4 epochs."""
    for seed, top1 in enumerate((0.5, 0.6)):
        workdir = folder / f"seed-{seed}"
        workdir.mkdir(parents=True)
        row = {"step": step, "epoch": step / 10, "time_s": 200.0 + 80 * seed}
        row |= {"train/loss": 1.0, "train/top1": 0.4, "test/loss": 1, "test/top1": top1}
        (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        config = {"num_epochs": 4, "num_train_steps": None}
        config |= {"data": {"name": "digits", "image_size": 8}, "model": {"name": "m"}}
        record = {"config": config, "versions": {"alexnet_jax": "0.2.0"}}
        (workdir / "config.json").write_text(json.dumps(record))
    words = {"order": 1, "network": "n", "published": "-", "hardware": "CPU"} | words
    (folder / "run.json").write_text(json.dumps(words))


@pytest.fixture
def files(tmp_path):
    """A README and a docs/results.md with old tables."""
    readme, results = tmp_path / "README.md", tmp_path / "docs" / "results.md"
    results.parent.mkdir()
    readme.write_text("before\n\n| trained network | x |\n| old |\n\nafter\n")
    results.write_text("| run | x |\n| old |\n\n| epoch | x |\n| old |\n\nafter\n")
    return readme, results


def rows_of_table(file, first):
    """The lines of a file's table, below its head."""
    _, _, rest = file.read_text().partition(f"| {first} | ")
    return rest.partition("\n\n")[0].splitlines()[2:]


def test_the_tables_are_written(tmp_path, files):
    publish(tmp_path / "results" / "b", 40, run="second", order=2, short=1)
    publish(tmp_path / "results" / "a", 25, run="first", time="a day", short=2)
    publish(tmp_path / "results" / "c", 40, run="third", order=3)
    readme, results = files
    for _ in range(2):
        write(tmp_path / "results", *files)
    top1 = "55.00 ± 7.07 | -"
    assert rows_of_table(results, "run") == [
        "| first | n | digits, 8×8 | 2.5 of 4 epochs, partial | 2 "
        f"| {top1} | CPU, a day | 0.2.0 | [log](../results/a) |",
        f"| second | n | digits, 8×8 | 4 epochs | 2 | {top1} | CPU, 4 min each "
        "| 0.2.0 | [log](../results/b) |",
        f"| third | n | digits, 8×8 | 4 epochs | 2 | {top1} | CPU, 4 min each "
        "| 0.2.0 | [log](../results/c) |",
    ]
    assert readme.read_text().splitlines() == [
        *("before", ""),
        "| trained network | data | top-1, % | published, % | version | log |",
        "| --- | --- | ---: | ---: | --- | --- |",
        f"| `m` | digits, 4 epochs | {top1} | 0.2.0 | [second](results/b) |",
        "| `m` | digits, 2.5 of 4 epochs, partial "
        f"| {top1} | 0.2.0 | [first](results/a) |",
        *("", "after"),
    ]


def test_epochs_stand_beside_the_published_ones(tmp_path, files, error_line):
    publish(tmp_path / "a", 20, run="first", by_epoch=[40, 50.5, 60])
    publish(tmp_path / "b", 25, run="cut in an epoch", by_epoch=[])
    publish(tmp_path / "c", 40, run="without")
    readme, results = files
    for _ in range(2):
        write(tmp_path, *files)
    assert results.read_text().splitlines()[-7:] == [
        "| epoch | first, published | first, here | cut in an epoch, here |",
        "| ---: | ---: | ---: | ---: |",
        "| 1 | 40.00 |  |  |",
        "| 2 | 50.50 | 55.00 ± 7.07 |  |",
        "| 3 | 60.00 |  |  |",
        *("", "after"),
    ]
    flags = f"--folder={tmp_path}", f"--readme={readme}", f"--results={results}"
    results.write_text("| run | x |\n")
    line = error_line(main, *flags)
    assert line.endswith("begins with '| epoch | '; found 0")
    assert results.read_text() == "| run | x |\n"


def test_mistakes(tmp_path, files, error_line):
    readme, results = files
    flags = f"--folder={tmp_path}", f"--readme={readme}", f"--results={results}"

    def refused(line):
        assert re.match(f"error: .*{line}", error_line(main, *flags))

    refused("holds no folder with a run.json")
    publish(tmp_path / "a", 40)
    refused("a/run.json lacks run")
    publish(tmp_path / "b", 40, run="b")
    (tmp_path / "a" / "run.json").write_text("{")
    refused("a/run.json cannot be read")
    (tmp_path / "a" / "run.json").unlink()
    old = results.read_text()
    readme.write_text("no table\n")
    refused("README.md must hold one table of results that begins with .*; found 0")
    assert results.read_text() == old  # all or nothing
    (tmp_path / "b" / "seed-0" / "config.json").unlink()
    refused("b lacks a config.json or a test result")


def test_the_ablations_are_what_was_measured():
    folder = ROOT / "results" / "ablations"
    table = make_table(read_runs(folder))
    assert (folder / "table.md").read_text() == table
    assert table.partition("\n\n")[0] in RESULTS.read_text()
