"""Tables that are no wider than the terminal: one way for every command.

Whoever makes a table says which columns can be missed, in the order in which they are
left out, and which cells may be cut. In a file or a pipe a table is whole.
"""

import io
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from rich import box, table
from rich.cells import cell_len
from rich.console import Console

from alexnet_jax.terminal.text import terminal_width

_GAP = 2  # columns of the terminal between two of a table that fits narrowly
_LEAST = 4  # columns that a cell is never cut below
_IN_A_PIPE = "piped to less -S"


class Table(table.Table):
    """A table whose rows are never broken into two lines.

    Attributes:
      optional: Headings, in the order in which their columns are left out.
      last: Likewise those that are left out where it does not help to cut cells.
      least: By heading of a column that may be cut: what it keeps at least, while
        there are columns that can be left out instead.
      names: Headings of those that are cut in the middle, as names are; others lose
        their end.
    """

    def __init__(
        self,
        *headings: str,
        numbers: Sequence[str] = (),
        optional: Sequence[str] = (),
        last: Sequence[str] = (),
        names: Mapping[str, int] | None = None,
        texts: Mapping[str, int] | None = None,
        ruled: bool = True,
    ) -> None:
        """Makes an empty table.

        Args:
          headings: Of the columns; one may stand for several, which go together.
          numbers: Those of right-aligned columns, which are never cut.
          optional: Those that can be missed, the least important first.
          last: Those that are missed rather than that all others' cells are cut to
            nothing.
          names: Those of names, with the columns of the terminal that they keep.
          texts: Likewise those of text.
          ruled: Whether a line is drawn below the headings.
        """
        style: Any = {"box": box.SIMPLE_HEAD} if ruled else {"box": None}
        style |= {"padding": (0, 1) if ruled else (0, _GAP, 0, 0)}
        super().__init__(show_edge=False, pad_edge=False, **style)
        self.optional, self.last = tuple(optional), tuple(last)
        self.names = frozenset(names or ())
        self.least = {**(names or {}), **(texts or {})}
        self.ruled = ruled
        for heading in headings:
            justify: Any = "right" if heading in numbers else "left"
            self.add_column(heading, justify=justify, no_wrap=True)

    @property
    def headings(self) -> list[str]:
        """The headings of all columns."""
        return [str(column.header) for column in self.columns]


class Fitted(NamedTuple):
    """A table as a terminal has room for it.

    Attributes:
      table: To be printed.
      width: Its columns of the terminal.
      full_width: Those of the whole table.
      omitted: Headings of the columns that are left out.
      cut: Headings of the columns with cells that are cut.
    """

    table: table.Table
    width: int
    full_width: int
    omitted: list[str]
    cut: list[str]

    def note(self, full: str) -> str:
        """Returns which columns are not there in full, and where they are; or nothing.

        Args:
          full: Where the whole table is had besides, such as "with --json".
        """
        parts = [
            f"{what}: {', '.join(filter(None, dict.fromkeys(found)))}"
            for what, found in (("not shown", self.omitted), ("cut", self.cut))
            if found
        ]
        where = f"in full at {self.full_width} columns, or {full}"
        return "; ".join([*parts, where]) if parts else ""


def fit(made: Table, width: int | None) -> Fitted:
    """Fits a table into a width.

    Columns are put closer together first, then left out as `optional` says. If no cell
    needs to be cut then, none is; else as few columns are left out as cells, cut to
    what they keep at least, leave room for. Numbers are not cut: where they do not fit,
    the table is wider.

    Args:
      made: The whole table; left as it is.
      width: Columns of the terminal; None for as many as it takes.
    """
    headings = made.headings
    cells = [[str(cell) for cell in column.cells] for column in made.columns]
    full = [
        max(map(cell_len, (heading, *column)))
        for heading, column in zip(headings, cells, strict=True)
    ]
    gap = 3 if made.ruled else _GAP
    full_width = _width(full, gap)
    if width is None or full_width <= width:
        return Fitted(made, full_width, full_width, [], [])
    least = [
        min(made.least.get(heading, length), length)
        for heading, length in zip(headings, full, strict=True)
    ]
    kept = _kept(made, full, made.optional, width)
    kept = kept or _kept(made, least, (*made.optional, *made.last), width)
    if kept is None:
        omitted = {*made.optional, *made.last}
        kept = [place for place in range(len(full)) if headings[place] not in omitted]
    rigid = {place for place in kept if headings[place] not in made.least}
    limits = _limits(
        [full[place] for place in kept],
        [least[place] for place in kept],
        [
            min(_LEAST, full[place]) if place not in rigid else full[place]
            for place in kept
        ],
        width,
    )
    fitted = Table(ruled=made.ruled)
    fitted.padding = (0, 1 if made.ruled else _GAP, 0, 0)
    columns = []
    for place, limit in zip(kept, limits, strict=True):
        heading, column = headings[place], made.columns[place]
        shown = shorten(heading, limit)
        fitted.add_column(shown, justify=column.justify, no_wrap=True)
        in_middle = heading in made.names
        columns.append(
            [shorten(cell, limit, in_middle=in_middle) for cell in cells[place]]
        )
    for row, line in zip(made.rows, zip(*columns, strict=True), strict=True):
        fitted.add_row(*line, style=row.style, end_section=row.end_section)
    widths = [
        max(map(cell_len, (heading, *column)))
        for heading, column in zip(fitted.headings, columns, strict=True)
    ]
    return Fitted(
        fitted,
        _width(widths, _GAP),
        full_width,
        [heading for place, heading in enumerate(headings) if place not in kept],
        [headings[i] for i, one in zip(kept, columns, strict=True) if one != cells[i]],
    )


