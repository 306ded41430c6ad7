"""The tests themselves, told to run on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_named():
    """JAX would take the CPU, and all tests would pass."""
    if jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/golden"],
        cwd=ROOT,
        env=os.environ | {"ALEXNET_JAX_TEST_PLATFORM": "cuda"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "ALEXNET_JAX_TEST_PLATFORM: JAX finds no cuda device" in done.stdout
    assert "passed" not in done.stdout
