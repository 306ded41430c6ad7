"""Batches for the book's loop: checked, scaled and resized."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from alexnet_jax.d2l.arrays import (
    are_class_numbers,
    as_array,
    check_channels,
    check_features,
    check_finite,
    check_images,
    check_labels,
    check_pair,
    check_same_size,
    empty_loader,
)
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.pipeline import scale_and_resize


class Examples:
    """A loader for the book's loop: bytes scaled, images resized, all of it checked.

    Attributes:
      classes: Labels are below; None if they may be anything.
      own_loss: Whether labels may be something else than class numbers.
    """

    def __init__(
        self,
        loader: Any,
        name: str,
        *,
        classifies: bool,
        pairs: bool,
        resize: Any = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Wraps a loader.

        Args:
          loader: An iterable of tuples of arrays, with a length.
          name: Such as `train_dataloader()`.
          classifies: Whether a classifier is to take them.
          pairs: Whether all must be images and labels, as the stock one takes them.
          resize: Height and width that images get; None leaves them.
          shape: Of the images to train on, `(H, W, C)`: those of another size are
            resized.
        """
        self._loader, self.name = loader, name
        self._is_ready = hasattr(loader, "first")  # of a registered data set
        self._classifies, self._pairs = classifies, pairs
        self._resize, self._shape = resize, shape
        self.classes: int | None = None
        self.own_loss = False

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._is_ready:
            yield from self._loader
            return
        for _, image, *inputs in self._checked(values=False):
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
        raise empty_loader(self.name)

    def check(self) -> None:
        """Looks at all batches of a user's loader.

        Raises:
          InputError: They cannot be used.
        """
        if self._is_ready:
            return
        wrong: InputError | None = None
        are_numbers = True
        for place, image, *_, y in self._checked(values=True):
            label = as_array(y, place)
            check_finite(label, place, "labels")
            if self.classes is None or not self.own_loss or self.classes == 1:
                continue
            # Floats are class numbers if they are whole everywhere.
            are_numbers = are_numbers and are_class_numbers(label, len(image))
            try:
                check_labels(label, len(image), self.classes, place)
            except InputError as error:
                wrong = wrong or error
        if wrong and are_numbers:
            raise wrong

    def _scaled(self, image: Any) -> Any:
        if not self._classifies or np.ndim(image) != 4:
            return image
        size = self._resize
        if size is None and self._shape and image.shape[1:3] != self._shape[:2]:
            size = self._shape[:2]
        if size is not None:
            return _RESIZE(image, tuple(size))
        return image.astype(np.float32) / 255.0 if image.dtype == np.uint8 else image

    def _checked(self, values: bool) -> Iterator[tuple[Any, ...]]:
        """Yields the place of each batch and its parts."""
        shape: Any = None
        for index, batch in enumerate(self._loader):
            place = f"batch {index} of {self.name}"
            if self._pairs:
                check_pair(batch, place)
            image, *inputs, y = batch
            if self._pairs or self._classifies and np.ndim(image) == 4:
                image = check_images(as_array(image, place), place, values)
            elif values:
                self._check_values(as_array(image, place), place)
            if self._pairs:
                shape = shape or image.shape[1:]
                check_same_size(image, shape, place)
                check_channels(self._shape[-1] if self._shape else None, shape[-1])
            if self.classes is not None and not self.own_loss:
                label = as_array(y, place)
                y = check_labels(label, len(image), self.classes, place)
            elif np.ndim(y) == 0:
                raise InputError(
                    f"data: labels must have shape (batch, ...); {place} has (); give "
                    "y[i : i + 1], not y[i]"
                )
            elif self._classifies and len(y) != len(image):
                raise InputError(
                    f"data: {place} has {len(image)} examples and {len(y)} labels; "
                    "give one each"
                )
            yield place, image, *inputs, y

    def _check_values(self, image: np.ndarray, place: str) -> None:
        if self._classifies:
            check_features(image, place)
        else:
            check_finite(image, place, "inputs")


_RESIZE = jax.jit(scale_and_resize, static_argnums=1)
