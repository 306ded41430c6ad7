"""d2l's data modules over the data sets of this project, and a user's own."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot

from alexnet_jax.config import default_config, validate
from alexnet_jax.data import Batch, Split, create_data, true_examples
from alexnet_jax.data.statistics import Statistics, measure
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.pipeline import scale_and_resize

Pair = tuple[jax.Array, jax.Array]


class _Loader:
    """Iterates batches `(X, y)`, an epoch each time; as long as an epoch."""

    def __init__(self, batches: Split, size: tuple[int, int]) -> None:
        self._batches, self._size = batches, size
        self._epochs = itertools.count()
        self._resize = jax.jit(scale_and_resize, static_argnums=1)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Pair]:
        first = next(self._epochs) * len(self)
        for step in range(first, first + len(self)):
            batch = true_examples(self._batches.batch(step))  # the last may be smaller
            images = self._resize(batch["image"], self._size)
            yield images, jnp.asarray(batch["label"])


class DataModule:
    """Images and labels in two parts.

    A class of one's own needs `train_dataloader()` and `val_dataloader()`, each an
    iterable of `(X, y)` with a length: X `(B, H, W, C) float32` in [0, 1], y `(B,)`.

    Attributes:
      batch_size: Images a batch.
      labels: Class names.
    """

    batch_size: int
    labels: Sequence[str] = ()

    def train_dataloader(self) -> Iterable[Pair]:
        """Returns the batches to train on, shuffled again by each iteration."""
        raise InputError(
            f"data: {type(self).__name__} defines no train_dataloader(); define "
            "one that returns an iterable of pairs (X, y)"
        )

    def val_dataloader(self) -> Iterable[Pair]:
        """Returns the batches to validate on."""
        raise InputError(
            f"data: {type(self).__name__} defines no val_dataloader(); define one that "
            "returns an iterable of pairs (X, y)"
        )

    def text_labels(self, indices: Iterable[int]) -> list[str]:
        """Returns the names of labels."""
        return [self.labels[int(index)] for index in indices]


class _Prepared(DataModule):
    """A registered data set, decoded into memory.

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
        manual_dir: str | None = None,
        data_dir: str | None = None,
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
        sizes = resize if isinstance(resize, tuple | list) else ()
        if len(sizes) != 2 or not all(isinstance(n, int) and n > 0 for n in sizes):
            raise InputError(
                f"resize must be a pair of pixels, such as (224, 224); got {resize!r}"
            )
        config = default_config()
        config.batch_size, config.data.image_size = batch_size, sizes
        validate(config)
        config.data.name = self.name
        config.data.manual_dir, config.data.data_dir = manual_dir, data_dir
        self.batch_size, self.resize, self.seed = batch_size, (*sizes,), seed
        self.data = create_data(
            config.data,
            batch_size=batch_size,
            eval_batch_size=batch_size,
            seed=seed,
        )
        splits: Any = self.data.train, self.data.test  # in memory
        self.train, self.val = ((split.image, split.label) for split in splits)
        self.labels = self.data.spec.class_names
        self._loaders = [_Loader(split, self.resize) for split in splits]

    def get_dataloader(self, train: bool) -> Iterable[Pair]:
        """Returns `train_dataloader()` or `val_dataloader()`."""
        return self._loaders[0 if train else 1]

    def train_dataloader(self) -> Iterable[Pair]:
        """Returns the training batches, resized on the device."""
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Iterable[Pair]:
        """Returns the test images' batches, resized on the device."""
        return self.get_dataloader(train=False)

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
        titles = labels or self.text_labels(y)
        figure, grid = pyplot.subplots(
            nrows, ncols, figsize=(1.5 * ncols, 1.8 * nrows), squeeze=False
        )
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, title in zip(grid.flat, images, titles, strict=False):
            axes.imshow(np.squeeze(image), cmap="gray")
            axes.set_title(title, fontsize=9)
        figure.tight_layout()
        return grid.ravel()


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
    """scikit-learn's handwritten digits: nothing to download."""

    name = "digits"


class _FromLoader:
    """Batches of a user's loader, in the form that the loop takes."""

    def __init__(self, loader: Callable[[], Iterable[Pair]]) -> None:
        self._loader = loader
        shapes = [(np.shape(images), len(label)) for images, label in loader()]
        if not shapes:
            raise InputError("data: the loader is empty; it must give pairs (X, y)")
        sizes = [size for _, size in shapes]
        self.batch_size, self._length, self._sizes = max(sizes), len(sizes), sizes
        self.num_examples = sum(sizes)
        self.image_shape: Any = shapes[0][0][1:]  # three numbers, if it is as it should
        self._pairs: Iterator[Pair] = iter(())

    def __len__(self) -> int:
        return self._length

    def statistics(self) -> Statistics:
        return measure(np.asarray(images) for images, _ in self._loader())

    def count(self, step: int) -> int:
        return self._sizes[step % self._length]

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        if step % self._length == 0:
            self._pairs = iter(self._loader())
        image, label = map(np.asarray, next(self._pairs))
        if image.dtype != np.uint8:
            image = image.astype(np.float32)  # NumPy's own default is float64
        places = np.arange(self.batch_size)[part]
        indices = places % len(label)  # fills up a smaller last batch
        return {
            "image": image[indices],
            "label": label[indices].astype(np.int32),
            "mask": places < len(label),
        }

    def close(self) -> None:
        self._pairs = iter(())


def to_batches(data: Any) -> tuple[Split, Split]:
    """Returns training and validation batches as the loop takes them.

    Raises:
      InputError: `data` has no dataloaders.
    """
    if isinstance(data, _Prepared):
        return data.data.train, data.data.test
    for name in ("train_dataloader", "val_dataloader"):
        if not callable(getattr(data, name, None)):
            raise InputError(
                f"data: {type(data).__name__} has no {name}(); give d2l.FashionMNIST "
                "or a class with train_dataloader() and val_dataloader()"
            )
    parts = (data.train_dataloader, data.val_dataloader)
    return _FromLoader(parts[0]), _FromLoader(parts[1])
