"""Breaks runs in every way that a bad day knows, and checks that nothing was lost.

  python -m tests.faults.campaign [--short | --every | --real]

Each life is one run that is broken and started again until it has ended; then its
parameters must equal those of a run that was left alone, bit for bit, and its metrics
must be whole. The table goes to stdout, in the form of docs/reliability.md.
"""

import argparse
import random
import signal
import tempfile
from pathlib import Path

from tests.faults.damage import damage_files, empty_newest
from tests.faults.disks import failing_calls, full_disk, read_only
from tests.faults.kills import (
    around_checksums,
    around_names,
    break_runs,
    every,
    kill,
    kill_at_moments,
)
from tests.faults.lives import DIGITS, FASHION, SMALL, Campaign, Job

Table = list[tuple[str, int, str]]


def run(folder: Path, data_dir: Path, *, short: bool, seed: int = 0) -> Table:
    """Runs the campaign; raises at the first thing that is lost."""
    rows: Table = []
    large = _campaign(DIGITS, folder / "large", data_dir, seed, rows)
    small = _campaign(SMALL, folder / "small", data_dir, seed, rows)
    kill_at_moments(small, around_checksums if short else around_names)
    empty_newest(small)
    failing_calls(small, short=short)
    full_disk(small if short else large)
    if short:  # other tests have the signals, and a folder that is read-only
        return rows
    damage_files(small)
    kill(large, "kill -9", 20)
    read_only(small)
    for number in (signal.SIGTERM, signal.SIGINT):
        break_runs(large, number.name, [number] * 10, in_save=lambda count: False)
    return rows


def run_every(folder: Path, data_dir: Path, *, seed: int = 0) -> Table:
    """Kills a run before every change of its files, in two saves."""
    campaign = _campaign(SMALL, folder, data_dir, seed, [])
    kill_at_moments(campaign, every)
    return campaign.rows


def run_real(folder: Path, data_dir: Path, *, seed: int = 0) -> Table:
    """Kills a run on the original Fashion-MNIST files five times."""
    campaign = _campaign(FASHION, folder, data_dir, seed, [])
    kill(campaign, "kill -9, LeNet-5 on Fashion-MNIST", 5)
    return campaign.rows


def _campaign(
    job: Job, folder: Path, data_dir: Path, seed: int, rows: Table
) -> Campaign:
    folder.mkdir(exist_ok=True)
    return Campaign(job, folder, data_dir, random.Random(seed), rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few of each")
    parser.add_argument("--every", action="store_true", help="kills at every change")
    parser.add_argument("--real", action="store_true", help="kills on Fashion-MNIST")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, seed = Path(name), options.seed
        data_dir = folder / "tfds"
        if options.real:
            rows = run_real(folder, data_dir, seed=seed)
        elif options.every:
            rows = run_every(folder, data_dir, seed=seed)
        else:
            rows = run(folder, data_dir, short=options.short, seed=seed)
    print("| fault | times | seen |\n| --- | ---: | --- |")
    for row in rows:
        print("| {} | {} | {} |".format(*row))


if __name__ == "__main__":
    main()
