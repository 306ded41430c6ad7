"""Learning curves on a page: a panel for each metric, and one legend for all."""

import functools
from collections.abc import Mapping, Sequence

from alexnet_jax.reporting.curves import (
    PANELS,
    Style,
    draw_panel,
    shown_rows,
    style_of,
)
from alexnet_jax.reporting.html import block, figure, image, name, paragraph
from alexnet_jax.reporting.themes import in_both
from alexnet_jax.run.read import percent
from alexnet_jax.run.rows import Row, is_evaluation, is_of_epoch

_TRAIN, _WINDOW = Style(0, "-", "o"), Style(0, "-", "")
_TEST = Style(1, "-", "s")
# As Matplotlib draws them, in widths of a line.
_DASHES = {"-": "", "--": "7.4 3.2", "-.": "12.8 3.2 2 3.2", ":": "2 3.3"}
_MARKERS = {
    "o": '<circle cx="24" cy="8" r="5"/>',
    "s": '<path d="M19 3h10v10h-10z"/>',
    "^": '<path d="M24 2l6 11h-12z"/>',
    "D": '<path d="M24 1l7 7l-7 7l-7 -7z"/>',
    "": "",
}


def curve_panels(runs: Mapping[str, Sequence[list[Row]]]) -> str:
    """Returns the panels of runs as HTML.

    Args:
      runs: As `draw_curves` takes them.
    """
    rows = [row for seeds in runs.values() for one in seeds for row in one]
    keys = [key for key in PANELS if any(key in row for row in rows)]
    if len(runs) == 1:  # the training's is in the panel of the test's, if there is one
        keys = [key for key in keys if key != "train/loss" or "test/loss" not in keys]
    elif not any("test/loss" in row for row in rows):
        keys = [key for key in keys if key != "test/loss"]
    panels = []
    for key in keys:
        light, dark = in_both(functools.partial(draw_panel, runs, key))
        shown = image(light, _alt(runs, key), dark)
        panels.append(figure(shown))
    said = (
        "Training values are means over the steps since the previous point, with "
        "dropout and before each update."
    )
    if any(len(seeds) > 1 for seeds in runs.values()):
        said += " Of several seeds, the mean with one standard deviation around it."
    return _legend(runs) + block("panels", panels) + paragraph(said)


def _alt(runs: Mapping[str, Sequence[list[Row]]], key: str) -> str:
    """Returns what a panel shows, with the value that each run ends at."""
    ends = []
    for run, seeds in runs.items():
        wanted = [shown_rows(rows, key) for rows in seeds]
        values = [rows[-1][key] for rows in wanted if rows]
        if values and "top1" in key:
            ends.append(f"{run} ends at {percent(values)} %")
        elif values:
            ends.append(f"{run} ends at {sum(values) / len(values):.4g}")
    what = f"the {PANELS[key]}"
    if len(runs) == 1 and key.startswith("test/"):
        what = f"{PANELS[key].removeprefix('test ')} in training and testing"
    return f"Learning curves of {what}: {'; '.join(ends)}."


def _legend(runs: Mapping[str, Sequence[list[Row]]]) -> str:
    if len(runs) > 1:
        entries = [
            (style_of(place), f"{run} ({len(seeds)} seeds)" if len(seeds) > 1 else run)
            for place, (run, seeds) in enumerate(runs.items())
        ]
    else:
        ((_, seeds),) = runs.items()
        rows = [row for one in seeds for row in one]
        entries = []
        if not all(map(is_of_epoch, rows)):
            entries.append((_WINDOW, "training, within epochs"))
        if any(map(is_of_epoch, rows)):
            entries.append((_TRAIN, "training"))
        if any(map(is_evaluation, rows)):
            entries.append((_TEST, "test"))
    items = "".join(f"<li>{_swatch(style)}{name(said)}</li>" for style, said in entries)
    return f'<ul class="legend">{items}</ul>'


def _swatch(style: Style) -> str:
    """Returns a piece of a line, as the panels have it in the page's theme."""
    color = f"var(--line-{style.color})"
    dashes = _DASHES[style.dashes]
    drawn = f' stroke-dasharray="{dashes}"' if dashes else ""
    width = "3" if style.marker else "1.5"
    return (
        f'<svg viewBox="0 0 48 16" aria-hidden="true" style="color: {color}">'
        f'<path d="M0 8h48" stroke="currentColor" stroke-width="{width}"{drawn}/>'
        f'<g fill="currentColor">{_MARKERS[style.marker]}</g></svg>'
    )
