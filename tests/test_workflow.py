"""What CI runs: targets that there are, on the Pythons that the package declares."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
# With every scalar as text: a version would be a number, and `on` true.
WORKFLOW = yaml.load(
    (ROOT / ".github/workflows/ci.yml").read_text(), Loader=yaml.BaseLoader
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = re.findall(r":: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
TARGETS = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M)
TEST = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]
RUNS = [{"os": TEST["os"][0], "python": python, "target": TEST["target"][0]}
        for python in TEST["python"]] + TEST["include"]  # fmt: skip


def test_pythons_are_the_declared_ones():
    assert TEST["python"] == DECLARED
    assert {run["python"] for run in RUNS} == {*DECLARED}
    assert PROJECT["requires-python"] == f">={DECLARED[0]}"
    tried = re.search(r"for version in (.*);", (ROOT / ".ci/pythons").read_text())[1]
    assert tried.split() == DECLARED[::-1]


def test_the_lowest_versions_are_tried_on_the_lowest_python():
    lowest = [run["python"] for run in RUNS if run["target"] == "test-lowest"]
    assert lowest == DECLARED[:1]


@pytest.mark.parametrize("name", WORKFLOW["jobs"])
def test_it_calls_make_targets_alone(name):
    commands = [
        step["run"] for step in WORKFLOW["jobs"][name]["steps"] if "run" in step
    ]
    assert commands
    for command in commands:
        make, *targets = command.replace("${{ matrix.target }}", "matrix").split()
        assert make == "make" and {*targets} <= {*TARGETS, "matrix"}
    assert {run["target"] for run in RUNS} <= {*TARGETS}


def test_what_takes_long_has_targets_too():
    parts = re.search(
        r"^  parts=\((.*?)\)$", (ROOT / ".ci/full").read_text(), re.M | re.S
    )[1]
    assert {*parts.split()} <= {*TARGETS}
