"""Signals that end a command: one line and the shell's status, at any moment."""

import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

# What they are called where they end a command.
WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}
# So long a command may clean up, or a library swallow the exception.
_PATIENCE_S = 3.0
# What removes the bar that is shown now, if one is, before such an end's line.
erase = ""
# What is removed at such an end: temporary folders.
folders: set[str] = set()


class Ended(KeyboardInterrupt):
    """A signal ends the command.

    It is a `KeyboardInterrupt`, so that libraries let it pass.

    Attributes:
      number: The signal's.
    """

    def __init__(self, number: int) -> None:
        """Keeps it."""
        super().__init__(WORDS[signal.Signals(number)])
        self.number = number


def ending_signals() -> list[signal.Signals]:
    """Returns the signals that end a command: not SIGHUP under `nohup`."""
    hup = signal.SIGHUP
    return [n for n in WORDS if n != hup or signal.getsignal(n) != signal.SIG_IGN]


def end_at_once() -> None:
    """Lets signals end this process from now on, wherever it is, in one line.

    For the time before and after a command's own work, when there is nothing to clean
    up: in an import, an exception could be swallowed.
    """
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        _die_if_forked(process, number)
        _leave(number)

    for number in ending_signals():
        signal.signal(number, end)


@contextlib.contextmanager
def raised_signals(hint: str = "") -> Iterator[None]:
    """Raises `Ended` where a signal comes while the context lasts.

    A second signal ends the process at once, as does the first within an import, or if
    nothing has come of its exception after some seconds.

    Args:
      hint: What the line of such an end says besides.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    process = os.getpid()
    watch: threading.Timer | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal watch
        _die_if_forked(process, number)
        if watch is not None or _is_importing(frame):
            _leave(number, hint)
        watch = threading.Timer(_PATIENCE_S, _leave, (number, hint))
        watch.daemon = True
        watch.start()
        raise Ended(number)

    def unraisable(found: Any) -> None:
        """Takes exceptions that Python cannot raise, as in a destructor."""
        if isinstance(found.exc_value, Ended):
            _leave(found.exc_value.number, hint)
        told(found)

    told, sys.unraisablehook = sys.unraisablehook, unraisable
    previous = {number: signal.signal(number, note) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if sys.unraisablehook is unraisable:
            sys.unraisablehook = told
        if watch is not None:
            watch.cancel()


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Handles signals that come while the context lasts as it ends.

    For short work that must not be broken off, and for libraries that call Python and
    crash where it raises.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    came: list[int] = []
    previous: dict[int, Any] = {}
    try:
        for one in ending_signals():
            handler = signal.getsignal(one)
            if callable(handler):  # the system's own ends the process without Python
                previous[one] = handler
                signal.signal(one, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for number in came:
            previous[number](number, None)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: C extensions crash where that is broken off.

    Nothing needs to be cleaned up then; what writes has been imported before.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _die_if_forked(process: int, number: int) -> None:
    """Ends a forked child as a process ends that handles no signals."""
    if os.getpid() != process:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _leave(number: int, hint: str = "") -> NoReturn:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    line = f"{erase}error: {WORDS[signal.Signals(number)]}{hint}\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
    os._exit(128 + number)
