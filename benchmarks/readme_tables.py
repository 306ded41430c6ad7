"""Writes README's tables of results from the folders of published runs.

python -m benchmarks.readme_tables [--folder=results] [--readme=README.md]

A folder of `results/` that is to stand in the table has, besides what a run leaves
(`config.json`, `metrics.jsonl`; several seeds in `seed-N/`), a `run.json` with what
cannot be read from these: `order` in the table, what the `run` and its `network` are
called, the accuracy that was `published`, the `hardware`, and perhaps its `time` by a
clock on the wall; without it that of the last row is taken. With `by_epoch`, the
published accuracies in per cent, perhaps none, it stands in a second table, too.
"""

import itertools
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.errors import InputError, Parser
from alexnet_jax.run.read import Run, percent, read_run

_HEAD = (
    "| run | network | data | length | seeds | top-1, % | published, % "
    "| hardware, time | folder |\n"
    "| --- | --- | --- | --- | ---: | ---: | ---: | --- | --- |\n"
)
_TITLES = {"fashion_mnist": "Fashion-MNIST"}
_NEEDED = ("order", "run", "network", "published", "hardware")


def make_tables(folder: Path) -> list[str]:
    """Returns the table of the runs in a folder, and theirs by epoch, as Markdown.

    Raises:
      InputError: A folder lacks something.
    """
    files = [(_read_words(file), file.parent) for file in folder.glob("*/run.json")]
    if not files:
        raise InputError(f"{folder} holds no folder with a run.json")
    files.sort(key=lambda pair: (pair[0]["order"], pair[1].name))
    found = [(words, read_run(path, path.name)) for words, path in files]
    table = _HEAD + "".join(_row(words, run, folder) for words, run in found)
    chosen = [pair for pair in found if "by_epoch" in pair[0]]
    return [table, _epochs_table(chosen)] if chosen else [table]


def _epochs_table(found: Sequence[tuple[dict[str, Any], Run]]) -> str:
    """Returns test accuracies epoch by epoch, the published ones beside ours."""
    columns: dict[str, dict[float, str]] = {}
    for words, run in found:
        if words["by_epoch"]:
            published = [f"{top1:.2f}" for top1 in words["by_epoch"]]
            columns[f"{words['run']}, published"] = dict(enumerate(published, 1))
        measured: dict[float, list[float]] = {}
        for row in itertools.chain(*run.evaluated):
            measured.setdefault(row["epoch"], []).append(row["test/top1"])
        columns[f"{words['run']}, here"] = {n: percent(measured[n]) for n in measured}
    epochs = sorted({n for column in columns.values() for n in column if n == int(n)})
    lines = [["epoch", *columns], ["---:"] * (1 + len(columns))]
    for n in epochs:
        lines.append([f"{n:g}", *(column.get(n, "") for column in columns.values())])
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


def _row(words: dict[str, Any], run: Run, folder: Path) -> str:
    config = run.record.get("config")
    if not config or not run.finals:
        raise InputError(f"{folder / run.name} lacks a config.json or a test result")
    data, size = config["data"]["name"], config["data"]["image_size"]
    cells = [
        words["run"],
        words["network"],
        f"{_TITLES.get(data, data)}, {size}×{size}",
        _length(run),
        str(len(run.rows)),
        percent([row["test/top1"] for row in run.finals]),
        words["published"],
        f"{words['hardware']}, {words.get('time') or _time(run)}",
        f"[log]({folder.name}/{run.name})",
    ]
    return f"| {' | '.join(cells)} |\n"


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


def write_tables(readme: Path, tables: Sequence[str]) -> None:
    """Puts tables in the places of those whose headings begin with the same cells.

    Raises:
      InputError: One has no place; nothing was changed.
    """
    text = readme.read_text()
    for table in tables:
        first = "".join(table.partition(" | ")[:2])
        old = rf"^{re.escape(first)}.*\n(\|.*\n)*"
        new = table.replace("\\", r"\\")  # `subn` reads escapes
        text, count = re.subn(old, new, text, flags=re.M)
        if count != 1:
            raise InputError(
                f"{readme} must hold one table of results that begins with {first!r}; "
                f"found {count}"
            )
    readme.write_text(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the tables."""
    parser = Parser(
        prog="python -m benchmarks.readme_tables",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("--folder", type=Path, default=Path("results"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    options = parser.parse_args(argv)
    try:
        tables = make_tables(options.folder)
        write_tables(options.readme, tables)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    rows = tables[0].count("\n") - _HEAD.count("\n")
    print(f"written   {options.readme}, {rows} rows from {options.folder}")


if __name__ == "__main__":
    main()
