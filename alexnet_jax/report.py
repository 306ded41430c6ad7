"""Pictures of a run."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_jax.writer import Row


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
