"""Runs in processes of their own, to be broken and compared with one left alone."""

import functools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from alexnet_jax.run.checksums import CHECKSUMS, step_folders
from alexnet_jax.run.rows import read_rows
from alexnet_jax.run.weights import load_arrays

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Job:
    """A run that is broken.

    Attributes:
      settings: The command line's.
      num_steps: Where it ends.
      disk: Size of a disk with room for about two checkpoints, for `mount`.
    """

    settings: tuple[str, ...]
    num_steps: int
    disk: str = ""


# Half-width AlexNet at its smallest: 43 MB a checkpoint, so that a save takes a while.
DIGITS = Job(
    (
        "--config=experiments/digits.py",
        "--config.data.image_size=67",
        "--config.batch_size=100",
        "--config.num_epochs=2",
        "--config.optim.schedule=constant",
        "--config.checkpoint.every_steps=4",
        "--config.log.every_steps=4",
        "--config.log.tensorboard=False",
        "--config.parallel.data=1",
    ),
    num_steps=30,
    disk="110m",
)
# LeNet-5, for faults that need no large checkpoint, of which there are many.
SMALL = Job(
    (
        "--config=experiments/digits.py",
        "--config.model.name=lenet5",
        "--config.data.image_size=28",
        "--config.batch_size=100",
        "--config.num_epochs=2",
        "--config.optim.schedule=constant",
        "--config.checkpoint.every_steps=8",
        "--config.log.every_steps=4",
        "--config.parallel.data=1",
    ),
    num_steps=30,
    disk="1500k",
)
# The original files; FASHION_MNIST_DIR names their folder.
FASHION = Job(
    (
        "--config=experiments/lenet.py",
        "--config.num_epochs=3",
        "--config.checkpoint.every_steps=50",
        "--config.log.tensorboard=False",
        "--config.parallel.data=1",
    ),
    num_steps=1407,
)


@dataclass(eq=False)
class Campaign:
    """Where it works, and what came of it.

    Attributes:
      job: What is run.
      folder: Everything is written below it.
      data_dir: Prepared data sets.
      random: Draws the moments.
      rows: `(fault, times, what was seen)`.
    """

    job: Job
    folder: Path
    data_dir: Path
    random: random.Random
    rows: list[tuple[str, int, str]] = field(default_factory=list)

    def start(
        self, workdir: Path, *more: str, killed: int | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Starts the program in a process of its own.

        Args:
          workdir: The run's.
          more: Flags besides those of the job.
          killed: Before which change of its files; see `killed`.
          env: Variables of its environment.
        """
        program = ["alexnet_jax.main", f"--workdir={workdir}"]
        if killed is not None:
            program = ["tests.faults.killed", str(killed), str(workdir)]
        return subprocess.Popen(
            [sys.executable, "-m", *program, *self.job.settings, *more],
            cwd=ROOT,
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "TFDS_DATA_DIR": str(self.data_dir),
                "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "PYTHONUNBUFFERED": "1",
            }
            | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> str:
        """Waits for the end; no process may print a traceback."""
        out, error = process.communicate(timeout=300)
        text = out + error
        assert "Traceback" not in text, text
        return text

    def finish(self, workdir: Path, *more: str) -> str:
        """Runs to the end, which must be reached."""
        process = self.start(workdir, *more)
        text = self.end(process)
        assert process.returncode == 0, text
        return text

    @functools.cached_property
    def reference(self) -> Path:
        """A run that was left alone."""
        workdir = self.folder / "reference"
        self.finish(workdir)
        return workdir

    @functools.cached_property
    def unfinished(self) -> Path:
        """A small run that ended at step 24; to be copied."""
        workdir = self.folder / "unfinished"
        self.finish(workdir, "--config.num_train_steps=24")
        return workdir

    def check_whole(self, workdir: Path, *, told: str = "") -> None:
        """Compares with the run that was left alone.

        Args:
          workdir: Of a run that has ended.
          told: What was printed; if `metrics.jsonl` was damaged, and a warning said so,
            rows may be lost.
        """
        jax.tree.map(
            np.testing.assert_array_equal, self.load(self.reference), self.load(workdir)
        )
        expected, rows = (metrics(path) for path in (self.reference, workdir))
        steps = [row["step"] for row in rows]
        assert steps == sorted(set(steps)), steps
        by_step = {row["step"]: row for row in rows}
        may_lack = any(
            line.startswith("warning ") and "metrics.jsonl" in line
            for line in told.splitlines()
        )
        for row in expected:  # a stop may have left rows besides
            if row["step"] in by_step or not may_lack:
                assert by_step[row["step"]] == row, (row, by_step[row["step"]])

    def load(self, workdir: Path) -> dict:
        """Returns the arrays of a run's last checkpoint."""
        return load_arrays(workdir / "checkpoints" / str(self.job.num_steps))

    def newest_intact(self, workdir: Path) -> int:
        """The step that the next start must go on from; 0 for a fresh one."""
        sealed = [
            step
            for step, path in step_folders(workdir / "checkpoints").items()
            if (path / CHECKSUMS).exists()
        ]
        return max(sealed, default=0)


def two_at_a_time(live: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Calls a function for each item, in two threads; returns the results in order.

    In one where pytest's workers run several parts of the campaign at once.
    """
    count = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(live, items))


def metrics(workdir: Path) -> list[dict[str, float]]:
    """Returns the rows of a run without what depends on the clock."""
    clock = ("images_per_s", "time_s", "save_s", "eval_s")
    rows = read_rows(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]
