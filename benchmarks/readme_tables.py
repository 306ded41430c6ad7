"""Writes the tables of results in README.md and docs/results.md.

  python -m benchmarks.readme_tables

Each run in the tables has a folder in `results/` with its `config.json` and
`metrics.jsonl` (in `seed-N/` for several seeds) and a `run.json` with the rest:

  order              its place in the full table
  run, network       their names
  published          the published accuracy
  hardware, time     the time is optional if `metrics.jsonl` has it
  short              optional: its place in README's table
  by_epoch           optional: published accuracies in percent, or an empty list; such
                     a run has a column in the table of accuracies by epoch
"""

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alexnet_jax import cli
from alexnet_jax.config import size_text
from alexnet_jax.errors import InputError
from alexnet_jax.run.read import Run, percent, read_run

_COLUMNS = "run", "network", "data", "length", "seeds", "top-1, %", "published, %"
_COLUMNS += "hardware, time", "version", "folder"
_SHORT_COLUMNS = "trained network", "data", "top-1, %", "published, %", "version"
_SHORT_COLUMNS += ("log",)
_NUMBERS = "seeds", "top-1, %", "published, %"
_TITLES = {"fashion_mnist": "Fashion-MNIST"}
_NEEDED = ("order", "run", "network", "published", "hardware")


class Published(NamedTuple):
    """A published run.

    Attributes:
      words: Its `run.json`.
      run: Its records.
      folder: Its folder.
    """

    words: dict[str, Any]
    run: Run
    folder: Path


def read_published(folder: Path) -> list[Published]:
    """Reads the runs that have a `run.json`, in their order.

    Raises:
      InputError: A folder lacks something.
    """
    found = []
    for file in sorted(folder.glob("*/run.json")):
        words, run = _read_words(file), read_run(file.parent, file.parent.name)
        if not run.record.get("config") or not run.finals:
            raise InputError(f"{file.parent} lacks a config.json or a test result")
        found.append(Published(words, run, file.parent))
    if not found:
        raise InputError(f"{folder} holds no folder with a run.json")
    return sorted(found, key=lambda one: one.words["order"])


def full_table(found: Sequence[Published], file: Path) -> str:
    """Returns the table of all runs in Markdown, its links relative to a file."""
    rows = []
    for words, run, folder in found:
        data, size = _data(run), run.record["config"]["data"]["image_size"]
        rows.append(
            [
                *(words["run"], words["network"], f"{data}, {size_text(size)}"),
                *(_length(run), str(len(run.rows)), _top1(run), words["published"]),
                f"{words['hardware']}, {words.get('time') or _time(run)}",
                *(_version(run), _link("log", folder, file)),
            ]
        )
    return _markdown(_COLUMNS, rows)


def short_table(found: Sequence[Published], file: Path) -> str:
    """Returns the table of the runs with `short` in Markdown, likewise."""
    chosen = [one for one in found if "short" in one.words]
    rows = [
        [
            f"`{run.record['config']['model']['name']}`",
            f"{_data(run)}, {_length(run)}",
            *(_top1(run), words["published"], _version(run)),
            _link(words["run"], folder, file),
        ]
        for words, run, folder in sorted(chosen, key=lambda one: one.words["short"])
    ]
    return _markdown(_SHORT_COLUMNS, rows)


def epochs_table(found: Sequence[Published]) -> str:
    """Returns test accuracies by epoch in Markdown, the published ones beside ours."""
    columns: dict[str, dict[float, str]] = {}
    for words, run, _ in found:
        if "by_epoch" not in words:
            continue
        if words["by_epoch"]:
            published = [f"{top1:.2f}" for top1 in words["by_epoch"]]
            columns[f"{words['run']}, published"] = dict(enumerate(published, 1))
        measured: dict[float, list[float]] = {}
        for row in itertools.chain(*run.evaluated):
            measured.setdefault(row["epoch"], []).append(row["test/top1"])
        columns[f"{words['run']}, here"] = {n: percent(measured[n]) for n in measured}
    epochs = sorted({n for column in columns.values() for n in column if n == int(n)})
    rows = [
        [f"{n:g}", *(column.get(n, "") for column in columns.values())] for n in epochs
    ]
    names = ["epoch", *columns]
    return _markdown(names, rows, numbers=names)


