"""Batches: each is a function of (seed, step)."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from alexnet_jax.data.statistics import Statistics, measure
from alexnet_jax.terminal.bar import track

# image (B, h, w, C) uint8, label (B,) int32, mask (B,) bool, false for padding and for
# broken images, which may stand anywhere
Batch = dict[str, np.ndarray]


def true_examples(batch: Batch, limit: int | None = None) -> Batch:
    """Returns the examples of a batch that count, in order.

    The one way to read a batch on the host: what does not count may stand anywhere.

    Args:
      batch: Arrays `(B, ...)` by name, `mask` among them.
      limit: Examples to return at most; None for all of them.

    Returns:
      The arrays, of so many examples.
    """
    kept = np.flatnonzero(batch["mask"])[:limit]
    return {name: array[kept] for name, array in batch.items()}


@dataclass
class Order:
    """The order of a split's examples, cut into batches of one size.

    An epoch holds every example once. The last batch is padded with examples from the
    epoch's beginning, whose mask is false.

    Attributes:
      num_examples: Examples in an epoch.
      batch_size: Examples in a batch, over all devices.
      seed: Draws a permutation for each epoch; None keeps the order.
      examples: `(num_examples,) int64`, the places in the split of the examples that
        are a part of it; None takes all.
    """

    num_examples: int
    batch_size: int
    seed: int | None = None
    examples: np.ndarray | None = None
    _drawn: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return -(-self.num_examples // self.batch_size)

    def count(self, step: int) -> int:
        """Returns the number of examples in a step's batch, without padding."""
        position = step % len(self)
        return min(self.batch_size, self.num_examples - position * self.batch_size)

    def draw(self, step: int, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns the examples of a step's batch, counted from the run's beginning.

        Args:
          step: At least 0.
          part: The part of the batch that is wanted; B is its length.

        Returns:
          Places in the split `(B,) int64`, and `(B,) bool`, false for padding.
        """
        epoch, position = divmod(step, len(self))
        places = position * self.batch_size + np.arange(self.batch_size)[part]
        drawn = self._permutation(epoch)[places % self.num_examples]
        if self.examples is not None:
            drawn = self.examples[drawn]
        return drawn, places < self.num_examples

    @property
    def tag(self) -> str:
        """Tells parts of a split from each other in names of files; empty for all."""
        if self.examples is None:
            return ""
        return "-" + hashlib.sha256(self.examples.tobytes()).hexdigest()[:12]

    def _permutation(self, epoch: int) -> np.ndarray:
        drawn = self._drawn  # read once: threads may draw at the same time
        if drawn is None or drawn[0] != epoch:
            order = np.arange(self.num_examples)
            if self.seed is not None:
                order = np.random.default_rng((self.seed, epoch)).permutation(order)
            drawn = self._drawn = epoch, order
        return drawn[1]

    def __getstate__(self) -> dict[str, object]:
        # Another process draws its own permutation.
        return self.__dict__ | {"_drawn": None}


class Split(Protocol):
    """A part of a data set, cut into batches of one size, as the loop reads it.

    A batch depends on the seed and the step alone: not on processes, not on workers,
    not on the step that a run resumed at. An epoch holds every example once; the last
    batch is padded. The mask is false for the padding, and for a broken image, which
    may stand anywhere: `true_examples` leaves both out.
    """

    @property
    def batch_size(self) -> int:
        """Examples in a batch, over all devices."""

    @property
    def num_examples(self) -> int:
        """Examples in an epoch."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, C)` of the images in a batch."""

    def __len__(self) -> int:
        """Batches in an epoch, including the padded last one."""

    def count(self, step: int) -> int:
        """Returns the number of examples in a step's batch, without padding."""

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """Returns the batch of a step, counted from the run's beginning.

        Args:
          step: At least 0.
          part: The part of the batch that is wanted; B is its length.

        Returns:
          `image (B, h, w, C) uint8`, `label (B,) int32`, `mask (B,) bool`, the last
          false for padding and broken images.
        """

    def statistics(self) -> Statistics:
        """Returns the statistics of the images; measuring them may take a while."""

    def close(self) -> None:
        """Stops reading ahead, if anything does; a later batch starts it again."""


def all_images(split: Split) -> Iterator[np.ndarray]:
    """Yields the images of a split's first epoch in batches, `(n, h, w, C) uint8`."""
    for step in track(range(len(split)), len(split), "batches"):
        kept = true_examples(split.batch(step))
        if len(kept["image"]):
            yield kept["image"]


@dataclass
class Batches:
    """A split in memory.

    The padding of the last batch is examples from the epoch's beginning: their mask is
    false, yet statistics over a batch (BatchNorm) see real images.

    Attributes:
      image: `(N, h, w, C) uint8`.
      label: `(N,) int32`.
      batch_size: Examples in a batch, over all devices.
      seed: Draws a permutation for each epoch; None keeps the order.
    """

    image: np.ndarray
    label: np.ndarray
    batch_size: int
    seed: int | None = None
    _order: Order = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._order = Order(len(self.label), self.batch_size, self.seed)

    @property
    def num_examples(self) -> int:
        return len(self.label)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.image.shape[1:]
        return height, width, channels

    def __len__(self) -> int:
        return len(self._order)

    def count(self, step: int) -> int:
        return self._order.count(step)

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        indices, mask = self.draw(step, part)
        return {
            "image": self.image[indices],
            "label": self.label[indices],
            "mask": mask,
        }

    def draw(
        self, step: int, part: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the places of a batch's examples, and its mask; see `Order.draw`."""
        return self._order.draw(step, part)

    def statistics(self) -> Statistics:
        return self._statistics

    @functools.cached_property
    def _statistics(self) -> Statistics:
        return measure([self.image])

    def close(self) -> None:
        pass
