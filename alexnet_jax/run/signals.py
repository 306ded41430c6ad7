"""Ctrl-C, SIGTERM, SIGHUP: the step ends, the run is saved, then the process exits."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from alexnet_jax.terminal.signals import Ended, ending_signals


class Stopped(Exception):
    """A signal stopped the run, which was saved first.

    Attributes:
      number: The signal's.
      step: The step that was saved.
      state: What the run had learned.
    """

    def __init__(self, number: int, step: int, place: str, state: Any) -> None:
        """Keeps them, and says where in the run the step is.

        Args:
          number: The signal's.
          step: The step that was saved.
          place: As `rows.step_text` says it.
          state: The `TrainState` after the step.
        """
        super().__init__(f"{signal.Signals(number).name} at {place}, saved")
        self.number = number
        self.step = step
        self.state = state


class StopSignal:
    """Whether SIGINT, SIGTERM or SIGHUP came.

    Attributes:
      received: The signal's number, None until one comes.
    """

    received: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Notes the signal; a second one does not wait for the step."""
        if self.received is not None:
            raise Ended(number)
        self.received = number


@contextlib.contextmanager
def noted_signals() -> Iterator[StopSignal]:
    """Keeps these signals from ending the process while the context lasts."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python handles signals in the main thread only
        return
    numbers = ending_signals()
    previous = [signal.signal(number, stop.note) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
