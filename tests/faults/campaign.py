"""Breaks runs in every way that a bad day knows, and checks that nothing was lost.

  python -m tests.faults.campaign [--short]

Each life is one run that is broken and started again until it has ended; then its
parameters must equal those of a run that was left alone, bit for bit, and its metrics
must be whole. The table goes to stdout, in the form of docs/reliability.md.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from alexnet_jax.run.checksums import CHECKSUMS, step_folders
from alexnet_jax.run.records import read_rows

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """A run that is broken.

    Attributes:
      settings: The command line's.
      num_steps: Where it ends.
    """

    settings: tuple[str, ...]
    num_steps: int


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


@dataclass
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

    def start(self, workdir: Path, *more: str) -> subprocess.Popen[str]:
        """Starts the program in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "alexnet_jax.main", *self.job.settings]
            + [f"--workdir={workdir}", *more],
            cwd=ROOT,
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "TFDS_DATA_DIR": str(self.data_dir),
                "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "PYTHONUNBUFFERED": "1",
            },
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

    def check_whole(self, workdir: Path) -> None:
        """Compares with the run that was left alone."""
        jax.tree.map(
            np.testing.assert_array_equal, self.load(self.reference), self.load(workdir)
        )
        expected, rows = (metrics(path) for path in (self.reference, workdir))
        steps = [row["step"] for row in rows]
        assert steps == sorted(set(steps)), steps
        by_step = {row["step"]: row for row in rows}
        for row in expected:  # a stop may have left rows besides
            assert by_step[row["step"]] == row, (row, by_step[row["step"]])

    @property
    def reference(self) -> Path:
        """The run that was left alone."""
        return self.folder / "reference"

    def load(self, workdir: Path) -> dict:
        """Returns the arrays of a run's last checkpoint."""
        with ocp.CheckpointManager(workdir / "checkpoints") as manager:
            return manager.restore(self.job.num_steps, args=ocp.args.StandardRestore())

    def newest_intact(self, workdir: Path) -> int:
        """The step that the next start must go on from; 0 for a fresh one."""
        sealed = [
            step
            for step, path in step_folders(workdir / "checkpoints").items()
            if (path / CHECKSUMS).exists()
        ]
        return max(sealed, default=0)


