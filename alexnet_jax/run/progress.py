"""What a person sees of a run: a bar on a terminal, plain lines everywhere."""

import time
from typing import NamedTuple

from tqdm import tqdm

from alexnet_jax.metrics import shown_metrics
from alexnet_jax.run.records import Row

_REFRESH_S = 0.5


class Mark(NamedTuple):
    """A moment of a meter: images and seconds up to it."""

    images: int
    seconds: float


class Meter:
    """Counts images and seconds of training; stands still while something else runs."""

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


class Progress:
    """A bar over a run's steps on a terminal, and lines above it."""

    def __init__(self, start: int, stop: int) -> None:
        """Shows the bar.

        Args:
          start: The step that the run goes on from.
          stop: The step that it ends at.
        """
        self._bar = tqdm(
            initial=start,
            total=stop,
            unit="step",
            disable=None,  # where stderr is no terminal
            dynamic_ncols=True,
            leave=False,
        )
        self._shown = time.perf_counter()

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()

    def due(self) -> bool:
        """Whether the bar wants new numbers, for which one waits for the device."""
        if self._bar.disable:
            return False
        return time.perf_counter() - self._shown > _REFRESH_S

    def show(self, step: int, loss: float, images_per_s: float) -> None:
        """Moves the bar.

        Args:
          step: Steps done.
          loss: Mean training loss (nats).
          images_per_s: Speed of training.
        """
        speed = f"loss {loss:.4f}, {images_per_s:,.0f} images/s"
        self._bar.set_postfix_str(speed, refresh=False)
        self._bar.update(step - self._bar.n)
        self._shown = time.perf_counter()

    def clear(self) -> None:
        """Makes room for a line; the bar comes back below it."""
        if not self._bar.disable:
            self._bar.clear()


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
