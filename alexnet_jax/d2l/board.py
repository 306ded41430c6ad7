"""Curves that grow while a network trains, in a notebook; a picture, in a script."""

import os
from operator import mul
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.atomic import atomic_write, is_made_by

MAKER = "alexnet_jax.d2l"

_STYLES = ("-", "--", "-.", ":")
_COLORS = ("C0", "C1", "C2", "C3")


def in_notebook() -> bool:
    """Whether pictures can be shown where the code runs."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


class ProgressBoard:
    """Curves by label, as d2l's of the same name.

    Attributes:
      data: `{label: [(x, y), ...]}`, the points drawn.
      display: Whether the curves are shown as they grow; only a notebook can.
      weight: What the points to come count in the mean of several: the examples of a
        batch, so that a smaller last batch counts less.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        xlim: tuple[float, float] | None = None,
        ylim: tuple[float, float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        ls: tuple[str, ...] = _STYLES,
        colors: tuple[str, ...] = _COLORS,
        fig: Figure | None = None,
        axes: Axes | None = None,
        figsize: tuple[float, float] = (3.5, 2.5),
        display: bool = True,
    ) -> None:
        """Starts without a curve; the arguments are matplotlib's.

        With `axes`, or the current ones of `fig`, all curves are drawn there.
        """
        self.xlabel, self.ylabel = xlabel, ylabel
        self.xlim, self.ylim = xlim, ylim
        self.xscale, self.yscale = xscale, yscale
        self.ls, self.colors = ls, colors
        self.fig, self.axes = fig, axes
        self.figsize = figsize
        self.display = display and in_notebook()
        self.data: dict[str, list[tuple[float, float]]] = {}
        self.weight = 1.0
        self._waiting: dict[str, list[tuple[float, float, float]]] = {}

    def begin(self, xlim: tuple[float, float]) -> None:
        """Begins a fit: a value that waits for others is of none that come now.

        Args:
          xlim: The first and the last epoch.
        """
        self.xlim = xlim
        self._waiting.clear()

    def draw(self, x: float, y: float, label: str, every_n: int = 1) -> None:
        """Adds a point: the mean of every `every_n` that came under a label."""
        waiting = self._waiting.setdefault(label, [])
        waiting.append((float(x), float(y), float(self.weight)))
        curve = self.data.setdefault(label, [])
        if len(waiting) < every_n:
            return
        xs, ys, weights = zip(*waiting, strict=True)
        mean = sum(map(mul, ys, weights)) / sum(weights)
        curve.append((sum(xs) / len(xs), mean))
        waiting.clear()
        if self.display:
            self.show()

    @matplotlib.rc_context({"text.parse_math": False})  # a label may hold a dollar sign
    def figure(self) -> Figure:
        """Returns the picture of all curves."""
        axes = self._empty_axes()
        for index, (label, points) in enumerate(self.data.items()):
            style = self.ls[index % len(self.ls)]
            color = self.colors[index % len(self.colors)]
            xs, ys = zip(*points, strict=True) if points else ((), ())
            axes.plot(
                *(xs, ys),
                linestyle=style,
                color=color,
                label=label,
                marker="o",  # a single point would not be seen
                markersize=3,
            )
        settings: dict[str, Any] = {
            "xlabel": self.xlabel,
            "ylabel": self.ylabel,
            "xlim": self.xlim,
            "ylim": self.ylim,
            "xscale": self.xscale,
            "yscale": self.yscale,
        }
        axes.set(**{name: value for name, value in settings.items() if value})
        if self.data:
            axes.legend()
        figure = axes.get_figure(root=True)
        assert figure is not None  # axes are always in one
        return figure

    def _empty_axes(self) -> Axes:
        if self.axes is not None:
            axes = self.axes
        elif self.fig is not None:
            axes = self.fig.gca()
        else:
            figure = Figure(figsize=self.figsize, layout="constrained", dpi=120)
            axes = figure.subplots()
        axes.clear()
        return axes

    def show(self) -> None:
        """Replaces what the notebook's cell shows."""
        from IPython import display

        display.clear_output(wait=True)
        display.display(self.figure())

    def save(self, path: str | Path) -> None:
        """Writes the picture; the suffix says as what, a PNG without one."""
        kind = Path(path).suffix.removeprefix(".") or "png"
        named = {"Software": MAKER} if kind == "png" else None
        with atomic_write(Path(path)) as part:
            self.figure().savefig(part, format=kind, metadata=named)


def save_curves(board: ProgressBoard, name: str) -> Path | None:
    """Saves a script's curves where it runs; says where, or why it cannot.

    Args:
      board: The curves.
      name: Of the picture, without `.png`. A number is put behind it, if a picture of
        that name is there that is not of earlier curves.

    Returns:
      The picture; None if it cannot be written. No training is lost by that.
    """
    path, number = Path(f"{name}.png"), 1
    while os.path.lexists(path) and not is_made_by(path, MAKER):
        number += 1
        path = Path(f"{name}-{number}.png")
    try:
        board.save(path)
    except OSError as error:
        print(f"curves    {path} cannot be written: {error.strerror or error}")
        return None
    print(f"curves    {path}")
    return path
