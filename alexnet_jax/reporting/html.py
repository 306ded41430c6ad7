"""A self-contained page of HTML."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from rich.table import Table

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>{title}</title>
<link rel="icon" href="data:,"/>
<style>
body {{ color: #1d1d1f; background: #fff; margin: 0 auto; max-width: 70rem;
  padding: 1rem; font: 1rem/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }}
h1, h2, h3 {{ line-height: 1.2; margin: 2rem 0 .5rem; }}
h1 {{ margin-top: 1rem; }}
h2 {{ border-bottom: 1px solid #d0d0d5; padding-bottom: .3rem; }}
figure {{ margin: 1rem 0; }}
figure img {{ max-width: 100%; height: auto; display: block; }}
figcaption, caption {{ color: #55555c; font-size: .9rem; text-align: left; }}
.wide {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; font-size: .9rem; }}
caption {{ padding-bottom: .3rem; }}
th, td {{ padding: .2rem .9rem .2rem 0; text-align: left; white-space: nowrap; }}
th {{ border-bottom: 1px solid #8e8e93; }}
td {{ border-bottom: 1px solid #ececf0; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.note {{ background: #fff6db; border-left: 4px solid #c98a00; padding: .4rem .8rem; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


class Image(NamedTuple):
    """An image of a page.

    Attributes:
      name: The name of its PNG file, without the ending.
      png: The file's bytes.
      alt: The alternative text.
      caption: The text below it.
    """

    name: str
    png: bytes
    alt: str
    caption: str

    def to_html(self) -> str:
        """Returns a figure that embeds the image."""
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        return (
            f'<figure><img src="{source}" alt="{escape(self.alt)}"/>'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def heading(level: int, text: str) -> str:
    """Returns a heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, is_note: bool = False) -> str:
    """Returns a paragraph; a note is highlighted."""
    kind = ' class="note"' if is_note else ""
    return f"<p{kind}>{escape(text)}</p>"


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
) -> str:
    """Returns a table, which scrolls sideways by itself on a narrow screen.

    Args:
      caption: The text above it.
      columns: The headings of the columns.
      rows: The cells of each row, one per column.
      numbers: Indices of the columns that are right-aligned.
    """
    right = set(numbers)

    def line(kind: str, cells: Sequence[str]) -> str:
        scope = ' scope="col"' if kind == "th" else ""
        marked = (' class="number"' if i in right else "" for i in range(len(cells)))
        made = (
            f"<{kind}{scope}{mark}>{escape(cell)}</{kind}>"
            for mark, cell in zip(marked, cells, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>\n'
        f"<thead>{line('th', columns)}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def terminal_table(caption: str, made: Table) -> str:
    """Returns the HTML of a table that was laid out for the terminal."""
    cells = [[str(cell) for cell in column.cells] for column in made.columns]
    numbers = [i for i, one in enumerate(made.columns) if one.justify == "right"]
    columns = [str(column.header) for column in made.columns]
    return table(caption, columns, list(zip(*cells, strict=True)), numbers)


def document(title: str, blocks: Iterable[str]) -> str:
    """Returns the page; bytes of file names that are no UTF-8 are shown escaped."""
    page = _PAGE.format(title=escape(title), body="\n".join(blocks))
    return page.encode(errors="backslashreplace").decode()
