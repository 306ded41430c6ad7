"""The command line, as a user has it: a process of its own."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax.run.rows import read_rows

ROOT = Path(__file__).parents[2]
DIGITS = "--config=experiments/digits.py"
# LeNet at 28×28 in 15 steps an epoch.
SMALL = (
    "--config.model.name=lenet5",
    "--config.data.image_size=28",
    "--config.batch_size=100",
    "--config.num_epochs=1",
)


def main(*arguments, **environment):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    environment.pop("FASHION_MNIST_DIR", None)
    if "XDG_CACHE_HOME" in environment:
        del environment["JAX_COMPILATION_CACHE_DIR"]
    return subprocess.run(
        [sys.executable, "-m", "alexnet_jax.main", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--config is missing; try --config=digits"),
        (["--config=nope.py"], "there is no 'nope.py'"),
        (["--config", "nope.py", "--config.seed=1"], "there is no 'nope.py'"),
        (["--config=tests/__init__.py"], "defines no get_config(variant='')"),
        (["--config=experiments/fashion.py:big"], "variant must be one of ('d2l',"),
        ([DIGITS, "--config.batchsize=4"], 'Did you mean "batch_size"'),
        ([DIGITS, "--config.optim.speed=4"], "--config has no key speed"),
        ([DIGITS, "--config.batch_size=few"], "--config.batch_size=few: must be"),
        ([DIGITS, "--config.batch_size=1.5"], "--config.batch_size=1.5: must be"),
        ([DIGITS, "--nosuch=1"], "Unknown command line flag 'nosuch'"),
        (["--config.seed=1", DIGITS], "before a value for --config"),
        ([DIGITS, "stray"], "unexpected argument 'stray'"),
        ([DIGITS, "--seeds=1,one"], "--seeds must be distinct integers"),
        ([DIGITS, "--sweep=seed"], "--sweep: 'seed' lacks a value"),
        ([DIGITS, "--sweep=lr=1"], 'Did you mean "optim.learning_rate"'),
        ([DIGITS, "--config.batch_size=0"], "batch_size must be an integer of at le"),
    ],
)
def test_bad_input_gets_one_line(arguments, expected, data_dir):
    process = main(*arguments, TFDS_DATA_DIR=str(data_dir))
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ") and expected in line
    assert process.stdout == ""


def test_no_network_and_no_files(tmp_path):
    """Within seconds: a closed port stands for the network."""
    process = main(
        "--config=experiments/fashion.py",
        f"--workdir={tmp_path}/run",
        TFDS_DATA_DIR=str(tmp_path),
        http_proxy="http://127.0.0.1:9",
    )
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert "train-images-idx3-ubyte.gz" in line and "make quickstart" in line


def test_help_names_the_keys_that_people_change():
    process = main("--help")
    for key in ("data.manual_dir", "num_epochs", "batch_size", "optim.learning_rate"):
        assert f"--config.{key}" in process.stdout
    assert "Traceback" not in process.stderr


def test_a_run_and_the_same_command_again(data_dir, tmp_path):
    command = (DIGITS, *SMALL, f"--workdir={tmp_path}/run")
    first = main(
        *command,
        TFDS_DATA_DIR=str(data_dir),
        XDG_CACHE_HOME=str(tmp_path),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    compiled = {path.name.split("-")[0] for path in tmp_path.glob("alexnet_jax/*")}
    assert {"jit_init", "jit_train_step", "jit_eval_step"} <= compiled
    assert "finished  test top-1 " in first.stdout
    *_, longer, over = first.stdout.splitlines()
    assert over == "to start over: the same command with another --workdir"
    again = main(*command, TFDS_DATA_DIR=str(data_dir))
    assert again.returncode == 0
    assert "finished  earlier, at step 15" in again.stdout and longer in again.stdout
    # The printed command trains longer.
    label = "to train longer: python -m alexnet_jax.main "
    assert longer.startswith(label)
    words = longer.removeprefix(label).split()
    assert "--config.num_epochs=2" in words
    process = main(*words, TFDS_DATA_DIR=str(data_dir))
    assert "resuming  at step 15 of 30" in process.stdout
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("more", [pytest.param("", marks=pytest.mark.slow), "2>&1"])
def test_a_run_goes_on_though_nobody_reads(data_dir, tmp_path, more):
    """As in `python -m alexnet_jax.main ... | head -1`."""
    flags = shlex.join([DIGITS, *SMALL, f"--workdir={tmp_path}/run"])
    command = (
        f"{sys.executable} -m alexnet_jax.main {flags} {more} | head -1; "
        "echo ${PIPESTATUS}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "device    1 × cpu\n0\n" and done.stderr == ""
    assert (tmp_path / "run/checkpoints/15").is_dir()


CLOSED_TERMINAL = """
import os, pty, sys
process, terminal = pty.fork()
if not process:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"| train loss " not in seen:
    seen += os.read(terminal, 1000)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


