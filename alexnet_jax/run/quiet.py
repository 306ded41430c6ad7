"""A failed write is told once: what the writers' threads say besides is dropped."""

import logging
import sys
from collections.abc import Callable
from typing import Any

_WRITERS = ("orbax", "tensorstore")
_LATE = "Event loop is closed"


def silence_writers() -> None:
    """Keeps the tracebacks of Orbax's and TensorStore's threads from the terminal.

    Each of their errors is raised in the thread that waits for them, too. Some are said
    later, when a task is collected, so that this lasts; a second call does nothing.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_no_writers)
    if not isinstance(sys.unraisablehook, _WithoutLateCallbacks):
        sys.unraisablehook = _WithoutLateCallbacks(sys.unraisablehook)


def _is_no_writers(record: logging.LogRecord) -> bool:
    text = record.pathname + record.getMessage()
    return not any(name in text for name in _WRITERS)


class _WithoutLateCallbacks:
    """A `sys.unraisablehook` that drops what TensorStore has to say to a loop.

    Orbax closes its event loop at the first array that cannot be written; the others'
    end is then told to a loop that is gone.
    """

    def __init__(self, hook: Callable[[Any], object]) -> None:
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == _LATE):
            self._hook(unraisable)
