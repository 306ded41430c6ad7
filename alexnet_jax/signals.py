"""Ctrl-C and SIGTERM: a step ends, the run is saved, then the process leaves."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


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
    """Notes SIGINT and SIGTERM while the context lasts.

    Attributes:
      received: The signal's number, None until one comes.
    """

    def __init__(self) -> None:
        """Listens to nothing yet."""
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Starts listening."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Gives the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        self.received = number
