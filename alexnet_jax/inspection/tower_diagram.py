"""Draws what each tower computes and where the towers exchange features."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from alexnet_jax.atomic import atomic_write
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import LayerRow, first_branch
from alexnet_jax.inspection.tables import Summary
from alexnet_jax.layers.towers import GatherTowers, NormAcrossTowers

_TOWERS = ("tower a", "tower b")
_COLORS = ("tab:blue", "tab:orange")


class Stage(NamedTuple):
    """A layer with weights and the layers up to the next one with weights.

    Attributes:
      name: The layer's name.
      reads: Its input: its tower's maps (`local`) or those of `both`; `replicated`, if
        both towers compute the whole of it.
      output: The stage's output: height, width and maps of all towers.
      extras: Layers that follow, such as normalization and pooling.
      halo: Whether its normalization reads maps of the other tower.
    """

    name: str
    reads: str
    output: tuple[int, ...]
    extras: list[str]
    halo: bool


def stages(summary: Summary) -> list[Stage]:
    """Derives a network's stages from the tower that one device runs."""
    network: Any = summary.network
    tower = network(num_classes=summary.num_classes, tower_axis="model")
    layers = tower.bind({}).net.layers
    readers = {
        layer.reader: "replicated" if layer.replicated else "both"
        for layer in layers
        if isinstance(layer, GatherTowers)
    }
    halos = _halos(layers)
    found: list[Stage] = []
    for row in summary.layers:
        if row.params:
            reads = readers.get(row.name, "local")
            found.append(Stage(row.name, reads, (), [], row.name in halos))
        if not found:
            continue  # what is done to the images before the first of them
        if row.kind != "flatten":
            found[-1] = found[-1]._replace(output=row.output_shape[1:])
        if word := _word(row):
            found[-1].extras.append(word)
    return found


def _halos(layers: Any) -> set[str]:
    names: set[str] = set()
    last = ""
    for layer in layers:
        last = getattr(layer, "name", None) or last
        if isinstance(layer, NormAcrossTowers):
            names.add(last)
    return names


def _word(row: LayerRow) -> str:
    words = {"lrn": "norm", "map_norm": "map norm", "max_pool_ceil": "pool"}
    words |= {"dropout": "drop", "mask_dropout": "drop"}
    return words.get(row.kind, "")


def draw_towers(summary: Summary, path: Path) -> None:
    """Draws a network's towers.

    Args:
      summary: The summary of a network with two towers.
      path: The picture's file; its ending selects the format, `.png`, `.pdf` or `.svg`.

    Raises:
      InputError: The network has one tower or is no chain of layers, its towers are
        not two devices'.
      OSError: The file cannot be written.
    """
    if summary.network.towers != 2:
        raise InputError(f"--picture needs a network of two towers; got {summary.name}")
    if branch := first_branch(summary.layers):
        raise InputError(
            f"--picture needs a chain of layers; {branch.name} of {summary.name} reads "
            f"{' and '.join(branch.reads)}"
        )
    columns = stages(summary)
    figure = Figure(figsize=(1.75 * len(columns) + 1.2, 4.2))
    axes = figure.subplots()
    axes.set_xlim(-0.9, len(columns) - 0.45)
    axes.set_ylim(-0.75, 1.85)
    axes.axis("off")
    sent = [0, *(math.prod(stage.output) // 2 for stage in columns)]
    for place, stage in enumerate(columns):
        _draw_stage(axes, place, stage)
        _draw_arrows(axes, place, stage, sent[place])
    for height, (name, color) in enumerate(zip(_TOWERS, _COLORS, strict=True)):
        axes.text(-0.85, 1 - height, name, color=color, va="center", weight="bold")
    axes.set_title(
        f"{summary.name}: each device holds one tower; bold arrows show how many "
        "numbers per image cross, each way",
        fontsize=10,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        kind = path.suffix.lower()[1:]
        figure.savefig(part, format=kind, dpi=150, bbox_inches="tight")


def _draw_stage(axes: Any, place: int, stage: Stage) -> None:
    *size, maps = stage.output
    replicated = stage.reads == "replicated"
    shape = "×".join(
        str(length) for length in (*size, maps if replicated else maps // 2)
    )
    lines = [stage.name, *stage.extras, shape]
    for height, color in enumerate(_COLORS):
        axes.text(
            place,
            1 - height,
            "\n".join(lines),
            ha="center",
            va="center",
            fontsize=9,
            bbox={
                "boxstyle": "round,pad=0.4",
                "facecolor": "white",
                "edgecolor": color,
                "linewidth": 1.5,
                "linestyle": "--" if replicated else "-",
            },
            zorder=3,
        )
    if replicated:
        axes.text(place, 0.5, "replicated", ha="center", va="center", fontsize=8)
    if stage.halo:
        axes.annotate(
            "",
            (place, 0.32),
            (place, 0.68),
            arrowprops={"arrowstyle": "<->", "color": "tab:red", "linewidth": 2},
        )
        axes.text(place + 0.06, 0.5, "2 maps", fontsize=8, color="tab:red", va="center")


def _draw_arrows(axes: Any, place: int, stage: Stage, sent: int) -> None:
    if place == 0:
        return
    left, right = place - 1 + 0.36, place - 0.36
    for height, color in enumerate(_COLORS):
        axes.annotate(
            "",
            (right, 1 - height),
            (left, 1 - height),
            arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.2},
        )
        if stage.reads != "local":
            axes.annotate(
                "",
                (right, height + (0.12 if height == 0 else -0.12)),
                (left, 1 - height + (-0.12 if height == 0 else 0.12)),
                arrowprops={"arrowstyle": "->", "color": color, "linewidth": 2.4},
            )
    if stage.reads != "local":
        axes.text(place - 0.5, 1.5, f"{sent:,}", ha="center", fontsize=9, weight="bold")
