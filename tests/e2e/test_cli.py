"""Commands in processes of their own: closed pipes, quick answers."""

import os
import shlex
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["alexnet_jax.main", "--help"], 141),
        (["alexnet_jax.summary", "--help"], 141),
        (["alexnet_jax.summary", "lenet5", "--json"], 141),
        (["alexnet_jax.summary", "lenet5"], 141),  # by Rich
    ],
)
def test_a_closed_pipe_ends_the_process_quietly(words, status):
    command = shlex.join([sys.executable, "-m", *words])
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS}}"],
        env=os.environ | {"PYTHONUNBUFFERED": ""},  # buffered, as in a user's shell
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f"{status}\n", "")


def test_a_command_runs_and_a_mistyped_flag_is_answered_without_jax():
    words = [sys.executable, "-X", "importtime", "-m", "alexnet_jax.summary", "lenet5"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lenet5: input 28×28×1, 10 classes\n")
    done = subprocess.run([*words, "--jsn"], capture_output=True, text=True)
    *imports, line = done.stderr.splitlines()
    assert (
        done.returncode == 1
        and line == "error: unrecognized arguments: --jsn; did you mean --json?"
    )
    assert not any(imported.split("|")[-1].strip() == "jax" for imported in imports)
