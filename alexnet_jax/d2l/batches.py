"""A user's batches in the form that the command line's loop takes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from alexnet_jax.d2l.arrays import (
    check_channels,
    check_images,
    check_labels,
    check_pair,
    check_same_size,
    empty_loader,
)
from alexnet_jax.d2l.data import is_prepared
from alexnet_jax.d2l.loaders import Loader
from alexnet_jax.data import Batch, Split
from alexnet_jax.data.statistics import Statistics, measure
from alexnet_jax.errors import InputError


class Batches:
    """Batches of a user's loader, in the form that the command line's loop takes."""

    def __init__(self, loader: Loader, classes: int) -> None:
        """Looks at all batches, once.

        Raises:
          InputError: They cannot be used.
        """
        self._loader, self._classes = loader, classes
        self._sizes: list[int] = []
        self.batch_size = 0
        self.image_shape: Any = ()
        for pair in loader:
            image, _ = self._checked(pair, len(self._sizes), values=True)
            self._sizes.append(len(image))
        if not self._sizes:
            raise empty_loader(loader.name)
        self.batch_size, self.num_examples = max(self._sizes), sum(self._sizes)
        self._pairs: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self._sizes)

    def _checked(
        self, pair: Sequence[Any], index: int, values: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        place = f"batch {index} of {self._loader.name}"
        check_pair(pair, place)
        image = check_images(pair[0], place, values)
        label = check_labels(pair[1], len(image), self._classes, place)
        self.image_shape = self.image_shape or image.shape[1:]
        check_same_size(image, self.image_shape, place)
        return image, label

    def statistics(self) -> Statistics:
        """Measures the images."""
        return measure(pair[0] for pair in self._loader)

    def count(self, step: int) -> int:
        """Returns the number of examples in a step's batch, without padding."""
        return self._sizes[step % len(self)]

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """Returns the batch of a step; see `Split.batch`.

        Raises:
          InputError: The loader gives fewer or larger batches than at first.
        """
        index = step % len(self)
        if index == 0:
            self._pairs = iter(self._loader)
        pair = next(self._pairs, None)
        if pair is None:
            raise InputError(
                f"data: {self._loader.name} gave {len(self)} batches at first and "
                f"{index} later; it must return a new iterable at each call"
            )
        image, label = self._checked(pair, index)
        if len(label) != self._sizes[index]:
            raise InputError(
                f"data: batch {index} of {self._loader.name} held {self._sizes[index]} "
                f"examples at first and {len(label)} later; give as many each time"
            )
        places = np.arange(self.batch_size)[part]
        indices = places % len(label)  # fills up a smaller last batch
        return {
            "image": image[indices],
            "label": label[indices],
            "mask": places < len(label),
        }

    def close(self) -> None:
        """Lets go of the iteration."""
        self._pairs = iter(())


def check_prepared(data: Any, classes: int) -> None:
    """Checks the labels of a registered data set.

    Raises:
      InputError: One is not below `classes`.
    """
    for name, (_, label) in (("train", data.train), ("val", data.val)):
        check_labels(label, len(label), classes, f"data.{name}")


def to_batches(data: Any, classes: int, own: tuple[Any, Any]) -> tuple[Split, Split]:
    """Returns training and validation batches as the command line's loop takes them.

    Args:
      data: A data module with both.
      classes: The network's, which labels are below.
      own: Its loaders.

    Raises:
      InputError: They give what cannot be used.
    """
    if is_prepared(data):
        check_prepared(data, classes)
        train, test = own
        return train.batches, test.batches
    train, test = (Batches(loader, classes) for loader in own)
    check_channels(train.image_shape[-1], test.image_shape[-1])
    return train, test
