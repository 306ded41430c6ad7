"""The examples as they are started, from a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_and_a_missing_run(script, tmp_path):
    def start(*words):
        # A package of a script's own name is installed where the script is not asked.
        (tmp_path / "lpips").mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, script.relative_to(ROOT), *words],
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            cwd=ROOT,
        )

    name = f"python examples/{script.name}"
    done = start("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\nusage: {name} " in done.stdout and f"  {name} RUN" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    gone = str(tmp_path / "gone")
    words = [gone] if script.stem == "rsa" else [gone, gone, gone, f"--linear={gone}"]
    done = start(*words)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and gone in line
