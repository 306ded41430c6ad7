"""Ctrl-C and SIGTERM: the step ends, the run is saved, then the process exits."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(Exception):
    """A signal stopped the run, which was saved first.

    Attributes:
      number: The signal's.
      step: The step that was saved.
    """

    def __init__(self, number: int, step: int) -> None:
        """Keeps both."""
        super().__init__(f"{signal.Signals(number).name} at step {step}, saved")
        self.number = number
        self.step = step


class StopSignal:
    """Whether SIGINT or SIGTERM came.

    Attributes:
      received: The signal's number, None until one comes.
    """

    received: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Notes the signal; a second one does not wait for the step."""
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number


@contextlib.contextmanager
def noted_signals() -> Iterator[StopSignal]:
    """Keeps SIGINT and SIGTERM from ending the process while the context lasts."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python handles signals in the main thread only
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop.note) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
