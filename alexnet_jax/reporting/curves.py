"""Learning curves of one run or several, with the spread over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_jax.run.rows import Row, is_of_epoch
from alexnet_jax.terminal.text import printable

_MAX_LEGEND_COLUMNS = 3
_DASHES = ("-", "--", "-.", ":")
_PANEL_DPI = 160  # a phone's pixels are small
_MARKERS = ("o", "s", "^", "D")
_MARKER_SIZE = 4.0  # in points


class Style(NamedTuple):
    """How the curves of one of several runs are drawn.

    Attributes:
      color: The place of the color in a theme's `lines`.
      dashes: Of the line, as Matplotlib calls them.
      marker: At the evaluations, likewise.
    """

    color: int
    dashes: str
    marker: str


def style_of(place: int) -> Style:
    """Returns the style of a run by its place: the first 32 are all different.

    The first eight differ in dashes or marker, too, so that no color is needed.
    """
    dashes = _DASHES[(place + place // 4 + place // 16) % len(_DASHES)]
    return Style(place % 8, dashes, _MARKERS[place % len(_MARKERS)])


# On a page: a panel each, by the key of the rows that it shows.
PANELS = {
    "test/loss": "test loss (nats)",
    "test/top1": "test top-1 accuracy",
    "train/loss": "training loss (nats)",
    "learning_rate": "learning rate",
}


@matplotlib.rc_context({"text.parse_math": False})
def draw_panel(runs: Mapping[str, Sequence[list[Row]]], key: str) -> Figure:
    """Draws one metric; of a single run that of training and of testing.

    Colors, dashes and markers are `style_of` a run's place; a single run's first color
    is that of training, its second that of testing.

    Args:
      runs: As in `draw_curves`.
      key: Of `PANELS`.
    """
    figure = Figure(figsize=(4.8, 3.2), layout="constrained", dpi=_PANEL_DPI)
    axes = figure.subplots()
    unit = _unit(runs)
    label = PANELS[key]
    if len(runs) == 1 and key.startswith("test/"):
        label = label.removeprefix("test ")
        ((_, seeds),) = runs.items()
        _draw_run(axes, seeds, key.removeprefix("test/"), unit, place=None)
    else:
        for place, seeds in enumerate(runs.values()):
            style = style_of(place)
            line: dict[str, Any] = {"color": f"C{style.color}", "lw": 1.6}
            line["linestyle"] = style.dashes
            rows = [shown_rows(one, key) for one in seeds]
            if key.startswith("test/"):
                line |= {"marker": style.marker, "markersize": 5.0}
            _draw_mean(axes, rows, key, unit, **line)
    _finish(axes, unit, label, is_fraction="top1" in key)
    low, high = axes.dataLim.intervaly
    if len(runs) > 1 and 0 < 0.5 * high < low:
        axes.set_ylim(bottom=None, auto=True)  # else they would share the upper half
    return figure


def shown_rows(rows: list[Row], key: str) -> list[Row]:
    """Returns the rows that a panel of several runs shows: of training, windows alone.

    Means over an epoch would be jumps between them.
    """
    found = [row for row in rows if key in row]
    windows = [row for row in found if not is_of_epoch(row)]
    return windows if windows and key.startswith("train/") else found


def _unit(runs: Mapping[str, Sequence[list[Row]]]) -> str:
    """Returns what curves are drawn over."""
    rows = [row for seeds in runs.values() for one in seeds for row in one]
    # On the scale of epochs, a run of less than two would have too few ticks.
    return "epoch" if max(row["epoch"] for row in rows) >= 2 else "step"


def _finish(axes: Axes, unit: str, label: str, is_fraction: bool) -> None:
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.15)
    axes.set_ylabel(label)
    if is_fraction:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        axes.set_ylim(bottom=0)


# A run's name may hold dollar signs, which are no formula.
@matplotlib.rc_context({"text.parse_math": False})
def draw_curves(runs: Mapping[str, Sequence[list[Row]]], title: str = "") -> Figure:
    """Draws training and test loss and accuracy.

    One run has a color per split, several runs a color each. For several seeds the mean
    is drawn with one standard deviation around it. Values that are not finite are left
    out.

    Args:
      runs: For each run's name the rows of `metrics.jsonl` of each of its seeds; rows
        of evaluations hold `test/...`, those within epochs `train/...` of their window.
      title: The title above the figure.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained", dpi=120)
    panels = figure.subplots(1, 2)
    unit = _unit(runs)
    for place, seeds in enumerate(runs.values()):
        for axes, name in zip(panels, ("loss", "top1"), strict=True):
            _draw_run(axes, seeds, name, unit, None if len(runs) == 1 else place)
    loss, accuracy = panels
    _finish(loss, unit, "cross-entropy (nats)", is_fraction=False)
    _finish(accuracy, unit, "top-1 accuracy", is_fraction=True)
    handles = _handles(runs)
    columns = min(len(handles), 4 if len(runs) == 1 else _MAX_LEGEND_COLUMNS)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    if title:
        figure.suptitle(printable(title))
    return figure


