"""Figures of a network: filters, confusion matrix, example images, feature maps."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

_DPI = 120
# With more classes the cells of a confusion matrix are too small for names and counts.
_MAX_NAMED = 25
_MAX_LETTERS = 13  # of a class name above an image
_MAX_TICK_LETTERS = 30  # of one beside a matrix
# A class's name may hold dollar signs.
_WITHOUT_FORMULAS = matplotlib.rc_context({"text.parse_math": False})
_CORRECT, _WRONG = "#1a6b2f", "#b3261e"


def tile(filters: np.ndarray, columns: int, gap: float = 1.0) -> np.ndarray:
    """Tiles images in rows, separated by lines one pixel wide.

    Args:
      filters: `(N, h, w, C) float32` in [0, 1].
      columns: Images per row.
      gap: Of all channels of the lines, and after the last image: 1 is white.

    Returns:
      `(H, W, C) float32`.
    """
    count, height, width, channels = filters.shape
    rows = -(-count // columns)
    shape = (rows * columns, height + 1, width + 1, channels)
    sheet = np.full(shape, gap, np.float32)
    sheet[:count, 1:, 1:] = filters
    sheet = sheet.reshape(rows, columns, height + 1, width + 1, channels)
    sheet = sheet.transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + 1), columns * (width + 1), channels)
    return sheet[1:, 1:]


def filter_shades(kernel: np.ndarray, towers: int) -> list[np.ndarray]:
    """Returns the filters of a first convolution as images, for each tower.

    All share one scale: mid-gray is 0, and the weight of largest magnitude is black or
    white (in color, per channel). So weak filters look weak.

    Args:
      kernel: `(h, w, C, N) float32`; the mean over channels is shown unless C is 3.
      towers: Number of towers, whose filters are consecutive.

    Returns:
      `(N / towers, h, w, 1 or 3) float32` in [0, 1] for each.
    """
    weights = np.moveaxis(np.asarray(kernel, np.float32), -1, 0)
    if weights.shape[-1] != 3:
        weights = weights.mean(axis=-1, keepdims=True)
    largest = float(np.abs(weights).max()) or 1.0
    return np.split(0.5 + 0.5 * weights / largest, towers)


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Tiles images for a page: the lines between them let its ground through.

    Args:
      images: `(N, h, w, 1 or 3) float32` in [0, 1].

    Returns:
      `(H, W, 4) uint8`.
    """
    color = np.broadcast_to(images, (*images.shape[:-1], 3))
    opaque = np.concatenate([color, np.ones_like(color[..., :1])], axis=-1)
    return (255 * tile(opaque, _columns(len(images)), gap=0.0)).round().astype(np.uint8)


def draw_filters(kernel: np.ndarray, towers: int = 1) -> Figure:
    """Draws the filters of a first convolution, one panel per tower.

    Args:
      kernel: As in `filter_shades`.
      towers: Likewise.
    """
    parts = filter_shades(kernel, towers)
    count = len(parts[0])
    columns = _columns(count)
    rows = -(-count // columns)
    width = min(9.0, 1.1 * columns * towers)
    height = width * rows / (columns * towers) + 0.6
    engine = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(width, height), layout=engine, dpi=_DPI)
    for place, (axes, part) in enumerate(
        zip(figure.subplots(1, towers, squeeze=False)[0], parts, strict=True)
    ):
        show_image(axes, tile(part, columns))
        if towers > 1:
            first = place * count
            last = first + count - 1
            axes.set_title(f"tower {place + 1}: filters {first} to {last}", fontsize=10)
    return figure


