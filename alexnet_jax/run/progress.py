"""Progress on the terminal: the speed, and a line per epoch."""

import time
from typing import NamedTuple

from alexnet_jax.metrics import shown_metrics
from alexnet_jax.run.rows import Row, epoch_of, steps_per_epoch


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


def speed_text(images_per_s: float) -> str:
    """Returns a speed with two digits at least: `1,234 images/s`, `0.31 images/s`."""
    digits = f"{images_per_s:,.0f}" if images_per_s >= 10 else f"{images_per_s:.2g}"
    return f"{digits} images/s"


def epoch_line(
    row: Row, num_epochs: int, num_classes: int, width: int | None = None
) -> str:
    """Formats a row of the metrics for reading; the end of an epoch, or within one.

    Args:
      row: Of an epoch.
      num_epochs: Length of the run.
      num_classes: Classes of the network.
      width: Columns of the terminal: where it is narrow, the speed is left out, then
        the training top-1 and loss. None for a line that is whole.
    """
    epoch, at_its_end = epoch_of(row)
    place = f"epoch {epoch:>{len(str(num_epochs))}}/{num_epochs}"
    if not at_its_end:
        steps = steps_per_epoch(row) * num_epochs
        place = f"step {row['step']:,}/{steps:,}, in epoch {epoch}/{num_epochs}"
    loss = f"train loss {row['train/loss']:.4f}"
    train = f"{loss} top-1 {row['train/top1']:.4f}"
    shown = shown_metrics(row, num_classes)
    test = " ".join(("test", *(f"{k} {v}" for k, v in shown.items()))) if shown else ""
    speed = speed_text(row["images_per_s"])
    forms = (place, train, test, speed), (place, train, test), (place, loss, test)
    lines = [" | ".join(filter(None, form)) for form in (*forms, (place, test or loss))]
    return next(
        (line for line in lines if len(line) <= (width or len(line))), lines[-1]
    )
