"""Sweeps: one config with several values of some keys, a run for each combination."""

import contextlib
import hashlib
import itertools
import json
import math
import re
import stat
import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from alexnet_jax.atomic import clear_place, move_aside, read_regular, write_file
from alexnet_jax.config import differences, flatten_config, in_one_form, is_cfg
from alexnet_jax.errors import BusyError, InputError, NotFiniteError, RunError
from alexnet_jax.terminal.paths import local_path
from alexnet_jax.terminal.text import counted

if TYPE_CHECKING:
    from alexnet_jax.terminal.tables import Table

SWEEP_FILE = "sweep.json"
_EXAMPLE = "--sweep='optim.learning_rate=0.01,0.03;seed=0,1'"
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_MAX_RUNS = 1000
_MAX_NAME = 40  # letters of a value in a folder's name
# What a run's folder or its process is made of, which are there before the first run.
_FIXED = {"name", "parallel.distributed", "parallel.coordinator"}
_FIXED |= {"parallel.num_processes", "parallel.process_id"}

Texts = dict[str, list[str]]  # by key, values as written


@dataclass
class Combination:
    """One of a sweep's runs.

    Attributes:
      values: By key.
      config: With these values.
      folder: The name of its folder.
      result: As `train.train_and_evaluate` returns it, once the run has ended.
      error: Why it did not end, if so.
    """

    values: dict[str, Any]
    config: ConfigDict
    folder: str
    result: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def __str__(self) -> str:
        """Returns `optim.learning_rate=0.01, seed=0`."""
        return ", ".join(f"{key}={value}" for key, value in self.values.items())


def parse_sweep(text: str) -> Texts:
    """Parses `KEY=VALUE,VALUE;KEY=VALUE`.

    Within brackets and quotes, commas and semicolons separate nothing; quotes around a
    whole value are dropped.

    Raises:
      InputError: It is written otherwise, or a key cannot be swept.

    Examples:
      >>> parse_sweep("data.image_size=28,(28,32);seed=0")
      {'data.image_size': ['28', '(28,32)'], 'seed': ['0']}
    """
    sweep: Texts = {}
    for part in filter(None, _split(text, ";")):
        key, equals, rest = part.partition("=")
        key, values = key.strip(), _split(rest, ",")
        if not (key and equals and all(values)):
            raise InputError(f"--sweep: {part!r} lacks a value; write {_EXAMPLE}")
        if key in sweep:
            raise InputError(f"--sweep: {key} is given twice; give all values at once")
        if key in _FIXED:
            raise InputError(
                f"--sweep: {key} is the same in all runs; give --config.{key} instead"
            )
        sweep[key] = [re.sub(r"^(['\"])(.*)\1$", r"\2", one) for one in values]
    if not sweep:
        raise InputError(f"--sweep is empty; write {_EXAMPLE}")
    return sweep


def _split(text: str, separator: str) -> list[str]:
    """Splits a text where no bracket or quote is open."""
    parts, closing, quote = [""], "", ""
    for letter in text:
        if quote:
            quote = quote.replace(letter, "")
        elif letter in "'\"":
            quote = letter
        elif letter in _BRACKETS:
            closing += _BRACKETS[letter]
        elif closing.endswith(letter):
            closing = closing[:-1]
        elif letter == separator and not closing:
            parts.append("")
            continue
        parts[-1] += letter
    if quote or closing:
        raise InputError(f"--sweep: {text!r} lacks a closing {quote or closing[-1]}")
    return [part.strip() for part in parts]


def parse_seeds(values: Sequence[str]) -> list[int]:
    """Parses `--seeds`.

    Raises:
      InputError: There are none, or they are not distinct integers.
    """
    try:
        seeds = [int(value) for value in values]
    except ValueError:
        seeds = []
    in_range = all(0 <= seed < 2**32 for seed in seeds)
    if not seeds or not in_range or len(set(seeds)) < len(seeds):
        raise InputError(
            "--seeds must be distinct integers in [0, 2**32), such as --seeds=0,1,2; "
            f"got {','.join(values)!r}"
        )
    return seeds


def combine(
    sweep: Mapping[str, Sequence[str]], create: Callable[[dict[str, str]], ConfigDict]
) -> list[Combination]:
    """Returns all combinations; the last key's values change from run to run.

    Args:
      sweep: Values by key, as written.
      create: Returns the config with such values, checked.

    Raises:
      InputError: `create` refuses one, two are equal, or there are too many.
    """
    count = math.prod(map(len, sweep.values()))
    if count > _MAX_RUNS:
        raise InputError(
            f"--sweep: {count:,} runs are more than {_MAX_RUNS:,}; give fewer values"
        )
    labels = short_labels(sweep)
    last = sorted(sweep, key=lambda key: key == "seed")  # of a folder's name
    found: dict[str, Combination] = {}
    for texts in itertools.product(*sweep.values()):
        changes = dict(zip(sweep, texts, strict=True))
        config = create(changes)
        flat = flatten_config(config)
        values = {key: flat[key] for key in sweep}
        folder = ",".join(f"{labels[key]}-{_safe(values[key])}" for key in last)
        one = Combination(values, config, folder)
        form = json.dumps(in_one_form(flat))
        if form in found:
            raise InputError(
                f"--sweep: {found[form]} and {one} are the same; give each value once"
            )
        found[form] = one
    return [*found.values()]