def _columns(count: int) -> int:
    """Returns the images per row, so that rows are equally long if possible."""
    least = math.ceil(math.sqrt(count))
    even = (n for n in range(least, 2 * least + 1) if count % n == 0)
    return next(even, least)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Shows `(h, w, C)` in [0, 1] without axes; one channel is gray."""
    if image.shape[-1] != 3:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(image, interpolation="nearest")
    axes.set_axis_off()


@_WITHOUT_FORMULAS
def draw_confusion(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Draws a confusion matrix.

    Args:
      matrix: `(K, K)` counts, true classes in rows.
      names: Names of the K classes.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named = len(names) <= _MAX_NAMED
    size = 2.2 + 0.55 * len(names) if named else 8.0
    figure = Figure(figsize=(size, size * 0.92), layout="constrained", dpi=_DPI)
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if named:
        shown = [_short(name, _MAX_TICK_LETTERS) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), shown)
        for row, column in np.argwhere(matrix):
            axes.text(
                column,
                row,
                f"{matrix[row, column]:,}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else "black",
            )
    bar = figure.colorbar(picture, ax=axes, shrink=0.75)
    bar.set_label("fraction of the true class")
    return figure


@_WITHOUT_FORMULAS
def draw_examples(
    image: np.ndarray,
    texts: Sequence[tuple[str, str, str]],
    is_correct: np.ndarray,
    columns: int = 6,
) -> Figure:
    """Draws images titled with the predicted (`P:`) and the true class (`T:`).

    Args:
      image: `(N, h, w, C) uint8`, N at least 1.
      texts: For each image the predicted class, its probability and the true class.
      is_correct: `(N,) bool`; correct predictions are green, wrong ones red.
      columns: Images per row.
    """
    rows = -(-len(image) // columns)
    size = 1.6 * columns, (0.45 + 1.6 * image_ratio(image[0])) * rows
    figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, one, text, correct in zip(places, image, texts, is_correct, strict=False):
        show_image(axes, one / np.float32(255))
        predicted, probability, true = text
        axes.set_title(
            f"P: {_short(predicted)} {probability}\nT: {_short(true)}",
            fontsize=9,
            color=_CORRECT if correct else _WRONG,
            loc="left",
        )
    return figure


def image_ratio(image: np.ndarray) -> float:
    """Returns the height of `(h, w, C)` in widths, within what a page can show."""
    height, width = image.shape[:2]
    return min(max(height / width, 0.25), 4.0)


def _short(name: str, letters: int = _MAX_LETTERS) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def strongest_maps(layer: np.ndarray, number: int = 10) -> tuple[np.ndarray, float]:
    """Returns which maps of an image vary most over it, and their largest magnitude.

    Args:
      layer: `(h, w, N) float32`.
      number: How many maps, at most.
    """
    strongest = np.argsort(-layer.std(axis=(0, 1)), kind="stable")[:number]
    return strongest, float(np.abs(layer[..., strongest]).max())


def map_colors(layer: np.ndarray, number: int = 10) -> np.ndarray:
    """Returns the strongest maps of a layer as images: white is 0, red above, blue.

    Args:
      layer: `(h, w, N) float32`.
      number: How many maps, at most.

    Returns:
      `(number or fewer, h, w, 3) float32` in [0, 1].
    """
    strongest, largest = strongest_maps(layer, number)
    shares = 0.5 + 0.5 * layer[..., strongest].transpose(2, 0, 1) / (largest or 1.0)
    return matplotlib.colormaps["RdBu_r"](shares)[..., :3].astype(np.float32)


# A layer's name may hold dollar signs.
@matplotlib.rc_context({"text.parse_math": False})
def draw_features(
    image: np.ndarray, maps: Mapping[str, np.ndarray], columns: int = 10
) -> Figure:
    """Draws the feature maps of an image, for each layer those that vary most.

    Each layer has its own scale: white is 0, red positive, blue negative.

    Args:
      image: `(h, w, C) uint8`.
      maps: `(h, w, N) float32` by the layer's name.
      columns: Maps per layer.
    """
    figure = Figure(
        figsize=(1.0 * (columns + 1), (0.12 + image_ratio(image)) * len(maps)),
        layout="constrained",
        dpi=_DPI,
    )
    grid = figure.subplots(len(maps), columns + 1, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    show_image(grid[0, 0], image / np.float32(255))
    grid[0, 0].set_title("image", fontsize=9)
    for row, (name, layer) in zip(grid, maps.items(), strict=True):
        strongest, largest = strongest_maps(layer, columns)
        largest = largest or 1.0
        for axes, place in zip(row[1:], strongest, strict=False):
            axes.imshow(layer[..., place], cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.set_title(f"{name}, {place}", fontsize=8)
    return figure
