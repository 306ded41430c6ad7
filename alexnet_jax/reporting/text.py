"""What commands print of evaluations and of checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.metrics import CALIBRATION_BINS, METRICS
from alexnet_jax.run.checksums import files_of, find_fault, read_seconds, step_folders
from alexnet_jax.run.read import read_config
from alexnet_jax.run.rows import (
    METRICS_FILE,
    Row,
    is_evaluation,
    read_kept_row,
    scan_rows,
    steps_per_epoch,
)
from alexnet_jax.terminal.tables import Table, table_lines
from alexnet_jax.terminal.text import counted, printable, terminal_width

_JSON = "with --json"


def evaluation_text(found: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of an evaluation: the metrics, then a line per class.

    Args:
      found: From `TrainedModel.evaluate`.
    """
    views = counted(found["views"], "view")
    yield f"checkpoint  {printable(found['workdir'])}, step {found['step']:,}"
    yield (
        f"data        {printable(found['data'])}, {found['split']}: "
        f"{counted(found['examples'], 'image')}, {views} of each"
    )
    for name, metric in METRICS.items():
        if name in found:
            text = f"{found[name]:.4f} {metric.unit}"
            if metric.unit == "%":
                text = f"{100 * found[name]:.2f} %"
            if name == "ece":
                text += f", {CALIBRATION_BINS} equal bins"
            yield f"{metric.title:<11} {text}"
    yield ""
    yield from table_lines(_class_table(found["classes"]), terminal_width(), _JSON)


def _class_table(classes: Sequence[Mapping[str, Any]]) -> Table:
    """Lays out the classes of an evaluation, one per line."""
    numbers, confused = ("images", "top-1, %"), "most often confused with (images)"
    table = Table(
        *("class", *numbers, confused),
        numbers=numbers,
        optional=("images",),
        last=(confused,),
        names={"class": 16, confused: 16},
        ruled=False,
    )
    for one in classes:
        other = "-"
        if one["mistaken_for"] is not None:
            other = f"{printable(one['mistaken_for'])} ({one['mistaken']:,})"
        table.add_row(
            printable(one["class"]),
            f"{one['examples']:,}",
            "-" if one["top1"] is None else f"{100 * one['top1']:.1f}",
            other,
        )
    return table


def checkpoints_text(workdir: Path) -> Iterator[str]:
    """Yields a line per checkpoint of a run: step, epoch, accuracy, size, state.

    Raises:
      InputError: The folder holds no checkpoints.
    """
    folders = step_folders(workdir / "checkpoints")
    if not folders:
        raise InputError(f"{workdir} holds no checkpoints; give a run's workdir")
    of = _epochs(workdir)
    numbers = ("step", "test top-1", "MB", "written in")
    table = Table(
        *("step", "epoch", *numbers[1:], "state"),
        numbers=numbers,
        optional=("written in", "MB"),
        last=("epoch",),
        texts={"state": 20},
        ruled=False,
    )
    for step, folder in folders.items():
        fault = find_fault(folder)
        row: Row = {}
        written = "-"
        if fault is None:
            row = read_kept_row(folder)
            seconds = read_seconds(folder)
            written = "-" if seconds is None else f"{seconds:.2f} s"
        top1 = f"{row['test/top1']:.4f}" if is_evaluation(row) else "-"
        size = sum(path.stat().st_size for path in files_of(folder)) / 1e6
        cells = (f"{step:,}", of(step), top1, f"{size:.1f}", written, fault or "intact")
        table.add_row(*cells)
    yield from table_lines(table, terminal_width())


def _epochs(workdir: Path) -> Callable[[int], str]:
    """Returns what says in which epoch a step of a run is, as its records say."""
    rows = scan_rows(workdir / METRICS_FILE).rows
    try:
        total = f"/{read_config(workdir).num_epochs}"
    except InputError:
        total = ""

    def text(step: int) -> str:
        if not (rows and step):
            return "-"
        epoch, rest = divmod(step, steps_per_epoch(rows[-1]))
        return f"in {epoch + 1}{total}" if rest else f"{epoch}{total}"

    return text