@pytest.mark.slow
def test_a_terminal_that_is_closed_saves(data_dir, tmp_path):
    """With the bar on it, whose next move fails."""
    words = [sys.executable, "-m", "alexnet_jax.main", DIGITS, *SMALL]
    words += [f"--workdir={tmp_path}/run", "--config.num_epochs=1000"]
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_TERMINAL, *words],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "129\n", done
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    saved = max(int(p.name) for p in (tmp_path / "run/checkpoints").iterdir())
    assert saved >= rows[-1]["step"] >= 15


@pytest.mark.parametrize(
    ("command", "module", "number"),
    [
        (["alexnet_jax.main"], "jax._src.config", signal.SIGINT),
        (["alexnet_jax.main"], "jax._src.config", signal.SIGTERM),
        (["alexnet_jax", "train"], "jax._src.config", signal.SIGINT),
        (["alexnet_jax", "train"], "absl.flags", signal.SIGINT),
    ],
)
def test_a_signal_while_modules_are_imported(command, module, number):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", *command, DIGITS],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.rstrip().endswith(f" {module}"):
            break
    process.send_signal(number)
    *_, last = process.communicate()[1].splitlines()
    words = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert process.returncode == 128 + number
    assert last.startswith(f"error: {words}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_terminal_of_few_letters(data_dir, tmp_path, environment):
    process = main(
        *(DIGITS, *SMALL, f"--workdir={tmp_path}/run", "--seeds=3,5"),
        TFDS_DATA_DIR=str(data_dir),
        **environment,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert "device    1 x cpu" in process.stdout and " +/- 0." in process.stdout


def test_several_devices(data_dir, tmp_path):
    process = main(
        *(DIGITS, *SMALL, f"--workdir={tmp_path}/run"),
        TFDS_DATA_DIR=str(data_dir),
        JAX_NUM_CPU_DEVICES="4",
    )
    assert process.returncode == 0, process.stderr
    assert "device    4 × cpu" in process.stdout and process.stderr == ""


def test_seeds(data_dir, tmp_path):
    process = main(
        *(DIGITS, *SMALL, f"--workdir={tmp_path}/run", "--seeds=3,5"),
        TFDS_DATA_DIR=str(data_dir),
    )
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "seed-3",
        "seed-5",
        "sweep.json",
    ]
    assert "2 seeds   last test top-1 0." in process.stdout
    assert (
        "2 seeds   best test top-1 0." in process.stdout and " ± 0." in process.stdout
    )


@pytest.mark.slow
def test_a_sweep_goes_on(data_dir, tmp_path):
    """Stopped in its second run, by the same command."""
    values = "optim.learning_rate=0.01,0.1;checkpoint.every_steps=2"
    words = (DIGITS, *SMALL, f"--workdir={tmp_path}/run", f"--sweep={values}")
    environment = {"TFDS_DATA_DIR": str(data_dir)}
    process = main(*words, **environment)
    assert process.returncode == 0, process.stderr
    second = tmp_path / "run" / "learning_rate-0.1,every_steps-2"
    rows = read_rows(second / "metrics.jsonl")
    shutil.rmtree(second)
    command = [sys.executable, "-m", "alexnet_jax.main", *words]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        for line in running.stdout:
            if line.startswith("workdir   ") and line.strip() == f"workdir   {second}":
                running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    again = main(*words, **environment)
    assert again.returncode == 0, again.stderr
    assert "finished  earlier, at step 15" in again.stdout
    assert "every_steps   last test top-1" in again.stdout
    assert len(read_rows(second / "metrics.jsonl")) == len(rows)
