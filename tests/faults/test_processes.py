"""Faults of a whole process: each ends in one line and a status that is not 0."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "--config=experiments/digits.py",
    "--config.model.name=lenet5",
    "--config.data.image_size=28",
    "--config.batch_size=100",
    "--config.num_epochs=2",
    "--config.parallel.data=1",
)


@pytest.fixture
def start(data_dir):
    """Starts a run in a process of its own, after a command of the shell."""

    def start(workdir, *more, before=":"):
        words = [sys.executable, "-m", "alexnet_jax.main", *SETTINGS, *more]
        return subprocess.Popen(
            [b"bash", b"-c", f"{before}; exec {shlex.join(words)} ".encode()
             + b"--workdir=" + shlex.quote(os.fsdecode(workdir)).encode(
                 errors="surrogateescape")],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )  # fmt: skip

    return start


def line_of(process, status=1):
    """The only line on stderr of a process that failed."""
    out, error = process.communicate(timeout=300)
    assert process.returncode == status, (out, error)
    assert len(error.splitlines()) == 1, error
    line = error.strip()
    assert line.startswith("error: ") and "Traceback" not in out
    return line


@pytest.mark.slow
def test_a_limit_of_the_files_size(start, tmp_path):
    """The arrays' file is refused in the middle, as by a disk that fills meanwhile."""
    line = line_of(start(tmp_path / "run", before="ulimit -f 400"))
    assert "cannot be written (File too large); " in line
    assert "the same command resumes" in line
    process = start(tmp_path / "run")
    assert process.wait(timeout=300) == 0
    process.communicate()


def test_a_limit_of_open_files(start, tmp_path):
    line = line_of(start(tmp_path / "run", before="ulimit -n 16"))
    assert line.startswith("error: the limit of open files is 16, too low")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [b"a\\b", b"a\xffb"])
def test_a_path_that_cannot_hold_checkpoints(start, tmp_path, name):
    line = line_of(start(os.fsencode(tmp_path / "x") + name))
    assert line.startswith("error: workdir: ") and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_folder_that_goes_away(start, tmp_path):
    workdir = tmp_path / "run"
    process = start(workdir, "--config.num_epochs=200", "--config.log.every_steps=5")
    rows = workdir / "metrics.jsonl"
    while not (rows.exists() and rows.read_text()) and process.poll() is None:
        time.sleep(0.02)
    workdir.rename(tmp_path / "moved")
    line = line_of(process)
    assert re.search("workdir: .*/run was moved or deleted while the run was", line)
    assert not workdir.exists()
