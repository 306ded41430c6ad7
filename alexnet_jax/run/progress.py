"""Progress on the terminal: the speed, and a line per epoch."""

import time
from typing import NamedTuple

from alexnet_jax.metrics import shown_metrics
from alexnet_jax.run.records import Row


class Mark(NamedTuple):
    """A moment of a meter: images and seconds up to it."""

    images: int
    seconds: float


class Meter:
    """Counts images and seconds of training; pauses while something else runs."""

    def __init__(self) -> None:
        """Starts the clock."""
        self._images = 0
        self._seconds = 0.0
        self._since: float | None = time.perf_counter()

    def add(self, images: int) -> None:
        """Counts the images of a step."""
        self._images += images

    def pause(self) -> None:
        """Stops the clock."""
        self._seconds = self.mark().seconds
        self._since = None

    def resume(self) -> None:
        """Starts the clock again, unless it runs."""
        if self._since is None:
            self._since = time.perf_counter()

    def mark(self) -> Mark:
        """Returns this moment."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return Mark(self._images, self._seconds + running)

    def images_per_s(self, since: Mark) -> float:
        """Returns the speed between a moment and now."""
        now = self.mark()
        seconds = now.seconds - since.seconds
        return (now.images - since.images) / seconds if seconds else 0.0


def epoch_line(row: Row, num_epochs: int, num_classes: int) -> str:
    """Formats a row of the metrics for reading.

    Args:
      row: Of an epoch.
      num_epochs: Length of the run.
      num_classes: Classes of the network.
    """
    whole = row["epoch"] == int(row["epoch"])
    epoch = f"{row['epoch']:.0f}" if whole else f"{row['epoch']:.2f}"
    parts = [
        f"epoch {epoch:>{len(str(num_epochs))}}/{num_epochs}",
        f"train loss {row['train/loss']:.4f} top-1 {row['train/top1']:.4f}",
    ]
    if shown := shown_metrics(row, num_classes):
        parts.append(f"test {' '.join(f'{k} {v}' for k, v in shown.items())}")
    parts.append(f"{row['images_per_s']:,.0f} images/s")
    return " | ".join(parts)
