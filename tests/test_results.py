"""README's results are those that lie in results/."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
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


def test_the_table_is_what_was_measured():
    row = re.compile(r"^\| (.*) \| \[[^]]+\]\((results/[\w-]+)\) \|$", re.MULTILINE)
    found = row.findall((ROOT / "README.md").read_text())
    assert found
    for cells, folder in found:
        *_, seeds, top1, _, _ = cells.split(" | ")
        finals = [
            json.loads(path.read_text().splitlines()[-1])["test/top1"]
            for path in sorted((ROOT / folder).rglob("metrics.jsonl"))
        ]
        measured = f"{100 * np.mean(finals):.2f}"
        if len(finals) > 1:
            measured += f" ± {100 * np.std(finals, ddof=1):.2f}"
        assert (seeds, top1) == (str(len(finals)), measured), folder
