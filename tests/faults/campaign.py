"""Breaks runs in every way that a bad day knows, and checks that nothing was lost.

  python -m tests.faults.campaign [--short | --every | --real]

Each life is one run that is broken and started again until it has ended; then its
parameters must equal those of a run that was left alone, bit for bit, and its metrics
must be whole. The table goes to stdout, in the form of docs/reliability.md.
"""

import argparse
import collections
import random
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.faults.damage import KINDS, LINK, damage_files, empty_newest
from tests.faults.disks import FAILING, failing_calls, full_disk, pairs, read_only
from tests.faults.kills import (
    around_checksums,
    around_names,
    break_runs,
    every,
    kill,
    kill_at_moments,
)
from tests.faults.lives import DIGITS, FASHION, SMALL, Campaign, Job

Part = tuple[Job, Callable[[Campaign], None]]  # needs no other part


def _moments(share: int) -> Part:
    """One of four shares of the moments at which a run is killed."""
    return SMALL, lambda campaign: kill_at_moments(
        campaign, lambda changes: around_names(changes)[share::4]
    )


def _damage(kind: str) -> Part:
    return SMALL, lambda campaign: damage_files(campaign, kind)


def _calls(*calls: str) -> Part:
    cases = [case for call in calls for case in pairs(call)]
    return SMALL, lambda campaign: failing_calls(campaign, cases)


def _signals(number: signal.Signals) -> Part:
    return DIGITS, lambda campaign: break_runs(
        campaign, number.name, [number] * 6, in_save=lambda count: False
    )


# The longest first, so that several workers end at about the same time.
LONG: dict[str, Part] = {
    "kill -9": (DIGITS, lambda campaign: kill(campaign, "kill -9", 20)),
    **{f"moments {share}": _moments(share) for share in range(4)},
    **{kind: _damage(kind) for kind in (*KINDS, LINK)},
    "SIGTERM": _signals(signal.SIGTERM),
    "SIGINT": _signals(signal.SIGINT),
    "calls 0": _calls(*list(FAILING)[::2]),
    "calls 1": _calls(*list(FAILING)[1::2]),
    "full disk": (DIGITS, full_disk),
    "emptied folder": (SMALL, empty_newest),
    "read-only folder": (SMALL, read_only),
}
# Whether the campaign works; most of it has tests that start no processes, too.
SHORT: dict[str, Part] = {
    "moments": (SMALL, lambda campaign: kill_at_moments(campaign, around_checksums)),
    "calls": (SMALL, lambda campaign: failing_calls(campaign, [("write", "EIO", 6)])),
}
# A kill before every change of files, in two saves.
EVERY: dict[str, Part] = {
    "every": (SMALL, lambda campaign: kill_at_moments(campaign, every))
}
# On the original Fashion-MNIST files.
REAL: dict[str, Part] = {
    "real": (
        FASHION,
        lambda campaign: kill(campaign, "kill -9, LeNet-5 on Fashion-MNIST", 5),
    )
}


class Campaigns:
    """The campaigns of each job, made when a part asks for them."""

    def __init__(self, folder: Path, data_dir: Path, *, seed: int = 0) -> None:
        self._folder, self._data_dir = folder, data_dir
        self._random = random.Random(seed)
        self._made: dict[Job, Campaign] = {}

    def run(self, part: Part) -> list[tuple[str, int, str]]:
        """Runs a part; raises at the first thing that is lost.

        Returns:
          Its rows of the table: the fault, how often, what was seen.
        """
        job, act = part
        if job not in self._made:
            folder = self._folder / str(len(self._made))
            folder.mkdir(parents=True)
            self._made[job] = Campaign(job, folder, self._data_dir, self._random)
        campaign = self._made[job]
        campaign.rows.clear()
        act(campaign)
        return list(campaign.rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few of each")
    parser.add_argument("--every", action="store_true", help="kills at every change")
    parser.add_argument("--real", action="store_true", help="kills on Fashion-MNIST")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    parts: Mapping[str, Part] = (
        REAL if options.real else EVERY if options.every
        else SHORT if options.short else LONG
    )  # fmt: skip
    times: collections.Counter[tuple[str, str]] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        campaigns = Campaigns(Path(name), Path(name, "tfds"), seed=options.seed)
        for part in parts.values():
            for fault, count, seen in campaigns.run(part):
                times[fault, seen] += count
    print("| fault | times | seen |\n| --- | ---: | --- |")
    for (fault, seen), count in times.items():
        print(f"| {fault} | {count} | {seen} |")


if __name__ == "__main__":
    main()
