"""Signals at odd moments, in processes that import no JAX."""

import os
import signal
import subprocess
import sys
import time

import pytest

PRELUDE = """
import gc, os, signal, sys, time
from alexnet_jax import cli
from alexnet_jax.terminal import signals
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True
    )


def test_where_an_exception_is_swallowed():
    done = run("""
class Odd:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

with cli.one_line_errors("; go on"):
    Odd()
    print("not reached", flush=True)
""")
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "error: terminated; go on\n"


def test_where_the_exception_is_caught_by_somebody():
    done = run("""
signals._PATIENCE_S = 0.1
with cli.one_line_errors():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        time.sleep(60)
""")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_second_signal_does_not_wait():
    done = run("""
with cli.one_line_errors():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGINT)
""")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_forked_child_dies_of_the_signal():
    done = run("""
with cli.one_line_errors():
    child = os.fork()
    if not child:
        signal.raise_signal(signal.SIGTERM)
        print("not reached", flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert (done.stdout, done.stderr) == ("-15\n", "")


@pytest.mark.parametrize("name", ["alexnet_jax.predict", "pytest.__main__"])
def test_a_commands_process_ends_before_other_finalizers(name):
    """Which wait for threads, or take apart what these still use."""
    done = run(f"""
import atexit, types
sys.modules["__main__"].__spec__ = types.SimpleNamespace(name={name!r})
atexit.register(lambda: print("late", flush=True))
with cli.one_line_errors():
    print("begun")
    signal.raise_signal(signal.SIGTERM)
""")
    is_command = name.startswith("alexnet_jax.")
    assert (done.returncode, done.stderr) == (143, "error: terminated\n")
    assert done.stdout == ("begun\n" if is_command else "begun\nlate\n")


def test_nohup_is_respected():
    done = run("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from alexnet_jax.run.signals import noted_signals
with cli.one_line_errors():
    signal.raise_signal(signal.SIGHUP)
    with noted_signals() as stop:
        signal.raise_signal(signal.SIGHUP)
    print(stop.received)
""")
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_a_hang_up_is_noted_as_ctrl_c_is():
    done = run("""
from alexnet_jax.run.signals import noted_signals
with cli.one_line_errors(), noted_signals() as stop:
    signal.raise_signal(signal.SIGHUP)
    print(stop.received == signal.SIGHUP, flush=True)
    signal.raise_signal(signal.SIGTERM)
""")
    assert (done.returncode, done.stdout) == (143, "True\n")
    assert done.stderr == "error: terminated\n"


@pytest.mark.parametrize("command", ["summary", "main", "data.prepare", "predict"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_imports(command, number):
    """From the package's first import on, where no command's code has run yet."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", f"alexnet_jax.{command}"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    for line in process.stderr:
        if line.rstrip().endswith("alexnet_jax.terminal.signals"):
            break
    time.sleep(0.02)
    process.send_signal(number)
    *_, last = process.communicate()[1].splitlines()
    words = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (process.returncode, last) == (128 + number, f"error: {words}")


@pytest.mark.heavy
def test_a_command_that_imports_its_libraries(tmp_path, number=signal.SIGINT):
    """An exception in the middle of an extension's first import crashes it."""
    for wait in (0.3, 0.6, 1.2):
        process = subprocess.Popen(
            [sys.executable, "-m", "alexnet_jax.checkpoint", tmp_path],
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(wait)
        process.send_signal(number)
        error = process.communicate()[1]
        if process.returncode == 1:  # it had ended
            assert "holds no checkpoints" in error
        elif process.returncode != -number:  # Python itself had not begun
            assert (process.returncode, error) == (130, "error: interrupted\n")
