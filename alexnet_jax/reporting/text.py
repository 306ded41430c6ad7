"""What commands print of evaluations and of checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.metrics import CALIBRATION_BINS, METRICS
from alexnet_jax.run.checksums import files_of, find_fault, read_seconds, step_folders
from alexnet_jax.run.rows import Row, is_evaluation, read_kept_row
from alexnet_jax.terminal.text import printable


def evaluation_text(found: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of an evaluation: the metrics, then a line per class.

    Args:
      found: From `TrainedModel.evaluate`.
    """
    names = [printable(one["class"]) for one in found["classes"]]
    width = max(len("class"), *map(len, names))
    views = f"{found['views']} view{'s' * (found['views'] > 1)}"
    yield f"checkpoint  {printable(found['workdir'])}, step {found['step']:,}"
    yield (
        f"data        {printable(found['data'])}, {found['split']}: "
        f"{found['examples']:,} images, {views} of each"
    )
    for name, metric in METRICS.items():
        if name in found:
            text = f"{found[name]:.4f} {metric.unit}"
            if metric.unit == "%":
                text = f"{100 * found[name]:.2f} %"
            if name == "ece":
                text += f", {CALIBRATION_BINS} bins of equal width"
            yield f"{metric.title:<11} {text}"
    yield ""
    yield f"{'class':<{width}}  images  top-1, %  most often confused with (images)"
    for name, one in zip(names, found["classes"], strict=True):
        top1 = "-" if one["top1"] is None else f"{100 * one['top1']:.1f}"
        other = "-"
        if one["mistaken_for"] is not None:
            other = f"{printable(one['mistaken_for'])} ({one['mistaken']:,})"
        yield f"{name:<{width}}  {one['examples']:>6,}  {top1:>8}  {other}"


def checkpoints_text(workdir: Path) -> Iterator[str]:
    """Yields a line per checkpoint of a run: step, accuracy, size, time to write.

    Raises:
      InputError: The folder holds no checkpoints.
    """
    folders = step_folders(workdir / "checkpoints")
    if not folders:
        raise InputError(f"{workdir} holds no checkpoints; give a run's workdir")
    yield f"{'step':>9}  {'test top-1':>10}  {'MB':>8}  {'written in':>10}  state"
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
        yield f"{step:9,}  {top1:>10}  {size:8.1f}  {written:>10}  {fault or 'intact'}"