def _draw_run(
    axes: Axes,
    seeds: Sequence[list[Row]],
    name: str,
    unit: str,
    place: int | None,
) -> None:
    """Draws one metric of a run, within epochs and at their ends.

    Args:
      axes: The panel.
      seeds: The rows of each seed.
      name: The metric's.
      unit: Of the abscissa, a key of the rows.
      place: The run's among several; None of a single run.
    """
    ends = [[row for row in rows if is_of_epoch(row)] for rows in seeds]
    windows = [[row for row in rows if not is_of_epoch(row)] for rows in seeds]
    of_train, of_test = Style(0, "-", "o"), Style(1, "-", "s")
    if place is not None:
        of_train = of_test = style_of(place)
    thin: dict[str, Any] = {"linewidth": 1.0, "alpha": 0.6}
    color = f"C{of_train.color}"
    _draw_mean(axes, windows, f"train/{name}", unit, 0.0, color=color, **thin)
    if place is None or not any(windows):
        style = _line(of_train) | ({} if place is None else thin)
        _draw_mean(axes, ends, f"train/{name}", unit, **style)
    _draw_mean(axes, ends, f"test/{name}", unit, **_line(of_test))


def _draw_mean(
    axes: Axes,
    seeds: Sequence[list[Row]],
    key: str,
    unit: str,
    spread: float = 1.0,
    **style: Any,
) -> None:
    """Draws the mean over seeds, where all are finite, ± `spread` deviations."""
    columns: list[dict[float, float]] = [
        {row[unit]: row[key] for row in rows if math.isfinite(row.get(key, math.nan))}
        for rows in seeds
    ]
    places = sorted(set.intersection(*map(set, columns)))
    if not places:
        return
    values = np.array([[column[place] for place in places] for column in columns])
    mean = values.mean(axis=0)
    if len(places) == 1:  # a line of a single point is not seen
        style = {"marker": "o", "markersize": _MARKER_SIZE, **style}
    axes.plot(places, mean, **style)
    if len(columns) > 1 and spread:
        deviation = spread * values.std(axis=0, ddof=1)
        low, high = mean - deviation, mean + deviation
        axes.fill_between(places, low, high, color=style["color"], alpha=0.15, lw=0)


def _line(style: Style) -> dict[str, Any]:
    """Returns a style as Matplotlib takes it."""
    return {
        "color": f"C{style.color}",
        "linestyle": style.dashes,
        "marker": style.marker,
        "markersize": _MARKER_SIZE,
    }


def _handles(runs: Mapping[str, Sequence[list[Row]]]) -> list[Line2D]:
    """Returns the entries of the legend."""
    if len(runs) == 1:
        ((_, seeds),) = runs.items()
        test = "test"
        if len(seeds) > 1:
            test = f"test, mean ± deviation of {len(seeds)} seeds"
        return [
            Line2D([], [], color="C0", alpha=0.6, lw=1, label="train, within epochs"),
            Line2D([], [], color="C0", marker="o", markersize=4, label="train"),
            Line2D([], [], color="C1", marker="s", markersize=4, label=test),
        ]
    return [
        Line2D(
            [],
            [],
            **_line(style_of(place)),
            label=_label(printable(name), len(seeds)),
        )
        for place, (name, seeds) in enumerate(runs.items())
    ] + [
        Line2D([], [], color="gray", lw=1, alpha=0.7, label="train"),
        Line2D([], [], color="gray", marker="s", markersize=4, label="test"),
    ]


def _label(name: str, seeds: int) -> str:
    return f"{name} ({seeds} seeds)" if seeds > 1 else name
