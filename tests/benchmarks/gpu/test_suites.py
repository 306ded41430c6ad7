"""Every part of a suite can be started; all of them run in little on a CPU."""

import importlib
import inspect
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from alexnet_jax.config import flatten_config
from benchmarks.gpu import __main__ as command
from benchmarks.gpu.part import read, write
from benchmarks.gpu.steps import matrix_rate
from benchmarks.gpu.suites import Place, suite
from tests.helpers import EXPERIMENTS

ROOT = Path(__file__).parents[3]
PLACE = Place("/scratch", "/out/suite.jsonl", "/data")
SUITES = [(number, small) for number in (1, 2, 3) for small in (False, True)]


@pytest.mark.parametrize(("number", "small"), SUITES)
def test_every_part_can_be_started(number, small):
    parts = suite(number, PLACE, small=small)
    names = [part.name for part in parts]
    assert len({*names}) == len(names)
    assert names[0] == "card"
    for part in parts:
        work = json.loads(json.dumps(part.work))
        assert work == part.work
        measure = importlib.import_module(part.module).measure
        inspect.signature(measure).bind(**work)
        assert part.limit_s <= (300 if small else 200)


@pytest.mark.parametrize(("number", "small"), SUITES)
def test_flags_of_runs_are_those_of_configs(number, small):
    for part in suite(number, PLACE, small=small):
        flags = dict(flag.split("=", 1) for flag in part.work.get("flags", ()))
        if flags:
            name, _, variant = flags.pop("--config").partition(":")
            config = EXPERIMENTS[Path(name).stem].get_config(variant)
            known = {f"--config.{key}" for key in flatten_config(config)}
            assert flags.keys() <= known
            assert flags["--config.data.data_dir"] == "/scratch/data"


def test_the_card_s_rate_is_found_by_dtype(tmp_path):
    path = tmp_path / "results.jsonl"
    assert matrix_rate(path, "float32") is None
    for dtype, precision, rate in (
        ("float32", "highest", 50.0),
        ("float32", "default", 400.0),
        ("bfloat16", "default", 800.0),
    ):
        row = {"dtype": dtype, "precision": precision, "matrix_tflops": rate}
        write(path, {"part": "card"} | row)
    assert matrix_rate(path, "float32") == 400.0
    assert matrix_rate(path, "bfloat16") == 800.0


def test_flags(tmp_path, monkeypatch, error_line):
    found = {}
    monkeypatch.setattr(
        command.Runner,
        "perform",
        lambda self, parts: found.update(
            names=[part.name for part in parts], work=[part.work for part in parts]
        ),
    )
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "kept")
    out = f"--output={tmp_path}/out"
    work = f"--work={tmp_path}/work"
    command.main(["--suite=1", out, work, "--only=profile alexnet_d2l"])
    assert found["names"] == ["card", "profile alexnet_d2l bfloat16 128"]
    assert found["work"][1]["folder"] == f"{tmp_path}/work/kept/profiles"
    monkeypatch.chdir(tmp_path)
    command.main(["--suite=2", out, work, "--manual-dir=data", "--only=data"])
    assert found["work"][1]["manual_dir"] == f"{tmp_path}/data"
    # Before the results of an earlier suite are touched.
    (tmp_path / "out" / "suite-1.jsonl").write_text("precious")
    line = error_line(command.main, "--suite=1", out, work, "--only=nothing")
    assert "--only must be in a part's name, one of forms d2l, paper, steps" in line
    assert (tmp_path / "out" / "suite-1.jsonl").read_text() == "precious"
    assert "--suite: invalid choice: 4" in error_line(command.main, "--suite=4", out)
    assert "--seconds: must be at least 1" in error_line(
        command.main, "--suite=1", out, "--seconds=0"
    )


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("number", "kept"),
    [
        pytest.param(
            1, "profiles/profile-ours-lenet5-float32-4.txt", marks=pytest.mark.slow
        ),
        pytest.param(2, None, marks=pytest.mark.slow),
        pytest.param(3, "digits/seed-1/metrics.jsonl", marks=pytest.mark.slow),
    ],
)
def test_in_little(number, kept, tmp_path):
    words = [f"--suite={number}", "--output=out", "--work=work", "--small"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words, "--seconds=900"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "out" / f"suite-{number}.jsonl")
    ended = {row["part"]: row["ended"] for row in rows if "ended" in row}
    names = [part.name for part in suite(number, PLACE, small=True)]
    assert [*ended] == names
    if importlib.util.find_spec("torch") is None:
        ended.pop("input", None)  # which reads beside PyTorch
    assert {*ended.values()} == {"ok"}, done.stdout
    assert not [row for row in rows if row.get("ok") is False]
    for row in rows:
        assert row.get("same_bits", True)
        if "images_per_s" in row:
            assert row["images_per_s"] > 0
    with tarfile.open(tmp_path / "out" / f"suite-{number}.tar.gz") as tar:
        assert kept is None or kept in tar.getnames()
    assert "Summary: " in done.stdout
