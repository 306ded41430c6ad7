"""A user's loaders, checked, and in the forms that the two loops take."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from alexnet_jax.d2l.arrays import (
    as_array,
    check_images,
    check_labels,
    check_same_size,
    narrow,
)
from alexnet_jax.d2l.data import is_prepared, validates
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.pipeline import scale_and_resize


class Loader:
    """Iterates what `data.train_dataloader()` or `data.val_dataloader()` returns.

    It is called anew for each iteration, so that it may return a generator. Batches are
    tuples of NumPy arrays; float64 and int64 become float32 and int32.
    """

    def __init__(self, make: Callable[[], Iterable[Any]], name: str) -> None:
        """Keeps the method and its name; calls nothing yet."""
        self._make, self.name = make, name
        self._length: int | None = None
        self._has_given = False

    def __len__(self) -> int:
        if self._length is None:
            loader: Any = self._made()
            if hasattr(loader, "__len__"):
                self._length = len(loader)
            else:
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
        loader: Any = self._make()
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise InputError(
                f"data: {self.name} must return an iterable of pairs (X, y); got "
                f"{type(loader).__name__}"
            )
        return loader


def _described(batch: Any) -> str:
    length = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    return f"{type(batch).__name__}{length}"


class Examples:
    """A loader for the book's loop: bytes scaled, images resized, labels checked.

    Attributes:
      classes: Labels are below; None if they may be anything.
    """

    def __init__(
        self, loader: Any, name: str, *, images: bool, resize: Any = None
    ) -> None:
        """Wraps a loader.

        Args:
          loader: An iterable of tuples of arrays, with a length.
          name: Such as `train_dataloader()`.
          images: Whether the first of each tuple must be images.
          resize: Height and width that images get; None leaves them.
        """
        self._loader, self._name = loader, name
        self._is_ready = hasattr(loader, "first")  # of a registered data set
        self._images, self._resize = images, resize
        self.classes: int | None = None

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._is_ready:
            yield from self._loader
            return
        for image, *inputs in self._checked(values=False):
            yield self._scaled(image), *inputs

    def first(self) -> tuple[Any, ...]:
        """Returns the first batch.

        Raises:
          InputError: There is none.
        """
        if self._is_ready:
            return self._loader.first()
        for batch in self:
            return batch
        raise InputError(
            f"data: the loader is empty; it must give pairs (X, y): {self._name}"
        )

    def check(self) -> None:
        """Looks at all batches of a user's loader.

        Raises:
          InputError: They cannot be used.
        """
        if not self._is_ready:
            deque(self._checked(values=True), maxlen=0)

    def _scaled(self, image: Any) -> Any:
        if np.ndim(image) != 4:
            return image
        if self._resize is not None:
            return _RESIZE(image, tuple(self._resize))
        return image.astype(np.float32) / 255.0 if image.dtype == np.uint8 else image

    def _checked(self, values: bool) -> Iterator[tuple[Any, ...]]:
        shape: Any = None
        for index, (image, *inputs, y) in enumerate(self._loader):
            place = f"batch {index} of {self._name}"
            if self._images:
                image = check_images(as_array(image, place), place, values)
                shape = shape or image.shape[1:]
                check_same_size(image, shape, place)
            if self.classes is not None:
                label = as_array(y, place)
                y = check_labels(label, len(image), self.classes, place)
            yield image, *inputs, y


_RESIZE = jax.jit(scale_and_resize, static_argnums=1)


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
        raise InputError(
            "data: the loader is empty; it must give pairs (X, y): "
            f"{getattr(loader, 'name', type(loader).__name__)}"
        )
    return 0 if loader is None else len(loader)
