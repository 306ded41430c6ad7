"""Rows of `metrics.jsonl`: an object a line, by growing step."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from alexnet_jax.atomic import read_regular

Row = dict[str, float]

METRICS_FILE = "metrics.jsonl"
ROW_ITEM = "metrics"  # Orbax's folder of a checkpoint's row, and its file
_MAX = 2**53  # which a float holds to the unit
_MAX_FLOAT = 3.5e38
_NEEDED = frozenset(("step", "epoch", "train/loss", "train/top1"))


class Rows(NamedTuple):
    """What a file of rows holds.

    Attributes:
      rows: By growing step.
      bad: The numbers of the lines that are no rows, or of a step that came before.
    """

    rows: list[Row]
    bad: list[int]

    @property
    def fault(self) -> str | None:
        """What is wrong with the file, in words; None if nothing is."""
        if not self.bad:
            return None
        shown = ", ".join(map(str, self.bad[:5])) + (", ..." if self.bad[5:] else "")
        lines, are = ("line", "is") if len(self.bad) == 1 else ("lines", "are")
        return f"{METRICS_FILE}: {lines} {shown} {are} damaged; skipped"


class Stored(NamedTuple):
    """Rows that a run's checkpoints hold.

    Attributes:
      rows: By growing step.
      are_all: Whether the run had no others up to its newest checkpoint; unknown of
        checkpoints of earlier versions.
    """

    rows: list[Row]
    are_all: bool


def scan_rows(path: Path) -> Rows:
    """Reads a file of rows, which may be missing; what is no row is left out."""
    try:
        content = read_regular(path)
    except OSError:  # a checkpoint may have what it held
        content = b""
    return parse_rows(content)


def parse_rows(content: bytes) -> Rows:
    """Parses what a file of rows holds; what is no row is left out."""
    by_step: dict[int, Row] = {}
    bad = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        row = _parse(line.strip(b"\0"))  # which a machine that lost power leaves
        if row is None or row["step"] in by_step:
            bad.append(number)
        else:
            by_step[int(row["step"])] = row
    return Rows([by_step[step] for step in sorted(by_step)], bad)


def _parse(line: bytes) -> Row | None:
    """Returns the row of a line; None if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if is_row(row) else None


def is_row(row: object) -> bool:
    """Whether an object is a row of a run: numbers, a step and an epoch among them."""
    if not isinstance(row, dict) or not row.keys() >= _NEEDED:
        return False
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in row.values()):
        return False
    step, epoch = row["step"], row["epoch"]
    # A loss may be NaN or inf, yet nothing that float32 lacks.
    if any(
        abs(x) > (_MAX if isinstance(x, int) else _MAX_FLOAT)
        and not (isinstance(x, float) and math.isinf(x))
        for x in row.values()
    ):
        return False
    # A share of images, which no loss makes NaN.
    shares = [value for key, value in row.items() if re.search(r"/top\d+$", key)]
    if not all(0 <= share <= 1 for share in shares):
        return False
    return isinstance(step, int) and step > 0 and 1 / _MAX < epoch < _MAX


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a file, which may be missing; warns of damaged lines."""
    found = scan_rows(path)
    if found.fault is not None:
        print(f"warning   {path.parent / found.fault}")
    return found.rows


def read_kept_row(folder: Path) -> Row:
    """Returns the row that a checkpoint keeps; an empty one if it cannot be read."""
    try:
        row = json.loads(read_regular(folder / ROW_ITEM / ROW_ITEM))
    except (OSError, ValueError, RecursionError):
        return {}
    top1 = row.get("test/top1", -1.0) if isinstance(row, dict) else None
    return row if isinstance(top1, int | float) and -1 <= top1 <= 1 else {}


def epoch_of(row: Row) -> tuple[int, bool]:
    """Returns the epoch that a row lies in, and whether it is that epoch's end."""
    whole = row["epoch"] == int(row["epoch"])
    return math.ceil(row["epoch"]), whole


def place_of(row: Row) -> str:
    """Returns where in its run a row lies, in words.

    Example:
      >>> [place_of({"step": step, "epoch": step / 94}) for step in (94, 100)]
      ['epoch 1', 'step 100, in epoch 2']
    """
    epoch, at_its_end = epoch_of(row)
    place = f"epoch {epoch}"
    return place if at_its_end else f"step {row['step']:,.0f}, in {place}"


def steps_per_epoch(row: Row) -> int:
    """Returns the steps of an epoch of the run that a row is of."""
    return max(1, round(row["step"] / row["epoch"]))


def step_text(step: int, num_steps: int, per_epoch: int, num_epochs: int) -> str:
    """Returns where in a run a step is, in words.

    Args:
      step: Steps that are done.
      num_steps: The step that the run ends at.
      per_epoch: Steps of an epoch.
      num_epochs: Length of the run.

    Example:
      >>> step_text(100, 376, 94, 4), step_text(94, 376, 94, 4)
      ('step 100 of 376, in epoch 2 of 4', 'step 94 of 376, after epoch 1 of 4')
    """
    epoch, rest = divmod(step, per_epoch)
    place = f"in epoch {epoch + 1}" if rest or not epoch else f"after epoch {epoch}"
    return f"step {step:,} of {num_steps:,}, {place} of {num_epochs:,}"


def is_evaluation(row: Row) -> bool:
    """Whether a row holds a test result."""
    return "test/top1" in row


def is_of_epoch(row: Row) -> bool:
    """Whether a row's training values are means over an epoch, not over a part of it.

    That is so at an epoch's end, evaluated or not, and where a run ends within one.
    """
    return is_evaluation(row) or epoch_of(row)[1]


def best_of(rows: Iterable[Row]) -> Row:
    """Returns the row of the best test result, of which there must be one.

    Of equal ones the last, as its checkpoint is kept.
    """
    return max(
        filter(is_evaluation, rows), key=lambda row: (row["test/top1"], row["step"])
    )


def stopped_early(rows: Iterable[Row], patience: int | None) -> str | None:
    """Returns at which epoch a run stops and since when it waited; None if it goes on.

    Args:
      rows: All of the run.
      patience: `config.early_stop.patience`: evaluated epochs in a row without a better
        test top-1. An evaluation within an epoch does not count.
    """
    top1 = {
        int(row["epoch"]): row["test/top1"]
        for row in rows
        if is_evaluation(row) and epoch_of(row)[1]
    }
    if patience is None or not top1:
        return None
    best, last = max(top1, key=lambda epoch: top1[epoch]), max(top1)
    if sum(epoch > best for epoch in top1) < patience:
        return None
    return f"early at epoch {last}: no better test top-1 since epoch {best}"


def to_text(rows: Iterable[Row]) -> str:
    """Returns rows as the lines of a file."""
    return "".join(json.dumps(row) + "\n" for row in rows)