def _width(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * max(0, len(widths) - 1)


def _kept(
    made: Table, widths: Sequence[int], order: Sequence[str], width: int
) -> list[int] | None:
    """Returns the columns that fit if as few as possible are left out, in an order."""
    headings = made.headings
    kept = [*range(len(widths))]
    for heading in (None, *order):
        kept = [place for place in kept if headings[place] != heading]
        if _width([widths[place] for place in kept], _GAP) <= width:
            return kept
    return None


def _limits(
    full: Sequence[int], least: Sequence[int], lowest: Sequence[int], width: int
) -> list[int]:
    """Returns what each column's cells are cut to, so that all fit in a width.

    No column is cut that is narrower than the widest that is, nor below its least,
    where there is room for that.
    """
    for bottoms in (least, lowest):
        for level in range(width, 0, -1):
            found = [
                min(one, max(level, bottom))
                for one, bottom in zip(full, bottoms, strict=True)
            ]
            if _width(found, _GAP) <= width:
                return found
    return [*lowest]


def shorten(text: str, width: int, *, in_middle: bool = True) -> str:
    """Returns a text of no more than some columns of the terminal.

    Args:
      text: Letters may be of two columns, as Chinese ones are.
      width: The columns, at least 1.
      in_middle: Whether the text is cut in its middle, not at its end.

    Example:
      >>> shorten("alexnet_one_weird_trick", 11), shorten("a long text", 7)
      ('alexn…trick', 'a l…ext')
    """
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2 if in_middle else 0
    end = _prefix(text[::-1], tail)[::-1]
    return f"{_prefix(text, width - 1 - tail).rstrip()}…{end.lstrip()}"


def _prefix(text: str, width: int) -> str:
    """Returns the longest beginning of a text that has so many columns."""
    found = 0
    for place, letter in enumerate(text):
        found += cell_len(letter)
        if found > width:
            return text[:place]
    return text


class _Console(Console):
    """A console that leaves a closed pipe to the command, where Rich would exit."""

    def on_broken_pipe(self) -> None:
        raise  # what is being handled


def _print(fitted: Fitted, file: IO[str] | None) -> None:
    """Prints a table; into a file as plain text, in a notebook, too."""
    plain: Any = {"highlight": False, "markup": False, "emoji": False}
    plain |= {"force_jupyter": False, "force_terminal": False if file else None}
    _Console(file=file, width=max(1, fitted.width), **plain).print(fitted.table)


def print_table(made: Table, full: str = _IN_A_PIPE) -> None:
    """Prints a table on standard output, and in a line below what is not shown.

    Args:
      made: The table.
      full: Where the whole table is had besides, such as "with --json".
    """
    width = terminal_width()
    fitted = fit(made, width)
    _print(fitted, None)
    if note := fitted.note(full):
        print(wrap(note, width))


def table_lines(
    made: Table, width: int | None = None, full: str = _IN_A_PIPE
) -> Iterator[str]:
    """Yields the lines that `print_table` prints, without colors.

    Args:
      made: The table.
      width: Columns of the terminal; None for as many as it takes.
      full: As `print_table` takes it.
    """
    fitted, file = fit(made, width), io.StringIO()
    _print(fitted, file)
    yield from (line.rstrip() for line in file.getvalue().splitlines())
    if note := fitted.note(full):
        yield from wrap(note, width).splitlines()


def wrap(text: str, width: int | None) -> str:
    """Returns a sentence in lines of no more than some columns; None leaves it."""
    if width is None or cell_len(text) <= width:
        return text
    return textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)


def print_lines(lines: Iterable[str]) -> None:
    """Prints sentences below a table, in lines that the terminal has room for."""
    for line in lines:
        print(wrap(line, terminal_width()))
