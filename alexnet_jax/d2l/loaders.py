"""A user's loaders, as iterables of tuples of arrays."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from alexnet_jax.d2l.arrays import as_array, empty_loader, narrow
from alexnet_jax.d2l.data import is_prepared, validates
from alexnet_jax.errors import InputError


class Loader:
    """Iterates what `data.train_dataloader()` or `data.val_dataloader()` returns.

    What it returns first is iterated each time, as in the book; it is called anew for
    each iteration only if it returns a generator. Batches are tuples of NumPy arrays;
    float64 and int64 become float32 and int32.
    """

    def __init__(self, make: Callable[[], Iterable[Any]], name: str) -> None:
        """Keeps the method and its name; calls nothing yet."""
        self._make, self.name = make, name
        self._length: int | None = None
        self._has_given = False
        self._kept: Iterable[Any] | None = None

    def __len__(self) -> int:
        if self._length is None:
            loader: Any = self._made()
            try:
                self._length = len(loader)
            except TypeError:  # a generator; a DataLoader of an IterableDataset
                self._length = sum(1 for _ in loader)
                self._has_given = self._length > 0
        return self._length

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        index = -1
        for index, batch in enumerate(self._made()):
            self._has_given = True
            place = f"batch {index} of {self.name}"
            if not isinstance(batch, tuple | list) or len(batch) < 2:
                raise InputError(
                    f"data: {place} must be a pair (X, y); got {_described(batch)}"
                )
            yield tuple(narrow(as_array(part, place)) for part in batch)
        if index < 0 and self._has_given:
            raise InputError(
                f"data: {self.name} gave batches at first and none later; it must "
                "return a new iterable at each call"
            )

    def _made(self) -> Iterable[Any]:
        if self._kept is not None:
            return self._kept
        loader: Any = self._make()
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise InputError(
                f"data: {self.name} must return an iterable of pairs (X, y); got "
                f"{type(loader).__name__}"
            )
        if not isinstance(loader, Iterator):  # which has an end
            self._kept = loader
        return loader


def _described(batch: Any) -> str:
    length = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    return f"{type(batch).__name__}{length}"


def loaders(data: Any) -> tuple[Any, Any]:
    """Returns loaders of training and validation batches; None if there are no latter.

    Raises:
      InputError: `data` has no dataloaders.
    """
    if is_prepared(data):
        return data.get_dataloader(train=True), data.get_dataloader(train=False)
    for name in ("train_dataloader", "val_dataloader"):
        if not callable(getattr(data, name, None)):
            raise InputError(
                f"data: {type(data).__name__} has no {name}(); give d2l.FashionMNIST "
                "or a class with train_dataloader() and val_dataloader()"
            )
    train = Loader(data.train_dataloader, "train_dataloader()")
    if not validates(data):
        return train, None
    return train, Loader(data.val_dataloader, "val_dataloader()")


def num_batches(loader: Any) -> int:
    """Returns the batches of a loader; 0 of None.

    Raises:
      InputError: It is empty.
    """
    if loader is not None and not len(loader):
        raise empty_loader(getattr(loader, "name", type(loader).__name__))
    return 0 if loader is None else len(loader)
