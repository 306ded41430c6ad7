"""d2l's data modules over the data sets of this project, and a user's own."""

import itertools
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.config import default_config, validate
from alexnet_jax.d2l.base import overridden
from alexnet_jax.d2l.datamodule import DataModule, check_count
from alexnet_jax.d2l.functions import show_images
from alexnet_jax.data import create_data, true_examples
from alexnet_jax.data.batches import Batches
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.pipeline import scale_and_resize

Pair = tuple[jax.Array, jax.Array]


def as_sides(resize: Any) -> tuple[int, int]:
    """Returns height and width, in pixels.

    Args:
      resize: A pair of integers: a tuple, a list or an array; NumPy's are taken.

    Raises:
      InputError: It is something else.
    """
    is_sequence = isinstance(resize, tuple | list | np.ndarray | jax.Array)
    sides = list(resize) if is_sequence and len(np.shape(resize)) == 1 else []
    try:
        height, width = (operator.index(side) for side in sides)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1 or any(isinstance(side, bool) for side in sides):
        raise InputError(
            f"resize must be a pair of pixels, such as (224, 224); got {resize!r}"
        )
    return height, width


class _Loader:
    """Iterates batches `(X, y)`, an epoch each time; as long as an epoch.

    Attributes:
      batches: Those in memory, which are not resized yet.
    """

    def __init__(self, batches: Batches, size: tuple[int, int]) -> None:
        self.batches, self._size = batches, size
        self._epochs = itertools.count()
        self._resize = jax.jit(scale_and_resize, static_argnums=1)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Pair]:
        first = next(self._epochs) * len(self)
        for step in range(first, first + len(self)):
            yield self._batch(step)

    def first(self) -> Pair:
        """Returns the very first batch; the next iteration is not another for it."""
        return self._batch(0)

    def _batch(self, step: int) -> Pair:
        batch = true_examples(self.batches.batch(step))  # the last may be smaller
        images = self._resize(batch["image"], self._size)
        return images, jnp.asarray(batch["label"])


class _Prepared(DataModule):
    """A registered data set, decoded into memory.

    Attributes may be set between fits, `batch_size` and `seed` too.

    Attributes:
      train: Images `(N, h, w, C) uint8` and labels `(N,) int32`.
      val: Likewise.
      resize: Height and width that a network sees.
    """

    name: str

    def __init__(
        self,
        batch_size: int = 64,
        resize: tuple[int, int] = (28, 28),
        *,
        seed: int = 0,
        manual_dir: str | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Reads the data, prepared on first use.

        Args:
          batch_size: Images a batch.
          resize: Height and width, in pixels.
          seed: Draws the order of every epoch.
          manual_dir: Folder with the original files; see `config.data.manual_dir`.
          data_dir: Folder of prepared data; see `config.data.data_dir`.

        Raises:
          InputError: An argument cannot be used, or the data cannot be read.
        """
        sizes = as_sides(resize)
        check_count(batch_size, "batch_size", 1)
        check_count(seed, "seed", 0)
        config = default_config()
        config.batch_size, config.data.image_size = int(batch_size), sizes
        config.data.name, config.seed = self.name, int(seed)
        for key, folder in (("manual_dir", manual_dir), ("data_dir", data_dir)):
            if not isinstance(folder, str | os.PathLike | None):
                raise InputError(f"{key} must be a path or None; got {folder!r}")
            config.data[key] = None if folder is None else os.fsdecode(folder)
        validate(config)
        self.batch_size, self.resize, self.seed = int(batch_size), sizes, seed
        self.data = create_data(
            config.data,
            batch_size=self.batch_size,
            eval_batch_size=self.batch_size,
            seed=seed,
        )
        splits: Any = self.data.train, self.data.test  # in memory
        self.train, self.val = ((split.image, split.label) for split in splits)
        self.labels = self.data.spec.class_names
        self._loaders: dict[bool, tuple[Any, _Loader]] = {}

    def get_dataloader(self, train: bool) -> Iterable[Pair]:
        """Returns the batches to train or to validate on, resized on the device.

        It is the same object, whose every iteration has another order, until what it
        is made of changes.

        Raises:
          InputError: An attribute cannot be used.
        """
        name, examples = ("train", self.train) if train else ("val", self.val)
        check_count(self.batch_size, "batch_size", 1)
        sides = as_sides(self.resize)
        try:
            given = tuple(examples)
            made_of = (*map(id, given), self.batch_size, sides, self.seed)
            images, labels = map(np.asarray, given)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"data.{name} must be a pair of images and labels"
            ) from error
        if train not in self._loaders or self._loaders[train][0] != made_of:
            if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
                raise InputError(
                    f"data.{name}: images must be (N, h, w, C) uint8, N >= 1; got "
                    f"{images.shape} {images.dtype}"
                )
            if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
                raise InputError(
                    f"data.{name}: labels must be ({len(images)},) integers, as many "
                    f"as images; got {labels.shape} {labels.dtype}"
                )
            split = Batches(
                images,
                labels.astype(np.int32),
                self.batch_size,
                self.seed if train else None,
            )
            self._loaders[train] = made_of, _Loader(split, sides)
        return self._loaders[train][1]

    def visualize(
        self, batch: Pair, nrows: int = 1, ncols: int = 8, labels: Sequence[str] = ()
    ) -> Any:
        """Shows the first images of a batch under their names.

        Args:
          batch: `(X, y)`.
          nrows: Rows of images.
          ncols: Images a row.
          labels: Titles; the classes' names if empty.

        Returns:
          The matplotlib axes, `(nrows * ncols,)`.
        """
        images, y = batch
        return show_images(images, nrows, ncols, labels or self.text_labels(y))


class FashionMNIST(_Prepared):
    """Fashion-MNIST under d2l's names of its classes."""

    name = "fashion_mnist"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Reads the data; the arguments are `batch_size=64, resize=(28, 28), ...`."""
        super().__init__(*args, **kwargs)
        # d2l's spelling; TFDS's is that of the data set's authors.
        names = (name.lower().removesuffix("/top") for name in self.labels)
        self.labels = tuple(names)


class Digits(_Prepared):
    """UCI's handwritten digits, bundled: nothing to download."""

    name = "digits"


_HOOKS = ("get_dataloader", "train_dataloader", "val_dataloader")
_STOCK = {name: getattr(_Prepared, name) for name in _HOOKS}


def validates(data: Any) -> bool:
    """Whether data has a part to validate on; `val_dataloader()` may return None."""
    if is_prepared(data) or not callable(getattr(data, "val_dataloader", None)):
        return True
    try:
        return data.val_dataloader() is not None
    except InputError:  # it comes again where the batches are read
        return True


def is_prepared(data: Any) -> bool:
    """Whether data is a registered data set as it was made, with no loader changed."""
    return isinstance(data, _Prepared) and not overridden(data, _STOCK)
