"""Standard output and error, which may be closed, full, or of few letters."""

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any

from alexnet_jax.terminal.text import LOOKALIKES, printable

# What progress bars move the cursor by.
_MOVES = re.compile("(\r|\x1b\\[A)")
# Of a pipe that nobody reads, and of a terminal that is gone.
_CLOSED = (errno.EPIPE, errno.EIO)


class _Lossy(io.FileIO):
    """A stream of the process; once it cannot be written, the rest is dropped.

    Attributes:
      tolerant: Whether nothing is raised even then.
    """

    def __init__(self, number: int, *, tolerant: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.tolerant = tolerant
        self._is_lost = False

    def write(self, data: Any, /) -> int:
        """Writes bytes, or drops them.

        Raises:
          BrokenPipeError: The reader is gone; the first time only.
          OSError: It cannot be written for another reason; the first time only.
        """
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                self._is_lost = True
                if not self.tolerant:
                    if error.errno in _CLOSED:
                        raise BrokenPipeError from error
                    text = error.strerror or str(error)
                    raise OSError(error.errno, text, "standard output") from error
        return memoryview(data).nbytes


class _Printable:
    """A stream that shows control characters escaped, whoever prints them."""

    def __init__(self, stream: IO[str], moves: bool) -> None:
        self._stream = stream
        self._moves = moves
        # Rich's name for the stream that styled text goes to.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        if not self._moves:
            return self._stream.write(printable(text, keep="\n"))
        parts = _MOVES.split(text)
        parts[::2] = [printable(part, keep="\n") for part in parts[::2]]
        return self._stream.write("".join(parts))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guards `sys.stdout` and `sys.stderr` while the context lasts.

    Control characters are shown escaped. Letters that the encoding lacks are replaced.
    A reader of standard output that is gone is a `BrokenPipeError`, once, unless within
    `output_may_be_lost`; standard error may always be lost.
    """
    before = sys.stdout, sys.stderr
    _open_closed_streams()
    out: Any = _Printable(_guard("stdout", tolerant=False), moves=False)
    error: Any = _Printable(_guard("stderr", tolerant=True), moves=True)
    sys.stdout, sys.stderr = out, error
    try:
        yield
    finally:
        error.flush()
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def output_may_be_lost() -> Iterator[None]:
    """Lets work go on silently, though nobody reads its output any more."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, _Lossy):
        yield
        return
    sys.stdout.flush()
    raw.tolerant = True
    try:
        yield
    finally:
        sys.stdout.flush()
        raw.tolerant = False


def _open_closed_streams() -> None:
    """Puts the null device where a stream was closed, as by `>&-`.

    Else the next file that is opened would be taken for it.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _guard(name: str, *, tolerant: bool) -> IO[str]:
    """Returns a stream of the process, guarded; any other one as it is."""
    stream: Any = getattr(sys, name)
    number = {"stdout": 1, "stderr": 2}[name]
    settings: dict[str, Any] = {"encoding": "utf-8"}
    is_buffered = True
    if stream is not None:
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)
        if type(raw) is not io.FileIO or raw.fileno() != number:
            return stream  # a test's, a notebook's
        stream.flush()
        is_buffered = raw is not buffer  # but for `python -u`
        settings = {
            "encoding": stream.encoding,
            "line_buffering": stream.line_buffering,
            "write_through": stream.write_through,
        }
    lossy: Any = _Lossy(number, tolerant=tolerant)
    buffer = io.BufferedWriter(lossy) if is_buffered else lossy
    return io.TextIOWrapper(buffer, errors=LOOKALIKES, **settings)
