"""A self-contained page of HTML: light and dark, for a desk, a phone and paper.

Every function returns HTML, and takes plain text; what is not text is named so. Text is
escaped, and so are its control characters, which no page may hold.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from rich.cells import cell_len
from rich.table import Table

from alexnet_jax.reporting.files import MAKER
from alexnet_jax.reporting.themes import DARK, LIGHT, css_colors
from alexnet_jax.terminal.text import printable

_LINE, _GAP = 115, 2  # letters across a desktop's page, and between two columns
# A file of its own, so that editors know it.
_STYLE = Path(__file__).with_name("page.css").read_text("utf-8")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta name="generator" content="{maker}"/>
<title>{title}</title>
<link rel="icon" href="data:,"/>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def text(content: object) -> str:
    """Returns text as HTML."""
    return escape(printable(content))


def name(content: object) -> str:
    """Returns a name of the user's, which may run from right to left, as HTML."""
    plain = text(content)
    return plain if plain.isascii() else f"<bdi>{plain}</bdi>"


class Heading(NamedTuple):
    """A heading, which the contents may link to.

    Attributes:
      level: From 1.
      text: As plain text.
      anchor: Its `id`, different for each; none for "".
    """

    level: int
    text: str
    anchor: str = ""

    def to_html(self) -> str:
        """Returns the heading."""
        anchor = f' id="{escape(self.anchor)}"' if self.anchor else ""
        return f"<h{self.level}{anchor}>{name(self.text)}</h{self.level}>"


def anchor_of(words: str) -> str:
    """Returns a heading's `id`: `most-confident-errors`."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def contents(headings: Sequence[Heading]) -> str:
    """Returns links to the headings of levels 2 and 3, those of 3 under their 2.

    Headings without an anchor are left out.
    """
    entries: list[tuple[Heading, list[Heading]]] = []
    for one in headings:
        if not one.anchor:
            continue
        if one.level == 2:
            entries.append((one, []))
        elif one.level == 3 and entries:
            entries[-1][1].append(one)

    def link(one: Heading) -> str:
        return f'<a href="#{escape(one.anchor)}">{name(one.text)}</a>'

    items = []
    for one, nested in entries:
        below = "".join(f"<li>{link(each)}</li>" for each in nested)
        if below:
            items.append(f'<li class="nested">{link(one)}<ul>{below}</ul></li>')
        else:
            items.append(f"<li>{link(one)}</li>")
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def paragraph(content: str, is_note: bool = False) -> str:
    """Returns a paragraph; a note is highlighted."""
    kind = ' class="note"' if is_note else ""
    return f"<p{kind}>{text(content)}</p>"


def command(line: str) -> str:
    """Returns a line for the shell, which one click selects."""
    # It breaks between words, not at the hyphens of a flag.
    words = " ".join(f"<span>{text(word)}</span>" for word in line.split(" "))
    return f"<pre><code>{words}</code></pre>"


def facts(pairs: Mapping[str, tuple[str, str]], main: str) -> str:
    """Returns names with their values: each a text, and a smaller one behind it.

    Args:
      pairs: By name.
      main: The name of the one that is large.
    """
    items = []
    for key, (value, more) in pairs.items():
        kind = ' class="main"' if key == main else ""
        small = f" <small>{text(more)}</small>" if more else ""
        items.append(
            f"<div{kind}><dt>{text(key)}</dt><dd>{name(value)}{small}</dd></div>"
        )
    return f'<dl class="facts">{"".join(items)}</dl>'


def image(png: bytes, alt: str, dark: bytes | None = None, kind: str = "") -> str:
    """Returns an embedded image.

    Args:
      png: The bytes of the file.
      alt: What it shows, in words.
      dark: Those of the file that is shown on a dark page; the same if not given.
      kind: A class of the style, such as `pixels`.
    """
    marked = f' class="{kind}"' if kind else ""
    found = f'<img{marked} src="{_data(png)}" alt="{text(alt)}"/>'
    if dark is None:
        return found
    # Not on paper, which is white.
    media = "screen and (prefers-color-scheme: dark)"
    source = f'<source srcset="{_data(dark)}" media="{media}"/>'
    return f"<picture>{source}{found}</picture>"


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def figure(html: str, caption: str = "", kind: str = "") -> str:
    """Returns a figure of HTML with a caption."""
    marked = f' class="{kind}"' if kind else ""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure{marked}>{html}{below}</figure>"


def block(kind: str, parts: Iterable[str]) -> str:
    """Returns parts of HTML in a box of a class of the style."""
    return f'<div class="{kind}">{"".join(parts)}</div>'


def details(summary: str | Heading, html: str, is_open: bool = False) -> str:
    """Returns HTML that a click shows and hides."""
    shown = ' open="open"' if is_open else ""
    said = summary.to_html() if isinstance(summary, Heading) else text(summary)
    return f"<details{shown}><summary>{said}</summary>{html}</details>"


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
) -> str:
    """Returns a table; of more than two columns, its rows are stacked on a phone.

    The first column's cells are their rows' headings. The roles are those that the
    elements have by themselves, and lose where they are stacked.

    Args:
      caption: The text above it.
      columns: The headings of the columns.
      rows: The cells of each row, one per column.
      numbers: Indices of the columns that are right-aligned.
    """
    right, rows = set(numbers), list(rows)
    kind = "stacked" if len(columns) > 2 else "pairs"
    whole = _are_short([columns, *rows])
    if whole:
        kind += " whole"

    def mark(i: int) -> str:
        return ' class="number"' if i in right else ""

    def cell_of(content: str) -> str:
        if whole:
            return name(content)
        # Keys and names break between their words, if they must.
        return re.sub(r"(?<=[a-z\d][._])(?=[a-z])", "<wbr/>", name(content))

    heads = "".join(
        f'<th scope="col" role="columnheader"{mark(i)}>{text(column)}</th>'
        for i, column in enumerate(columns)
    )
    lines = []
    for row in rows:
        first, *others = row
        cells = [f'<th scope="row" role="rowheader"{mark(0)}>{cell_of(first)}</th>']
        for i, cell in enumerate(others, 1):
            label = f' data-column="{text(columns[i])}"' if columns[i] else ""
            cells.append(f'<td role="cell"{mark(i)}{label}>{cell_of(cell)}</td>')
        lines.append(f'<tr role="row">{"".join(cells)}</tr>')
    body = "\n".join(lines)
    return (
        f'<table class="{kind}" role="table"><caption>{text(caption)}</caption>\n'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}\n</tbody></table>'
    )


def _are_short(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all columns fit a desktop's page without a break within a word."""
    widths = [
        max(map(cell_len, re.split(r"[\s-]", " ".join(column))))
        for column in zip(*rows, strict=True)
    ]
    return sum(widths) + _GAP * len(widths) <= _LINE


def terminal_table(caption: str, made: Table) -> str:
    """Returns the HTML of a table that was laid out for the terminal."""
    cells = [[str(cell) for cell in column.cells] for column in made.columns]
    numbers = [i for i, one in enumerate(made.columns) if one.justify == "right"]
    columns = [str(column.header) for column in made.columns]
    return table(caption, columns, list(zip(*cells, strict=True)), numbers)


def document(title: str, blocks: Iterable[str]) -> str:
    """Returns the page."""
    style = _STYLE.replace("/* light */", css_colors(LIGHT))
    style = style.replace("/* dark */", css_colors(DARK))
    return _PAGE.format(
        maker=MAKER, title=text(title), style=style, body="\n".join(blocks)
    )
