"""How far long work has come: a row on standard error, if that is a terminal."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from alexnet_jax.terminal import signals

Item = TypeVar("Item")
_EVERY_S = 0.5  # between two drawings; shorter work shows nothing
_TURN_S = 0.1
_ERASE = "\r\x1b[2K"
_MIN_BAR = 8  # columns; where there is no room for it, the words alone are shown
_lock = threading.RLock()  # a spinner's thread draws, too
_drawn: list["Bar"] = []  # those that are to be seen, of which the last one is


class Bar:
    """A bar, which is gone at its end; what is printed meanwhile stands above it.

    It is drawn by `update` alone, so that there is no thread, and costs nothing where
    standard error is no terminal. Of several the one that was begun last is seen.
    """

    def __init__(self, total: int | None, unit: str, done: int = 0) -> None:
        """Draws nothing yet.

        Args:
          total: Units until the end; None for a spinner and the seconds since now.
          unit: What is counted, in the plural; what the spinner says.
          done: Units that are done already.
        """
        self._progress: Any = _create(total) if _is_terminal(sys.stderr) else None
        self._drawn, self._streams = time.perf_counter(), dict[str, Any]()
        if self._progress:
            self._task = self._progress.add_task(
                "", total=total, completed=done, unit=unit, numbers=()
            )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def is_due(self) -> bool:
        """Whether the next `update` draws, for which numbers may have to be fetched."""
        waited = time.perf_counter() - self._drawn
        return self._progress is not None and waited >= _EVERY_S

    def update(self, done: int, label: str = "", numbers: Sequence[str] = ()) -> None:
        """Moves the bar.

        Args:
          done: Units that are done.
          label: Stands before the bar.
          numbers: Stand after it, as many as there is room for.
        """
        if self._progress:
            texts: Any = {"description": label, "numbers": numbers}
            self._progress.update(self._task, completed=done, **texts)
            if self.is_due():
                self.draw()

    def advance(self, units: int = 1) -> None:
        """Moves the bar by so many units."""
        if self._progress:
            self.update(int(self._progress.tasks[0].completed) + units)

    def draw(self) -> None:
        """Draws the bar now."""
        with _lock:
            if not self._progress or self in _drawn[:-1]:
                return
            self._drawn = time.perf_counter()
            if self not in _drawn:
                for other in _drawn:
                    other._clear()
                _drawn.append(self)
                self._stand_below()
            with contextlib.suppress(OSError, ValueError):  # the terminal is gone
                signals.erase = _ERASE
                shown = self._progress.live.is_started
                (self._progress.refresh if shown else self._progress.start)()

    def _stand_below(self) -> None:
        """Has what is printed from now on stand above the bar."""
        for name in ("stdout", "stderr"):
            if (stream := getattr(sys, name)) is not None:
                self._streams[name] = stream
                setattr(sys, name, _Above(stream, self._clear))

    def close(self) -> None:
        """Removes the bar."""
        with _lock:
            self._clear()
            if self in _drawn:
                _drawn.remove(self)
            for name, stream in self._streams.items():
                if type(getattr(sys, name)) is _Above:
                    setattr(sys, name, stream)
            self._streams = {}

    def _clear(self) -> None:
        """Makes room for a line; the next drawing is below it."""
        with _lock:
            if self._streams and self._progress.live.is_started:
                with contextlib.suppress(OSError, ValueError):
                    self._progress.stop()
                signals.erase = ""


def track(
    items: Iterable[Item], total: int, unit: str, first: str = ""
) -> Iterator[Item]:
    """Yields the items, with a bar.

    Args:
      items: What is worked on, one by one.
      total: How many they are.
      unit: What they are, in the plural.
      first: What is done for the first besides, which takes long: "compiling".
    """
    with Bar(total, unit) as bar, contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(spinner(first))
        for item in items:
            yield item
            stack.close()
            bar.advance()


@contextlib.contextmanager
def spinner(text: str) -> Iterator[None]:
    """Shows, while the context lasts, what is being done, and for how many seconds.

    A thread draws it, which has ended when the context has.
    """
    bar, ended = Bar(None, text), threading.Event()

    def turn() -> None:
        time_s = _EVERY_S
        while not ended.wait(time_s):
            bar.draw()
            time_s = _TURN_S

    thread = threading.Thread(target=turn, daemon=True)
    if bar._progress:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if bar._progress:
            thread.join()
        bar.close()


class _Above:
    """A stream that removes a bar before it is written to."""

    def __init__(self, stream: Any, clear: Callable[[], None]) -> None:
        self._stream, self._clear = stream, clear

    def write(self, text: str) -> int:
        self._clear()
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_terminal(stream: Any) -> bool:
    if stream is None or os.environ.get("TERM") in ("dumb", "unknown"):
        return False
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def _create(total: int | None) -> Any:
    from rich import progress  # late: most commands show no bar
    from rich.console import Console
    from rich.table import Column

    class Plain(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False  # a process that is killed would leave none

    column = Column(no_wrap=True, overflow="crop")
    console = Plain(file=sys.stderr, force_terminal=True, force_jupyter=False)
    columns: tuple[progress.ProgressColumn, ...] = (
        progress.SpinnerColumn("line"),
        progress.TextColumn("{task.fields[unit]}", table_column=column),
        progress.TimeElapsedColumn(table_column=column),
    )
    if total is not None:
        columns = (_row(console),)
    return progress.Progress(
        *columns,
        console=console,
        auto_refresh=False,
        speed_estimate_period=600,  # seconds: of steps that take half a minute, too
        transient=True,
        redirect_stdout=False,  # rich's would break lines and let escapes through
        redirect_stderr=False,
        expand=total is not None,
    )


def _row(console: Any) -> Any:
    """Returns the column that is all of a bar's row: what the terminal has room for."""
    from rich import progress
    from rich.table import Column, Table
    from rich.text import Text

    remaining = progress.TimeRemainingColumn()

    class Row(progress.ProgressColumn):
        def render(self, task: Any) -> Table:
            count = f"{task.completed:,}/{task.total:,} {task.fields['unit']}"
            left = Text.assemble(remaining.render(task), " left")
            numbers = ", ".join(task.fields["numbers"])
            # As they stand in the row; the first of these is the last to be left out.
            parts = [Text(task.description), Text(count), left]
            order = [part for part in (parts[0], left, parts[1]) if part.plain]
            found: list[Text] = []
            room = console.width
            for part in order:
                if part.cell_len + 1 <= room or not found:
                    found.append(part)
                    room -= part.cell_len + 1
            shown = [part for part in parts if part in found]
            for text in (numbers, *task.fields["numbers"][:1]):
                if text and len(text) <= room:
                    shown.append(Text(text))
                    room -= len(text) + 1
                    break
            grid = Table.grid(padding=(0, 1, 0, 0))
            cells: list[Any] = [*shown]
            if room > _MIN_BAR:
                bar = progress.BarColumn(bar_width=room - 1)
                cells.insert(1 if parts[0].plain else 0, bar.render(task))
            for _ in cells:
                grid.add_column(no_wrap=True, overflow="crop")
            grid.add_row(*cells)
            return grid

    return Row(table_column=Column(no_wrap=True, ratio=1))