def _markdown(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[str] = _NUMBERS,
) -> str:
    rule = ["---:" if column in numbers else "---" for column in columns]
    lines = [columns, rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _read_words(file: Path) -> dict[str, Any]:
    try:
        words = json.loads(file.read_text())
        missing = [name for name in _NEEDED if name not in words]
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if missing:
        raise InputError(f"{file} lacks {', '.join(missing)}")
    return words


def _data(run: Run) -> str:
    name = run.record["config"]["data"]["name"]
    return _TITLES.get(name, name)


def _version(run: Run) -> str:
    """Returns the version of this package that made the run."""
    return run.record.get("versions", {}).get("alexnet_jax", "-")


def _top1(run: Run) -> str:
    return percent([row["test/top1"] for row in run.finals])


def _link(text: str, folder: Path, file: Path) -> str:
    relative = os.path.relpath(folder.absolute(), file.absolute().parent)
    return f"[{text}]({relative})"


def _length(run: Run) -> str:
    """Says how long a run was, and whether it is not yet at its end."""
    last = min(run.finals, key=lambda row: row["step"])
    steps, epochs = int(last["step"]), last["epoch"]
    config = run.record["config"]
    end = run.end(last)
    if end is not None and steps < end:
        return f"{epochs:.3g} of {config['num_epochs']} epochs, partial"
    if config["num_train_steps"] is None:
        return f"{epochs:.4g} epoch{'s' * (epochs != 1)}"
    return f"{steps:,} steps" + (f" ({epochs:.3g} epochs)" if epochs >= 1 else "")


def _time(run: Run) -> str:
    seconds = float(np.mean([row["time_s"] for row in run.finals]))
    each = " each" if len(run.rows) > 1 else ""
    if seconds < 100:
        return f"{seconds:.0f} s{each}"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min{each}"
    return f"{seconds / 3600:.1f} h{each}"


def write_tables(tables: Mapping[Path, Sequence[str]]) -> None:
    """Replaces the tables of files whose headers begin with the same cell.

    Args:
      tables: The tables for each file.

    Raises:
      InputError: A file lacks a table; then no file is changed.
    """
    texts = {}
    for file, new_tables in tables.items():
        text = file.read_text()
        for table in new_tables:
            first = "".join(table.partition(" | ")[:2])
            old = rf"^{re.escape(first)}.*\n(\|.*\n)*"
            new = table.replace("\\", r"\\")  # `subn` reads escapes
            text, count = re.subn(old, new, text, flags=re.M)
            if count != 1:
                raise InputError(
                    f"{file} must hold one table of results that begins with "
                    f"{first!r}; found {count}"
                )
        texts[file] = text
    for file, text in texts.items():
        file.write_text(text)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Writes the tables."""
    parser = cli.Parser("benchmarks.readme_tables", __doc__)
    for name, default, text in (
        ("folder", "results", "folder of the published runs"),
        ("readme", "README.md", "file of the short table"),
        ("results", "docs/results.md", "file of the full tables"),
    ):
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="PATH",
            default=default,
            help=f"{text} (default: {default})",
        )
    options = parser.parse_args(argv)
    found = read_published(options.folder)
    full = [full_table(found, options.results)]
    if any("by_epoch" in one.words for one in found):
        full.append(epochs_table(found))
    short = [short_table(found, options.readme)]
    write_tables({options.results: full, options.readme: short})
    print(f"written   {options.results}, {options.readme}: {len(found)} runs")


if __name__ == "__main__":
    main()
