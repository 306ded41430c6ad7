"""A user's loaders, checked, and in the forms that the two loops take."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from alexnet_jax.data import Batch, Split
from alexnet_jax.data.statistics import Statistics, measure
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
            raise InputError(
                f"data: the loader is empty; it must give pairs (X, y): {loader.name}"
            )
        self.batch_size, self.num_examples = max(self._sizes), sum(self._sizes)
        self._pairs: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self._sizes)

    def _checked(
        self, pair: Sequence[Any], index: int, values: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        place = f"batch {index} of {self._loader.name}"
        if len(pair) != 2:
            raise InputError(f"data: {place} must be a pair (X, y); got {len(pair)}")
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


def check_prepared(data: Any, classes: int) -> None:
    """Checks the labels of a registered data set.

    Raises:
      InputError: One is not below `classes`.
    """
    for name, (_, label) in (("train", data.train), ("val", data.val)):
        check_labels(label, len(label), classes, f"data.{name}")


def to_batches(data: Any, classes: int) -> tuple[Split, Split]:
    """Returns training and validation batches as the command line's loop takes them.

    Args:
      data: A data module with both.
      classes: The network's, which labels are below.

    Raises:
      InputError: `data` has no dataloaders, or they give what cannot be used.
    """
    if is_prepared(data):
        check_prepared(data, classes)
        return data.data.train, data.data.test
    train, test = (Batches(loader, classes) for loader in loaders(data))
    if train.image_shape[-1] != test.image_shape[-1]:
        raise InputError(
            f"data: images to train on have {train.image_shape[-1]} channels, those to "
            f"validate on {test.image_shape[-1]}; give as many"
        )
    return train, test
