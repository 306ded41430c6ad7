"""Which examples a batch holds: a function of (seed, step)."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Order:
    """The order of a split's examples, cut into batches of one size.

    An epoch holds every example once. What the last batch lacks is filled with
    examples from the epoch's beginning, their mask false.

    Attributes:
      num_examples: Examples in an epoch.
      batch_size: Examples a batch, over all devices.
      seed: Draws a permutation for each epoch; None keeps the order.
    """

    num_examples: int
    batch_size: int
    seed: int | None = None
    _drawn: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        """Batches in an epoch, the padded last one included."""
        return -(-self.num_examples // self.batch_size)

    def count(self, step: int) -> int:
        """Returns how many true examples a step's batch holds."""
        position = step % len(self)
        return min(self.batch_size, self.num_examples - position * self.batch_size)

    def draw(self, step: int, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns the examples of a step's batch, counted from the run's beginning.

        Args:
          step: At least 0.
          rows: Which part of it; B is then as long.

        Returns:
          Places in the split `(B,) int64`, and `(B,) bool`, false for padding.
        """
        epoch, position = divmod(step, len(self))
        places = position * self.batch_size + np.arange(self.batch_size)[rows]
        order = self._permutation(epoch)
        return order[places % self.num_examples], places < self.num_examples

    def _permutation(self, epoch: int) -> np.ndarray:
        drawn = self._drawn  # read once: threads may draw at the same time
        if drawn is None or drawn[0] != epoch:
            order = np.arange(self.num_examples)
            if self.seed is not None:
                order = np.random.default_rng((self.seed, epoch)).permutation(order)
            drawn = self._drawn = epoch, order
        return drawn[1]

    def __getstate__(self) -> dict[str, object]:
        """Leaves the drawn order out: another process draws its own."""
        return self.__dict__ | {"_drawn": None}
