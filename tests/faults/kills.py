"""Signals: at random moments, and before each change of the run's files."""

import functools
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

from alexnet_jax.run.rows import read_rows
from tests.faults.lives import Campaign, two_at_a_time

# A checkpoint gets its name; one loses it.
_LAST_RENAME = re.compile(r"os\.rename checkpoints/(\d+)\.\w+\.tmp/\1 checkpoints/\1$")
# A save begins; something in the folder of a checkpoint that has no name yet.
_FIRST = re.compile(r"os\.mkdir checkpoints/\d+\.\w+\.tmp$")
_WITHIN = re.compile(r"checkpoints/\d+\.\w+\.tmp/.*checkpoints/\d+\.\w+\.tmp/")
_DELETION = re.compile(r"os\.rename checkpoints/(\d+) checkpoints/\1\.\w+\.tmp$")


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


def kill(campaign: Campaign, name: str, times: int) -> None:
    """Kills one life, every other time during a save."""
    numbers = [signal.SIGKILL] * times
    break_runs(campaign, name, numbers, in_save=lambda count: count % 2 == 0)


ONE = "--config.checkpoint.keep=1"


@functools.cache
def watched(campaign: Campaign) -> list[str]:
    """The changes of files in a run's first two saves and the first deletion."""
    process = campaign.start(campaign.folder / "watched", ONE, killed=0)
    _, error = process.communicate(timeout=300)
    changes = error.splitlines()
    (first, *_) = [n for n, line in enumerate(changes) if _DELETION.match(line)]
    # The folder that is deleted is empty, and has another name, well before this many.
    return changes[: first + 30]


def kill_at_moments(
    campaign: Campaign, choose: Callable[[list[str]], list[int]]
) -> None:
    """One life for each moment of the first two saves, the first deletion included.

    Args:
      campaign: Its job's runs keep one checkpoint.
      choose: Returns the numbers of the changes before which a life is killed, given
        all changes, in words.
    """
    changes = watched(campaign)

    def live(number: int) -> None:
        workdir = campaign.folder / f"moment-{number}"
        process = campaign.start(workdir, ONE, killed=number)
        campaign.end(process)
        assert process.returncode == -signal.SIGKILL, changes[number - 1]
        newest = campaign.newest_intact(workdir)
        text = campaign.finish(workdir, ONE)
        assert newest == 0 or f"resuming  at step {newest} of" in text, text
        assert len(list((workdir / "checkpoints").iterdir())) <= 2  # newest and best
        campaign.check_whole(workdir)
        shutil.rmtree(workdir)

    numbers = choose(changes)
    two_at_a_time(live, numbers)
    row = ("kill -9 before a change of files", len(numbers), "ended bit for bit")
    campaign.rows.append(row)


def around_names(changes: list[str]) -> list[int]:
    """Before and after each rename, and around the checksums.

    What is in a checkpoint's folder before this has its name, in the second save alone.
    """
    firsts = [n for n, line in enumerate(changes, 1) if _FIRST.match(line)]
    found = {
        number + after
        for number, line in enumerate(changes, 1)
        if line.startswith("os.rename ") or "seal.json" in line
        for after in (0, 1)
        if not (firsts[0] < number + after < firsts[1] and _WITHIN.search(line))
    }
    return sorted(number for number in found if number <= len(changes))


def around_checksums(changes: list[str]) -> list[int]:
    """Before the second checkpoint gets its name, and after the first has lost it."""
    renames = [n for n, line in enumerate(changes, 1) if _LAST_RENAME.match(line)]
    (deletion, *_) = [n for n, line in enumerate(changes, 1) if _DELETION.match(line)]
    return [renames[-1], deletion + 1]


def every(changes: list[str]) -> list[int]:
    """Before every change."""
    return list(range(1, len(changes) + 1))
