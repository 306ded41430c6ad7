"""Pictures of runs.

python -m alexnet_jax.report WORKDIR [WORKDIR ...] --output=FILE.png
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_jax.errors import InputError, Parser
from alexnet_jax.writer import Row, read_rows


def draw_curves(rows: list[Row], path: Path, title: str) -> None:
    """Draws loss and accuracy by epoch as a PNG.

    Args:
      rows: Rows of `metrics.jsonl`; those between epochs carry `train/loss` only for
        their window, those at evaluations `test/...` as well.
      path: The file to write.
      title: Above the picture.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=120)
    loss, accuracy = figure.subplots(1, 2)
    evaluated = [row for row in rows if "test/loss" in row]
    windows = [row for row in rows if "test/loss" not in row]
    for axes, name in ((loss, "loss"), (accuracy, "top1")):
        if windows:
            axes.plot(
                [row["epoch"] for row in windows],
                [row[f"train/{name}"] for row in windows],
                color="tab:blue",
                alpha=0.35,
                linewidth=1,
                label="train, between epochs",
            )
        for split, color, marker in (("train", "blue", "o"), ("test", "orange", "s")):
            axes.plot(
                [row["epoch"] for row in evaluated],
                [row[f"{split}/{name}"] for row in evaluated],
                color=f"tab:{color}",
                marker=marker,
                markersize=4,
                label=split,
            )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
        axes.legend()
    loss.set_ylabel("cross-entropy (nats)")
    loss.set_ylim(bottom=0)
    accuracy.set_ylabel("top-1 accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.suptitle(title)
    figure.savefig(path)


def draw_together(runs: Mapping[str, list[Row]], path: Path) -> None:
    """Draws the training loss and accuracy of runs over each other, as a PNG.

    Args:
      runs: Rows of `metrics.jsonl` by the run's name.
      path: The file to write.
    """
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=120)
    loss, accuracy = figure.subplots(1, 2)
    for name, rows in runs.items():
        windows = [row for row in rows if "test/loss" not in row] or rows
        steps = [row["step"] for row in windows]
        loss.plot(steps, [row["train/loss"] for row in windows], label=name)
        accuracy.plot(steps, [row["train/top1"] for row in windows], label=name)
    for axes in (loss, accuracy):
        axes.set_xlabel("step")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
    loss.set_ylabel("training loss (nats)")
    loss.set_ylim(bottom=0)
    loss.legend(fontsize=8)
    accuracy.set_ylabel("training top-1 accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.savefig(path)


def read_run(workdir: Path) -> list[Row]:
    """Returns a run's rows.

    Raises:
      InputError: The folder holds none.
    """
    rows = read_rows(workdir / "metrics.jsonl")
    if not rows:
        raise InputError(f"{workdir} holds no metrics.jsonl with rows; give a workdir")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the runs that the arguments name."""
    parser = Parser(
        prog="python -m alexnet_jax.report", description="Draws runs over each other."
    )
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    options = parser.parse_args(argv)
    try:
        runs = {workdir.name: read_run(workdir) for workdir in options.workdirs}
        draw_together(runs, options.output)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"drawn     {options.output}")


if __name__ == "__main__":
    main()
