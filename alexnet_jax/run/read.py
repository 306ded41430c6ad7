"""Reads the folders of runs: metrics, config, versions; several seeds as one run."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.atomic import read_regular
from alexnet_jax.config import config_of, differences, flatten_config
from alexnet_jax.errors import InputError
from alexnet_jax.run.imported import Imported, read_imported
from alexnet_jax.run.place import IMPORTED_FILE
from alexnet_jax.run.rows import (
    METRICS_FILE,
    Row,
    is_evaluation,
    read_rows,
    stopped_early,
)
from alexnet_jax.sweep import SWEEP_FILE
from alexnet_jax.terminal.paths import expand


@dataclass(frozen=True)
class Run:
    """A run, or runs of one config with different seeds.

    Attributes:
      name: The shortest part of its path that distinguishes it from the others.
      workdirs: The folder of each seed.
      rows: The rows of `metrics.jsonl` of each seed; none for weights that were
        imported and not yet trained.
      record: The first seed's `config.json`; empty if it cannot be read.
      imported: Where the first seed's weights come from; None if it drew its own.
    """

    name: str
    workdirs: tuple[Path, ...]
    rows: tuple[list[Row], ...]
    record: dict[str, Any]
    imported: Imported | None = None

    @property
    def started(self) -> tuple[list[Row], ...]:
        """The rows of each seed that has some."""
        return tuple(rows for rows in self.rows if rows)

    @property
    def finals(self) -> list[Row]:
        """The last row with a test result of each seed that has one."""
        return [rows[-1] for rows in self.evaluated]

    @property
    def bests(self) -> list[float]:
        """The best test top-1 of each seed that has one."""
        return [max(row["test/top1"] for row in rows) for rows in self.evaluated]

    @property
    def evaluated(self) -> list[list[Row]]:
        """The rows with a test result of each seed that has one."""
        found = [[row for row in rows if is_evaluation(row)] for rows in self.rows]
        return [rows for rows in found if rows]

    def notes(self) -> list[str]:
        """Returns warnings: runs that are not finished, losses that are not finite."""
        notes = [*self._other_configs()]
        for folder, rows in zip(self.workdirs, self.rows, strict=True):
            if (folder / SWEEP_FILE).exists():
                notes.append(
                    f"{folder.name} also holds several runs, which are left out: give "
                    "their folders."
                )
            if not rows:
                continue
            last, end = rows[-1], self.end(rows[-1])
            if stopped := stopped_early(rows, self.patience):
                notes.append(f"{folder.name} stopped {stopped}.")
            elif end is not None and last["step"] < end:
                notes.append(
                    f"{folder.name} is not finished: it ends at step "
                    f"{last['step']:,} of {end:,}."
                )
            bad = [row["step"] for row in rows if not math.isfinite(row["train/loss"])]
            if bad:
                notes.append(
                    f"{folder.name}: the loss is not finite at step {bad[0]:,}."
                )
        if self.started and not self.finals:
            notes.append(f"{self.name} holds no test result.")
        return notes

    @property
    def patience(self) -> int | None:
        """The evaluated epochs that early stopping waits for; None without it."""
        patience = self.record.get("config", {}).get("early_stop", {}).get("patience")
        return patience if isinstance(patience, int) else None

    def _other_configs(self) -> Iterator[str]:
        """Yields a sentence for each seed that is none of the first's config."""
        first = self.record.get("config", {})
        for folder in self.workdirs[1:]:
            other = _read_record(folder / "config.json").get("config", {})
            differ = {key for key, *_ in differences(first, other)} - {"seed"}
            if first and other and differ:
                yield (
                    f"{folder.name} is of another config than {self.workdirs[0].name} "
                    f"({', '.join(sorted(differ))}): means and deviations mix both."
                )

    def end(self, row: Row) -> int | None:
        """Returns the step at which the run ends, computed from one of its rows."""
        config = self.record.get("config", {})
        epochs, steps = config.get("num_epochs"), config.get("num_train_steps")
        if epochs is None:
            return None
        whole = round(row["step"] / row["epoch"] * epochs)
        return whole if steps is None else min(whole, steps)


def read_config(workdir: Path) -> ConfigDict:
    """Reads a run's config; a key that the run did not know has its default.

    Raises:
      InputError: `config.json` is missing, damaged, or of another version.
    """
    path = workdir / "config.json"
    try:
        record = json.loads(read_regular(path))["config"]
        flatten_config(record)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{workdir} has no readable config.json; give a run's workdir, or "
            "WORKDIR/checkpoints/STEP"
        ) from error
    try:
        return config_of(record)
    except InputError as error:
        raise InputError(f"{path} {error}") from error