def short_labels(keys: Mapping[str, Any]) -> dict[str, str]:
    """Returns the last word of each key, or all of it where that says too little."""
    words = [key.rpartition(".")[2] for key in keys]
    return {
        key: key if words.count(word) > 1 or word == "name" else word
        for key, word in zip(keys, words, strict=True)
    }


def _safe(value: Any) -> str:
    """Returns a value as a part of a folder's name, different for each value."""
    is_size = isinstance(value, tuple) and all(isinstance(n, int) for n in value)
    text = "x".join(map(str, value)) if is_size else str(value)
    safe = re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII)[:_MAX_NAME]
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return safe if safe == text else f"{safe}~{digest[:8]}"


def run_all(
    runs: Sequence[Combination],
    workdir: Path,
    run: Callable[[ConfigDict, Path], dict[str, float]],
    *,
    is_primary: bool,
    is_alone: bool = True,
) -> None:
    """Runs all combinations, one after the other, each in `workdir/FOLDER`.

    One that is refused, or whose loss is not finite, is left, and the others go on; if
    the first is refused, the sweep is. `workdir/sweep.json` lists all with their
    values, and the results so far, those of earlier sweeps in the folder too.

    Args:
      runs: From `combine`.
      workdir: The sweep's folder.
      run: Trains once; see `train.train_and_evaluate`.
      is_primary: Whether this process writes.
      is_alone: Whether no other process trains, too. Else one that is refused ends the
        sweep: it may be in one process only, for which the others would wait.

    Raises:
      InputError: The first run is refused.
      RunError: Some have failed; said after the last run.
    """
    file = local_path(workdir, "workdir") / SWEEP_FILE
    tried: set[str] = set()

    def save() -> None:
        if is_primary:  # another sweep may have written to it meanwhile
            ours = {one.folder: _record(one) for one in runs}
            known = _known(file, ours)
            records = known | {
                folder: record
                for folder, record in ours.items()
                if folder in tried or folder not in known
            }
            with _named_errors(file.parent):
                _write(file, records.values())

    if is_primary:
        with _named_errors(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            clear_place(file, stat.S_ISREG)
            _clear_damaged(file)
    _check_seeds(runs, file.parent)
    _take_results(runs, _known(file, {one.folder for one in runs}))
    if not file.exists():
        save()
    for number, one in enumerate(runs, start=1):
        print(f"run       {number} of {len(runs)}: {one}", flush=True)
        try:
            one.result = run(one.config, workdir / one.folder)
        except InputError as error:
            if number == 1 or not is_alone:  # the first: maybe it is so of all
                raise
            one.error = str(error)  # a result of before is still there
            print(f"failed    {error}", flush=True)
            if isinstance(error, BusyError):  # what comes of it, the other sweep writes
                continue
        except NotFiniteError as error:
            one.result, one.error = {}, str(error)
            print(f"failed    {error}", flush=True)
        except RuntimeError as error:  # of too large a batch, say
            if not is_alone or "RESOURCE_EXHAUSTED" not in str(error):
                raise
            one.error = "the run needs more memory than there is"
            print(f"failed    {one.error}", flush=True)
        tried.add(one.folder)
        save()
    if is_primary:
        _print_results(runs, workdir)
    if failed := [one.folder for one in runs if one.error]:
        raise RunError(
            f"{len(failed)} of {len(runs)} runs failed, as said above: "
            f"{'; '.join(failed)}"
        )


@contextlib.contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the sweep's folder into one line.

    Raises:
      RunError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"workdir: {folder} cannot be written ({error.strerror or error}); make "
            "room or choose another --workdir; the same command goes on"
        ) from error


def _known(file: Path, ours: Collection[str] = ()) -> dict[str, Any]:
    """Returns what sweeps wrote down, by folder: of those that are there, and ours."""
    try:
        records = json.loads(read_regular(file))
        records = records if isinstance(records, list) else []
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        record["folder"]: record
        for record in records
        if _is_record(record)
        and (record["folder"] in ours or (file.parent / record["folder"]).is_dir())
    }


