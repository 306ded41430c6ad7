"""Explanations of pictures as a figure, and as text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from alexnet_jax.data.pictures import read_picture
from alexnet_jax.errors import InputError
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.reporting.figures import image_ratio, show_image
from alexnet_jax.terminal.text import printable
from alexnet_jax.trained import TrainedModel

_DPI = 120
_WIDTH, _TITLE = 2.5, 0.55  # of a panel, and of what stands above it, in inches
_MAX_LETTERS = 30  # of a name above a panel


# Names may hold dollar signs.
@matplotlib.rc_context({"text.parse_math": False})
def draw_explanations(
    found: Sequence[Explanation], titles: Sequence[tuple[str, str]]
) -> Figure:
    """Draws a row for each image: itself, occlusion, gradient, Grad-CAM.

    Dotted lines frame what the network sees, where that is not the whole image; solid
    ones the patch that leaves the lowest probability.

    Args:
      found: At least one explanation.
      titles: Two lines above each image.
    """
    heights = [_TITLE + _WIDTH * 0.8 * image_ratio(one.image) for one in found]
    figure = Figure(
        figsize=(4 * _WIDTH, sum(heights) + 0.2), layout="constrained", dpi=_DPI
    )
    grid = figure.subplots(len(found), 4, squeeze=False, height_ratios=heights)
    for row, one, title in zip(grid, found, titles, strict=True):
        for axes in row:
            axes.set_axis_off()
        show_image(row[0], one.image / np.float32(255))
        row[0].set_title("\n".join(map(_short, title)), fontsize=9, loc="left")
        _draw_occlusion(row[1], one)
        heading = "gradient\nlogits per gray level"
        _draw_map(row[2], one.gradient, "magma", 0.0, _top(one.gradient), heading)
        if one.grad_cam is None:
            _write(row[3], "no Grad-CAM:\nno maps larger\nthan 1×1")
        else:
            heading = f"Grad-CAM of {_short(one.layer or '')}\nlogits"
            top = _top(one.grad_cam)
            _draw_map(row[3], one.grad_cam, "viridis", 0.0, top, heading)
        for axes in row[:2]:
            if one.patch is not None:
                _frame(axes, one.patch, "-")
        if one.view[2:] != one.image.shape[:2]:
            for axes in row:
                _frame(axes, one.view, ":")
    return figure


def _draw_occlusion(axes: Axes, one: Explanation) -> None:
    low, high = (
        100 * float(edge) for edge in (one.occlusion.min(), one.occlusion.max())
    )
    if one.patch is None:  # all colors would be rounding
        low, high = 0.0, 100.0
    title = "occlusion: bright is evidence\nprobability, %"
    _draw_map(axes, 100 * one.occlusion, "viridis_r", low, high, title)


def _top(values: np.ndarray) -> float:
    return float(values.max()) or 1.0


def _draw_map(
    axes: Axes,
    values: np.ndarray,
    colors: str,
    low: float,
    high: float,
    title: str,
) -> None:
    drawn = axes.imshow(
        values, cmap=colors, vmin=low, vmax=high, interpolation="nearest"
    )
    axes.set_title(title, fontsize=9, loc="left")
    figure: Any = axes.figure
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, ticks=MaxNLocator(4))
    bar.ax.tick_params(labelsize=7)
    bar.formatter.set_powerlimits((-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize(7)


def _frame(axes: Axes, box: Sequence[float], style: str) -> None:
    """Draws a frame around a box: top, left, height and width in pixels."""
    top, left, height, width = box
    for color, line in (("white", 2.5), ("black", 1.0)):
        frame = Rectangle(
            (left - 0.5, top - 0.5),
            width,
            height,
            fill=False,
            edgecolor=color,
            linewidth=line,
            linestyle=style,
        )
        axes.add_patch(frame)


def _write(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…"


def title_of(network: TrainedModel, found: Explanation) -> str:
    """Returns the class and its probability, as a heading."""
    return f"{printable(network.class_name(found.label))}, {_percent(found)}"


def _percent(found: Explanation) -> str:
    return f"{100 * found.probability:.1f} %"


def explain_files(
    network: TrainedModel, paths: Sequence[Path], invert: bool = False, **options: Any
) -> Iterator[tuple[Path, Explanation | str]]:
    """Yields each picture file with its explanation, or with why it cannot be read.

    Args:
      network: The trained model.
      paths: Picture files.
      invert: Whether to exchange light and dark first.
      **options: As `TrainedModel.explain` takes them.
    """
    data = network.config.data
    for path in paths:
        try:
            picture = read_picture(path, network.spec, invert, data.fit, data.resize)
        except InputError as error:
            yield path, str(error)
            continue
        found = network.explain(picture.image, **options)
        yield path, found._replace(notes=(*picture.notes, *found.notes))


def explanation_record(
    network: TrainedModel, path: Path, found: Explanation | str
) -> dict[str, Any]:
    """Returns what JSON says of a file."""
    if isinstance(found, str):
        return {"file": str(path), "error": found}
    patch = None
    if found.patch:
        patch = {**found.patch._asdict(), "probability": found.covered}
    return {
        "file": str(path),
        "class": network.class_name(found.label),
        "index": found.label,
        "probability": found.probability,
        "patch": patch,
        "layer": found.layer,
        "notes": list(found.notes),
    }


def explanation_lines(
    network: TrainedModel, path: Path, found: Explanation
) -> Iterator[str]:
    """Yields a line on the class, one on the place of the evidence, and the notes."""
    yield f"{printable(path)}  {title_of(network, found)}"
    if found.patch:
        top, left, height, width = found.patch
        sides = "×".join(map(str, found.image.shape[:2]))
        yield (
            f"  evidence: rows {top} to {top + height - 1}, columns {left} to "
            f"{left + width - 1} of {sides}; covered, {100 * found.covered:.1f} %"
        )
    yield from (f"  note: {note}" for note in found.notes)