def read_run(workdir: Path, name: str, setting: str = "") -> Run:
    """Reads a run's folder, or those of its seeds (`workdir/seed-N`).

    Args:
      workdir: The run's folder, or a sweep's.
      name: Of the run.
      setting: Of the sweep, as `settings` lists them.

    Raises:
      InputError: It holds neither rows nor imported weights.
    """
    folders = settings(workdir).get(setting, [])
    read = {folder: read_rows(folder / METRICS_FILE) for folder in folders}
    sources = {folder: read_imported(folder) for folder in folders}
    found = {one: rows for one, rows in read.items() if rows or sources[one]}
    if not found:
        raise InputError(f"{workdir} holds no metrics.jsonl with rows; give a workdir")
    records = {one: _read_record(one / "config.json") for one in found}
    # Of a sweep that was given seeds later, a setting's first seed is there twice.
    seeds = {one: _seed_of(one, records[one]) for one in found}
    first_of = {seed: one for one, seed in reversed(seeds.items())}
    found = {one: rows for one, rows in found.items() if first_of[seeds[one]] == one}
    first = next(iter(found))
    record = records[first]
    return Run(name, tuple(found), tuple(found.values()), record, sources[first])


def _seed_of(folder: Path, record: dict[str, Any]) -> object:
    """Returns a run's seed, as its folder says it, else its config."""
    _, seed = _split_name(folder)
    if seed is not None:
        return seed
    found = record.get("config", {}).get("seed")
    return found if isinstance(found, int) else folder


def _split_name(folder: Path) -> tuple[str, int | None]:
    """Returns what a folder is called before its seed, and the seed, if it has one."""
    setting, _, seed = folder.name.rpartition("seed-")
    return (setting, int(seed)) if seed.isdecimal() else (folder.name, None)


def settings(workdir: Path) -> dict[str, list[Path]]:
    """Returns the folders of a sweep's runs by setting, in the order of their seeds.

    A setting is what a folder is called but for its seed: `learning_rate-0.01` of
    `learning_rate-0.01,seed-0`; "" of `seed-0`, and of a run's own folder.
    """
    if _holds_run(workdir):
        return {"": [workdir]}
    found: dict[str, dict[Path, int]] = {}
    is_sweep = (workdir / SWEEP_FILE).exists()
    for path in sorted(workdir.glob("*-*")):
        setting, seed = _split_name(path)
        if not setting or (is_sweep and _holds_run(path)):
            found.setdefault(setting.rstrip(","), {})[path] = seed or 0
    return {name: sorted(one, key=one.__getitem__) for name, one in found.items()}


def _holds_run(path: Path) -> bool:
    return any((path / name).exists() for name in (METRICS_FILE, IMPORTED_FILE))


def _read_record(path: Path) -> dict[str, Any]:
    """Returns what `config.json` holds; nothing, if that is not a run's."""
    try:
        record = json.loads(read_regular(path))
        config = record.setdefault("config", {})
        parts = [config.setdefault(name, {}) for name in ("model", "data")]
        config.setdefault("early_stop", {}).get("patience")
        texts = [part.get("name", "") for part in parts]
        texts += record.setdefault("versions", {}).values()
        texts += record.setdefault("devices", [])
        counts = [parts[0].get("num_classes", 10)]
        lengths = (config.get("num_epochs"), config.get("num_train_steps"))
        counts += [length for length in lengths if length is not None]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    is_whole = all(isinstance(text, str) for text in texts) and all(
        isinstance(count, int) and abs(count) < 2**53 for count in counts
    )
    return record if is_whole else {}


def read_runs(workdirs: Sequence[Path]) -> list[Run]:
    """Reads several runs and names each by the part of its path that is distinct.

    A sweep's folder holds a run for each of its settings.
    """
    paths = [expand(path, "WORKDIR") for path in workdirs]
    if len(set(paths)) < len(paths):
        raise InputError("WORKDIR: the same folder is given twice; give each once")
    # A seed's folder is not named after its run.
    depth = 2 if any(path.name.startswith("seed-") for path in paths) else 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return [
        read_run(path, "/".join(filter(None, [*path.parts[-depth:], setting])), setting)
        for path in paths
        for setting in settings(path) or [""]
    ]


def percent(values: Sequence[float]) -> str:
    """Returns a fraction in percent; of several, mean ± standard deviation."""
    if not values:
        return "-"
    text = f"{100 * np.mean(values):.2f}"
    return text if len(values) == 1 else f"{text} ± {100 * np.std(values, ddof=1):.2f}"
