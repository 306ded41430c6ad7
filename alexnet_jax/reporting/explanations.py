"""Explanations of pictures as a figure, and as text."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from alexnet_jax.atomic import is_made_by
from alexnet_jax.errors import InputError
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.explanation.notes import percent
from alexnet_jax.reporting.figures import image_ratio, show_image
from alexnet_jax.terminal.text import printable
from alexnet_jax.trained import TrainedModel

# In the metadata of the files that `explain` writes.
MAKER = "alexnet_jax.explain"

_DPI = 120
_WIDTH, _TITLE = 2.5, 0.7  # of a panel, and of what stands above it, in inches
_FONT_SIZE = 9
_TEXT_WIDTH = 1.85  # of a line above a panel, in inches
_MAX_LETTERS = 60  # more of the narrowest do not fit


# Names may hold dollar signs.
@matplotlib.rc_context({"text.parse_math": False})
def draw_explanations(
    found: Sequence[Explanation], titles: Sequence[Sequence[str]]
) -> Figure:
    """Draws a row for each image: itself, occlusion, gradient, Grad-CAM.

    Dotted lines frame what the network sees, where that is not the whole image; solid
    ones the patch that leaves the lowest probability.

    Args:
      found: At least one explanation.
      titles: Lines above each image; a long one is cut off at the panel's width.
    """
    heights = [_TITLE + _WIDTH * 0.8 * image_ratio(one.image) for one in found]
    figure = Figure(
        figsize=(4 * _WIDTH, sum(heights) + 0.2), layout="constrained", dpi=_DPI
    )
    grid = figure.subplots(len(found), 4, squeeze=False, height_ratios=heights)
    for row, one, title in zip(grid, found, titles, strict=True):
        for axes in row:
            axes.set_axis_off()
            axes.set_anchor("W")  # titles begin where the panel does
        show_image(row[0], one.image / np.float32(255))
        row[0].set_title("\n".join(map(_short, title)), fontsize=_FONT_SIZE, loc="left")
        _draw_occlusion(row[1], one)
        heading = "gradient\nlogits per gray level"
        _draw_map(row[2], one.gradient, "magma", 0.0, _top(one.gradient), heading)
        if one.grad_cam is None:
            _write(row[3], "no Grad-CAM:\nno maps larger\nthan 1×1")
        else:
            heading = f"{_short(f'Grad-CAM of {one.layer}')}\nlogits"
            top = _top(one.grad_cam)
            _draw_map(row[3], one.grad_cam, "viridis", 0.0, top, heading)
        for axes in row[:2]:
            if one.patch is not None:
                _frame(axes, one.patch, "-")
        if one.view[2:] != one.image.shape[:2]:
            for axes in row:
                _frame(axes, one.view, ":")
    return figure


class Shades(NamedTuple):
    """The colors of an occlusion map.

    Attributes:
      colors: From the lowest value to the highest.
      low: The lowest value, in percent.
      high: The highest, likewise.
    """

    colors: Colormap
    low: float
    high: float


def occlusion_shades(one: Explanation) -> Shades:
    """Returns colors that are red below the uncovered image's probability, above blue.

    White is in the middle, and a difference is as strong to one side as to the other.
    """
    middle = 100 * one.probability
    low = min(100 * float(one.occlusion.min()), middle)
    high = max(100 * float(one.occlusion.max()), middle)
    if one.flat or low == high:  # all colors would be rounding
        low, high = 0.0, 100.0
    reach = 2 * max(high - middle, middle - low)
    shades = 0.5 + (np.linspace(low, high, 256) - middle) / reach
    return Shades(ListedColormap(matplotlib.colormaps["RdBu"](shades)), low, high)


def _draw_occlusion(axes: Axes, one: Explanation) -> None:
    colors, low, high = occlusion_shades(one)
    title = "occlusion: red is evidence\nprobability, %; uncovered: white"
    _draw_map(axes, 100 * one.occlusion, colors, low, high, title)


def _top(values: np.ndarray) -> float:
    return float(values.max()) or 1.0


def _draw_map(
    axes: Axes,
    values: np.ndarray,
    colors: str | Colormap,
    low: float,
    high: float,
    title: str,
) -> None:
    drawn = axes.imshow(
        values, cmap=colors, vmin=low, vmax=high, interpolation="nearest"
    )
    axes.set_title(title, fontsize=_FONT_SIZE, loc="left")
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
    """Cuts a line off where a panel ends; letters differ in width."""
    font = FontProperties(size=_FONT_SIZE)

    def is_short(line: str) -> bool:
        width = text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        return width <= 72 * _TEXT_WIDTH

    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", "Glyph")
        if is_short(text):
            return text
        lengths = range(min(len(text), _MAX_LETTERS), 0, -1)
        return next(
            (line for n in lengths if is_short(line := f"{text[:n].rstrip()}…")), "…"
        )


def heading_of(network: TrainedModel, found: Explanation) -> tuple[str, str]:
    """Returns the class and its probability, a line each."""
    return printable(network.class_name(found.label)), percent(found.probability)


def is_explanation(file: Path) -> bool:
    """Whether a file is one that `explain` has written."""
    return is_made_by(file, MAKER)


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
    for path, picture in network.read_pictures(paths, invert=invert):
        if isinstance(picture, InputError):
            yield path, str(picture)
        else:
            found = network.explain(picture.image, **options)
            yield path, found._replace(notes=(*picture.notes, *found.notes))


def explanation_record(
    network: TrainedModel, path: Path, found: Explanation | str, output: Path
) -> dict[str, Any]:
    """Returns what JSON says of a file, and of the figure that shows it."""
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
        "step": network.step,
        "output": str(output),
        "notes": list(found.notes),
    }


def explanation_lines(
    network: TrainedModel, path: Path, found: Explanation
) -> Iterator[str]:
    """Yields a line on the class, one on the place of the evidence, and the notes."""
    yield f"{printable(path)}  {', '.join(heading_of(network, found))}"
    if found.patch:
        top, left, height, width = found.patch
        sides = "×".join(map(str, found.image.shape[:2]))
        yield (
            f"  evidence: {_span('row', top, height)}, {_span('column', left, width)} "
            f"of {sides}; covered, {percent(found.covered)}"
        )
    yield from (f"  note: {note}" for note in found.notes)


def _span(what: str, first: int, count: int) -> str:
    last = first + count - 1
    return f"{what} {first}" if count == 1 else f"{what}s {first} to {last}"
