"""How often the end of an epoch is saved, where epochs are seconds."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from alexnet_jax.parallel.multihost import is_primary, largest


class Interval:
    """Says whether the end of an epoch is saved: not too soon after the last time.

    The best epoch is saved at any time, so that it can be kept.
    """

    def __init__(
        self,
        seconds: float | None,
        best: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
          seconds: `checkpoint.every_seconds`; None saves every time.
          best: The best test accuracy that is saved; -1 of none.
          clock: Returns seconds.
        """
        self._seconds, self._best, self._clock = seconds, best, clock
        self._saved = clock()

    def due(self, row: Mapping[str, Any], named: bool = True) -> bool:
        """Whether to save; the primary decides, and every process must ask.

        Args:
          row: The metrics of the epoch, `test/top1` among them if it was evaluated.
          named: Whether `checkpoint.every_epochs` names the epoch; the best is saved
            where it does not.
        """
        if self._seconds is None:
            return named
        late = self._clock() - self._saved >= self._seconds
        best = "test/top1" in row and row["test/top1"] >= self._best
        return bool(largest(int(is_primary() and (late and named or best))))

    def saved(self, row: Mapping[str, Any]) -> None:
        """Notes that the state was saved, with these metrics."""
        self._saved = self._clock()
        self._best = max(self._best, row.get("test/top1", -1.0))
