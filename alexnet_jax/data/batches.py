"""Batches: each is a function of (seed, step)."""

import functools
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from alexnet_jax.data.order import Order
from alexnet_jax.data.statistics import Statistics, measure

Batch = dict[str, np.ndarray]


class Split(Protocol):
    """A part of a data set, cut into batches of one size, as the loop takes it.

    A batch depends on the seed and the step alone: neither on processes and workers
    nor on where a run was resumed. An epoch holds every example once; what the last
    batch lacks is filled up, the mask false.
    """

    @property
    def batch_size(self) -> int:
        """Examples a batch, over all devices."""

    @property
    def num_examples(self) -> int:
        """Examples in an epoch."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, C)` as batches hold them."""

    def __len__(self) -> int:
        """Batches in an epoch, the padded last one included."""

    def count(self, step: int) -> int:
        """Returns how many true examples a step's batch holds."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Returns the batch of a step, counted from the run's beginning.

        Args:
          step: At least 0.
          rows: Which part of it; B is then as long.

        Returns:
          `image (B, h, w, C) uint8`, `label (B,) int32`, `mask (B,) bool`, the last
          false for padding.
        """

    def statistics(self) -> Statistics:
        """Returns the images' statistics; to measure them may take a while."""

    def close(self) -> None:
        """Ends what reads ahead, if anything does; a later batch starts it anew."""


@dataclass
class Batches:
    """A split in memory, cut into batches of one size.

    An epoch holds every example once. What the last batch lacks is filled with
    examples from the epoch's beginning, their mask false: they count nowhere, yet
    statistics over a batch (BatchNorm) see real images.

    Attributes:
      image: `(N, h, w, C) uint8`.
      label: `(N,) int32`.
      batch_size: Examples a batch, over all devices.
      seed: Draws a permutation for each epoch; None keeps the order.
    """

    image: np.ndarray
    label: np.ndarray
    batch_size: int
    seed: int | None = None
    _order: Order = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Notes how many examples there are."""
        self._order = Order(len(self.label), self.batch_size, self.seed)

    @property
    def num_examples(self) -> int:
        """Examples in an epoch."""
        return len(self.label)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, C)` as batches hold them."""
        height, width, channels = self.image.shape[1:]
        return height, width, channels

    def statistics(self) -> Statistics:
        """Measures the images, once."""
        return self._statistics

    @functools.cached_property
    def _statistics(self) -> Statistics:
        return measure([self.image])

    def __len__(self) -> int:
        """Batches in an epoch, the padded last one included."""
        return len(self._order)

    def count(self, step: int) -> int:
        """Returns how many true examples a step's batch holds."""
        return self._order.count(step)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Returns the batch of a step; see `Split.batch`."""
        indices, mask = self._order.draw(step, rows)
        return {
            "image": self.image[indices],
            "label": self.label[indices],
            "mask": mask,
        }

    def close(self) -> None:
        """Nothing reads ahead."""
