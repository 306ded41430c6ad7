"""The colors of figures and pages, on a light ground and on a dark one."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import matplotlib
from matplotlib import rcsetup
from matplotlib.figure import Figure

from alexnet_jax.reporting.files import to_png


class Theme(NamedTuple):
    """Colors that are read on one ground.

    Attributes:
      ground: Of the page.
      ink: Of text; 7:1 and more against the ground.
      muted: Of captions; 4.5:1 and more.
      rule: Of lines between rows.
      link: Of links; 4.5:1 and more.
      correct: Of what is right; likewise.
      wrong: Of what is wrong; likewise.
      note: The ground of a warning.
      heat: Of the fullest cell of a confusion matrix, under ink: red, green, blue.
      lines: Of curves, told apart by people who are color-blind; 3:1 and more.
    """

    ground: str
    ink: str
    muted: str
    rule: str
    link: str
    correct: str
    wrong: str
    note: str
    heat: str
    lines: tuple[str, ...]


# The first hues are those of Okabe and Ito 2008, darker or lighter for their ground.
LIGHT = Theme(
    ground="#ffffff",
    ink="#1d1d1f",
    muted="#55555c",
    rule="#dcdce1",
    link="#0059b3",
    correct="#1a6b2f",
    wrong="#b3261e",
    note="#fff4d6",
    heat="86 180 233",
    lines=("#0072b2", "#c44e00", "#00805e", "#a3478a")
    + ("#7a6200", "#1d1d1f", "#5b4bc4", "#77777d"),
)
DARK = Theme(
    ground="#16171a",
    ink="#ececee",
    muted="#a9a9b1",
    rule="#393a40",
    link="#7cb8ff",
    correct="#7ddb93",
    wrong="#ff958c",
    note="#3a2f10",
    heat="0 100 160",
    lines=("#56b4e9", "#ff8f4d", "#2fc79a", "#e58fc4")
    + ("#f0e442", "#f0f0f2", "#a79bff", "#9a9aa2"),
)


def css_colors(theme: Theme) -> str:
    """Returns a theme as properties of CSS: `--ink: #1d1d1f; ... --line-0: ...`."""
    named = {name: value for name, value in theme._asdict().items() if name != "lines"}
    named |= {f"line-{i}": color for i, color in enumerate(theme.lines)}
    return " ".join(f"--{name}: {value};" for name, value in named.items())


@contextlib.contextmanager
def drawn_in(theme: Theme) -> Iterator[None]:
    """Figures that are drawn and written in this context have a theme's colors."""
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color")
        + ("ytick.color", "grid.color"),
        theme.ink,
    )
    clear = dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none")
    options: Any = {
        **ink,
        **clear,
        "legend.facecolor": theme.ground,
        "legend.edgecolor": theme.rule,
        "savefig.facecolor": "none",
        "axes.prop_cycle": rcsetup.cycler(color=theme.lines),
    }
    with matplotlib.rc_context(options):
        yield


@contextlib.contextmanager
def on_paper() -> Iterator[None]:
    """As `drawn_in` the light theme, on a ground of its own: for files."""
    white: Any = dict.fromkeys(("figure.facecolor", "savefig.facecolor"), LIGHT.ground)
    with drawn_in(LIGHT), matplotlib.rc_context(white):
        yield


def in_both(draw: Callable[[], Figure]) -> tuple[bytes, bytes]:
    """Returns a figure as PNG files without a ground, for a light and a dark page."""
    found = []
    for theme in (LIGHT, DARK):
        with drawn_in(theme):
            found.append(to_png(draw()))
    return found[0], found[1]