def _write(file: Path, records: Iterable[Any]) -> None:
    write_file(file, json.dumps([*records], indent=2) + "\n")


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(key), kind)
        for key, kind in (("folder", str), ("values", dict), ("result", dict))
    )


def _clear_damaged(file: Path) -> None:
    """Moves a `sweep.json` aside that is damaged, or another program's.

    The records in it that are whole are taken over.
    """
    if not file.exists():
        return
    known: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        known = json.loads(read_regular(file))
    if isinstance(known, list) and all(map(_is_record, known)):
        return
    aside = move_aside(file)
    print(f"warning   {file} is damaged, or of no sweep; moved to {aside}")
    if isinstance(known, list):
        _write(file, filter(_is_record, known))


def _check_seeds(runs: Sequence[Combination], folder: Path) -> None:
    """Checks that seeds come to lie beside those of the same config alone.

    Raises:
      InputError: They are averaged with others, which have another config.
    """
    if any([*one.values] != ["seed"] for one in runs):
        return
    for path in sorted(folder.glob("seed-*/config.json")):
        changes = []
        # What cannot be read is refused by its own run.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            old = json.loads(read_regular(path))["config"]
            changes = [*differences(old, runs[0].config)]
        for key, before, after in changes:
            # Texts of layer files are compared by each run, which has read them.
            is_text = key in ("model.cfg_layers", "model.cfg_params", "optim.params")
            is_text |= key == "model.name" and is_cfg(str(before)) and is_cfg(after)
            if key != "seed" and not is_text:
                raise InputError(
                    f"workdir: {path.parent} is of another config ({key} was "
                    f"{before}, is {after}), and seeds in one folder are averaged; "
                    "choose another --workdir"
                )


def _take_results(runs: Sequence[Combination], known: Mapping[str, Any]) -> None:
    """Takes the results that an earlier start of the same sweep wrote down, if any."""
    for one in runs:
        found = known.get(one.folder)
        if found and found["values"] == json.loads(json.dumps(one.values)):
            one.result = dict(found["result"])


def _record(one: Combination) -> dict[str, Any]:
    record = {"folder": one.folder, "values": one.values, "result": one.result}
    return record | ({"error": one.error} if one.error else {})


def _print_results(runs: Sequence[Combination], workdir: Path) -> None:
    """Prints the accuracies: of seeds alone two lines, else a table."""
    if [*runs[0].values] == ["seed"]:
        ended = [one for one in runs if one.result]
        for key, label in (("test/top1", "last"), ("best/top1", "best")):
            if ended:
                text = _mean(ended, key) + " ± 0.0000" * (len(ended) == 1)
                print(f"{counted(len(ended), 'seed')}   {label} test top-1 {text}")
        return
    from alexnet_jax.terminal.tables import print_table

    print()
    print_table(results_table(runs), f"in {workdir / SWEEP_FILE}")


def results_table(runs: Sequence[Combination]) -> "Table":
    """Lays out a sweep's test top-1, a row for each setting besides the seed.

    Of several seeds the mean ± the sample standard deviation; the highest last top-1 is
    marked.

    Args:
      runs: That were run, in order.
    """
    from alexnet_jax.terminal.tables import Table

    groups = [*_by_setting(runs)]
    ended = [[one for one in group if one.result] for group in groups]
    tops = [
        statistics.mean(one.result["test/top1"] for one in group) if group else -1.0
        for group in ended
    ]
    labels = short_labels(runs[0].values)
    keys = [key for key in labels if key != "seed"]
    has_seeds = len(keys) < len(labels)
    numbers = ("seeds",) * has_seeds + ("last test top-1", "best test top-1")
    settings = [labels[key] for key in keys]
    table = Table(
        *(*settings, *numbers, ""),
        numbers=numbers,
        optional=("seeds", "best test top-1"),
        names={label: 12 for label in settings},
    )
    for place, (group, done) in enumerate(zip(groups, ended, strict=True)):
        count = f"{len(done)} of {len(group)}" if len(done) < len(group) else len(done)
        note = "best" if place == tops.index(max(tops)) else ""
        table.add_row(
            *(str(group[0].values[key]) for key in keys),
            *(str(count),) * has_seeds,
            _mean(done, "test/top1"),
            _mean(done, "best/top1"),
            note if done else "failed",
        )
    return table


def _by_setting(runs: Sequence[Combination]) -> Iterator[list[Combination]]:
    """Yields the runs that differ in their seed alone, in order."""
    groups: dict[str, list[Combination]] = {}
    for one in runs:
        setting = {key: value for key, value in one.values.items() if key != "seed"}
        groups.setdefault(repr(setting), []).append(one)
    yield from groups.values()


def _mean(runs: Sequence[Combination], key: str) -> str:
    """Returns the mean, of several ± the sample standard deviation."""
    values = [one.result[key] for one in runs]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"