def metrics(workdir: Path) -> list[dict[str, float]]:
    """Returns the rows of a run without what depends on the clock."""
    clock = ("images_per_s", "time_s", "save_s", "eval_s")
    rows = read_rows(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits until a condition holds or the process has ended."""
    while not condition() and process.poll() is None:
        time.sleep(0.002)


def break_runs(
    campaign: Campaign, name: str, numbers: list[int], *, in_save: Callable[[int], bool]
) -> None:
    """One life, broken by a signal each time at a random moment or during a save."""
    workdir = campaign.folder / re.sub(r"\W+", "-", name)
    checkpoints = workdir / "checkpoints"
    during, newest = 0, 0
    for count, number in enumerate(numbers):
        process = campaign.start(workdir)
        begun = {path.name for path in checkpoints.glob("*")}

        def writing(seen: set[str] = begun) -> bool:
            return any(
                "tmp" in path.name and path.name not in seen
                for path in checkpoints.glob("*")
            )

        def training(start: int = len(read_rows(workdir / "metrics.jsonl"))) -> bool:
            return len(read_rows(workdir / "metrics.jsonl")) > start

        if in_save(count):
            wait_for(writing, process)
            during += process.poll() is None
            time.sleep(campaign.random.uniform(0, 0.1))
        else:
            wait_for(training, process)
            time.sleep(campaign.random.uniform(0, 0.5))
        process.send_signal(number)
        text = campaign.end(process)
        expected = {-number, 128 + number, 0}  # 0: it had just ended
        assert process.returncode in expected, (process.returncode, text)
        if "resuming" in text:  # it may be killed before it says so
            assert f"resuming  at step {newest:,} of" in text, (newest, text)
        newest = campaign.newest_intact(workdir)
        if newest == campaign.job.num_steps:  # ended: a new life
            campaign.check_whole(workdir)
            shutil.rmtree(workdir)
            newest = 0
            continue
        if number == signal.SIGKILL:
            continue
        assert "saved; run the same command to continue" in text, text
    text = campaign.finish(workdir)
    campaign.check_whole(workdir)
    seen = f"{during} during a save; ended bit for bit as the run left alone"
    campaign.rows.append((name, len(numbers), seen))


def damage(campaign: Campaign, kinds: dict[str, Callable[[Path], None]]) -> None:
    """Each kind of damage on each file of the newest checkpoint."""
    template = campaign.folder / "template"
    campaign.finish(template, "--config.num_train_steps=12")
    newest = template / "checkpoints" / "12"
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    for kind, spoil in kinds.items():
        names = [Path()] if kind == "emptied folder" else files
        for name in names:
            workdir = campaign.folder / "damaged"
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.copytree(template, workdir)
            spoil(workdir / "checkpoints" / "12" / name)
            text = campaign.finish(workdir)
            assert "warning   checkpoint of step 12: " in text, (kind, name, text)
            assert "resuming  at step 8 of 30" in text, (kind, name, text)
            assert (workdir / "damaged" / "12").is_dir()
            campaign.check_whole(workdir)
        seen = "named in a warning, moved aside; went on from the one before"
        where = "the newest" if kind == "emptied folder" else "each of its files"
        campaign.rows.append((f"{kind}: {where}", len(names), seen))


def truncate(path: Path) -> None:
    """Cuts a file in half."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Flips a bit in a file's middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def empty(path: Path) -> None:
    """Empties a folder."""
    shutil.rmtree(path)
    path.mkdir()


KINDS = {
    "truncated file": truncate,
    "flipped bit": flip,
    "missing file": Path.unlink,
    "emptied folder": empty,
}


@contextlib.contextmanager
def small_disk(options: str) -> Iterator[Path | None]:
    """Mounts a tmpfs; yields its folder, or None where that is not allowed.

    The mount belongs to a process that waits for the end of its input: it is gone when
    this one ends, however it ends.
    """
    mount = 'mount -t tmpfs -o "$0" tmpfs /mnt && echo mounted && exec cat'
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    if not shutil.which(namespace[0]):
        yield None
        return
    with subprocess.Popen(
        [*namespace, "sh", "-c", mount, options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout is not None
        mounted = holder.stdout.readline() == b"mounted\n"
        yield Path(f"/proc/{holder.pid}/root/mnt") if mounted else None
        holder.communicate()


def full_disk(campaign: Campaign) -> None:
    """A disk with room for two checkpoints, then the run is moved to a larger one."""
    with small_disk("size=110m") as disk:
        if disk is None:
            campaign.rows.append(("full disk", 0, "not run: no mounting here"))
            return
        workdir = disk / "run"
        process = campaign.start(workdir)
        text = campaign.end(process)
        assert process.returncode == 1, text
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert "No space left" in line or "RESOURCE_EXHAUSTED" in line, line
        assert campaign.newest_intact(workdir) > 0
        larger = campaign.folder / "larger"
        shutil.copytree(workdir, larger)
    campaign.finish(larger)
    campaign.check_whole(larger)
    campaign.rows.append(("full disk", 1, "one line; with room it ended bit for bit"))


def read_only(campaign: Campaign) -> None:
    """A folder that cannot be written."""
    with small_disk("ro") as disk:
        if disk is None:
            campaign.rows.append(
                ("read-only folder", 0, "not run: mounting not allowed")
            )
            return
        process = campaign.start(disk / "run")
        text = campaign.end(process)
        assert process.returncode == 1 and "cannot be written" in text, text
    campaign.rows.append(("read-only folder", 1, "one line, before anything is done"))


def run(folder: Path, data_dir: Path, *, short: bool, seed: int = 0) -> Campaign:
    """Runs the campaign; raises at the first thing that is lost."""
    campaign = Campaign(DIGITS, folder, data_dir, random.Random(seed))
    campaign.finish(campaign.reference)
    kill(campaign, "kill -9", 2 if short else 20)
    damage(campaign, {"emptied folder": empty} if short else KINDS)
    full_disk(campaign)
    if short:  # tests/test_train.py has the signals, and a folder that is read-only
        return campaign
    for number in (signal.SIGTERM, signal.SIGINT):
        break_runs(campaign, number.name, [number] * 10, in_save=lambda count: False)
    read_only(campaign)
    return campaign


def kill(campaign: Campaign, name: str, times: int) -> None:
    """Kills one life, every other time during a save."""
    numbers = [signal.SIGKILL] * times
    break_runs(campaign, name, numbers, in_save=lambda count: count % 2 == 0)


def run_real(folder: Path, data_dir: Path, *, seed: int = 0) -> Campaign:
    """Kills a run on the original Fashion-MNIST files five times."""
    campaign = Campaign(FASHION, folder, data_dir, random.Random(seed))
    campaign.finish(campaign.reference)
    kill(campaign, "kill -9, LeNet-5 on Fashion-MNIST", 5)
    return campaign


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few of each")
    parser.add_argument("--real", action="store_true", help="kills on Fashion-MNIST")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data_dir = folder / "tfds"
        if options.real:
            campaign = run_real(folder, data_dir, seed=options.seed)
        else:
            campaign = run(folder, data_dir, short=options.short, seed=options.seed)
    print("| fault | times | seen |\n| --- | ---: | --- |")
    for row in campaign.rows:
        print("| {} | {} | {} |".format(*row))


if __name__ == "__main__":
    main()
