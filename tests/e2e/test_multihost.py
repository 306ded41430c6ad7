"""Two processes on this machine, a CPU device each; none may hang."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.parallel.multihost import start
from alexnet_jax.run.rows import read_rows
from alexnet_jax.train import train_and_evaluate
from tests.helpers import EXPERIMENTS

ROOT = Path(__file__).parents[2]
LIMIT_S = 150  # a process is killed after that
SETTINGS = {
    "model.name": "alexnet_2012",
    "model.width": 0.125,
    "model.init": "lecun",
    "model.dropout_rate": 0.0,  # drawn differently in each layout
    "data.image_size": 40,
    "data.scale": "standard",
    "batch_size": 100,
    "parallel.model": 2,
}
TOWERS = [f"--config.{key}={value}" for key, value in SETTINGS.items()]


def command(workdir, data_dir, *settings):
    return [
        *(sys.executable, "-m", "alexnet_jax.main"),
        *("--config=experiments/digits.py", f"--workdir={workdir}"),
        f"--config.data.data_dir={data_dir}",
        *("--config.log.tensorboard=False", "--config.log.every_steps=5"),
        *settings,
    ]


def environment(devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


class Pair:
    """Two processes of one run; both are dead when the context ends."""

    def __init__(self, workdir, data_dir, *settings, own=((), ())):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self.logs = [Path(f"{workdir}-{index}.log") for index in (0, 1)]
        self.processes = []
        for index, log in enumerate(self.logs):
            described = (
                "--config.parallel.distributed=True",
                f"--config.parallel.coordinator=localhost:{port}",
                "--config.parallel.num_processes=2",
                f"--config.parallel.process_id={index}",
            )
            words = command(workdir, data_dir, *settings, *described, *own[index])
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        words,
                        cwd=ROOT,
                        env=environment(1),
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )
        self.deadline = time.monotonic() + LIMIT_S

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait(self):
        """Returns both exit statuses."""
        for process in self.processes:
            process.wait(max(self.deadline - time.monotonic(), 1))
        return [process.returncode for process in self.processes]

    def await_rows(self, workdir, count):
        while len(read_rows(workdir / "metrics.jsonl")) < count:
            assert time.monotonic() < self.deadline, self.texts()
            assert all(process.poll() is None for process in self.processes)
            time.sleep(0.1)

    def texts(self):
        return [log.read_text() for log in self.logs]


def losses(workdir):
    names = ("step", "train/loss", "test/loss", "test/top1")
    rows = read_rows(workdir / "metrics.jsonl")
    return {row["step"]: [row.get(name, 0.0) for name in names] for row in rows}


@pytest.mark.slow
def test_a_tour_through_layouts_and_processes(tmp_path, data_dir):
    """2×2 in one process, two processes until a signal to one, two again, pmap."""
    pair = tmp_path / "pair"
    endless = (*TOWERS, "--config.num_epochs=1000")

    def in_this_process(name, layout, steps):
        config = EXPERIMENTS["digits"].get_config()
        config.update_from_flattened_dict(
            {
                "data.data_dir": str(data_dir),
                "log.tensorboard": False,
                "log.every_steps": 5,
                "num_epochs": 1000,
                "num_train_steps": steps,
                **SETTINGS,
                "parallel.data": layout[0],
                "parallel.model": layout[1],
            }
        )
        return train_and_evaluate(config, tmp_path / name)

    in_this_process("pair", (2, 2), 10)
    with Pair(pair, data_dir, *endless) as processes:
        processes.await_rows(pair, 5)
        processes.processes[1].send_signal(signal.SIGTERM)
        statuses = processes.wait()
        texts = processes.texts()
    assert statuses == [128 + signal.SIGTERM] * 2, texts
    assert "resuming  at step 10" in texts[0] and "resuming" not in texts[1]
    assert "2 towers × 1 batch shards, in 2 processes" in texts[0]
    step = int(re.search(r"SIGTERM at step (\d+) of .*, saved", texts[0])[1])
    shutil.copytree(pair, tmp_path / "moved")
    stop = f"--config.num_train_steps={step + 15}"
    with Pair(pair, data_dir, *endless, stop) as processes:
        assert processes.wait() == [0, 0], processes.texts()
        assert f"resuming  at step {step}" in processes.texts()[0]
    in_this_process("moved", (4, 1), step + 15)
    in_this_process("stayed", (1, 1), step + 15)
    pair, moved, stayed = (losses(tmp_path / n) for n in ("pair", "moved", "stayed"))
    assert len(stayed) >= 4
    for at, row in stayed.items():
        for other in (pair[at], moved[at]):
            if bool(other[-1]) == bool(row[-1]):  # a stop evaluates, and adds a row
                assert other == pytest.approx(row, rel=1e-3), at
    last = step + 15
    assert pair[last][-1] == moved[last][-1] == stayed[last][-1]  # to the last example


@pytest.mark.slow
def test_when_one_is_killed_the_other_says_so_and_both_resume(tmp_path, data_dir):
    """Here each has half of every batch."""
    workdir = tmp_path / "run"
    settings = ("--config.model.name=lenet5", "--config.data.image_size=28")
    with Pair(
        workdir,
        data_dir,
        *settings,
        "--config.batch_size=100",
        "--config.num_epochs=100000",
    ) as processes:
        processes.await_rows(workdir, 7)  # two epochs
        processes.processes[0].kill()
        killed = time.monotonic()
        processes.wait()
        assert time.monotonic() - killed < 60
        text = processes.texts()[1]
    assert processes.processes[1].returncode == 1
    assert "error: parallel: another process ended" in text
    assert "Traceback" not in text
    done = int(read_rows(workdir / "metrics.jsonl")[-1]["step"])
    with Pair(
        workdir,
        data_dir,
        *settings,
        "--config.batch_size=100",
        "--config.num_epochs=100000",
        f"--config.num_train_steps={done + 15}",
    ) as processes:
        assert processes.wait() == [0, 0], processes.texts()
        assert "resuming  at step" in processes.texts()[0]


@pytest.mark.slow
def test_an_early_stop_of_two_processes(tmp_path, data_dir):
    """Nothing is learned, so nothing is better; parts and averages beside."""
    workdir = tmp_path / "run"
    settings = (
        "--config.model.name=lenet5",
        "--config.data.image_size=28",
        "--config.batch_size=500",
        "--config.optim.learning_rate=0.0",
        "--config.optim.ema=0.9",
        "--config.optim.accumulate_steps=2",
        "--config.early_stop.patience=1",
    )
    line = "stopped   early at epoch 2: no better test top-1 since epoch 1"
    for said in ("finished  test top-1", "finished  earlier, at step 6"):
        with Pair(workdir, data_dir, *settings) as processes:
            assert processes.wait() == [0, 0], processes.texts()
            text = processes.texts()[0]
            assert line in text and said in text
            assert "--config.early_stop.patience=2" in text


@pytest.mark.slow
def test_processes_that_disagree(tmp_path, data_dir):
    with Pair(
        tmp_path / "run",
        data_dir,
        "--config.model.name=lenet5",
        "--config.data.image_size=28",
        own=((), ("--config.seed=7",)),
    ) as processes:
        assert processes.wait() == [1, 1]
        line = (
            "error: seed must be the same in every process; got 0 in process 0 and 7 "
            "in process 1"
        )
        for text in processes.texts():
            assert line in text and "Traceback" not in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"coordinator": "localhost:1"},
            "coordinator, num_processes and process_id are read with",
        ),
        (
            {"distributed": True, "coordinator": "localhost:1", "process_id": 0},
            "go together; got",
        ),
        (
            {
                "distributed": True,
                "coordinator": "localhost:1",
                "num_processes": 2,
                "process_id": 2,
            },
            "process_id must be below parallel.num_processes, 2; got 2",
        ),
        ({"distributed": True}, "the processes cannot be joined .* set parallel.coord"),
    ],
)
def test_processes_that_cannot_be_joined(settings, line):
    config = default_config()
    config.parallel.update(settings)
    with pytest.raises(InputError, match=line) as error:
        start(config)
    assert "\n" not in str(error.value)
