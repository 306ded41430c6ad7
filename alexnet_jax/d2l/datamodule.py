"""d2l's `DataModule`, and the book's regression data."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, SupportsInt

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.d2l.base import HyperParameters
from alexnet_jax.errors import InputError


def check_count(value: Any, name: str, least: int) -> None:
    """Checks a number of examples.

    Raises:
      InputError: It is no integer, or below `least`.
    """
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise InputError(
            f"{name} must be an integer of at least {least}; got {value!r}"
        )


class _TensorLoader:
    """Batches of arrays in memory, in another order each time if they are shuffled."""

    def __init__(
        self, arrays: Sequence[Any], batch_size: int, seed: int | None
    ) -> None:
        self._arrays, self._batch_size = arrays, batch_size
        self._generator = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self._arrays[0]) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        order = np.arange(len(self._arrays[0]))
        if self._generator is not None:
            order = self._generator.permutation(order)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            yield tuple(array[places] for array in self._arrays)


class DataModule(HyperParameters):
    """Inputs and labels in two parts.

    A class of one's own defines `get_dataloader(train)`, or `train_dataloader()` and
    `val_dataloader()`: each returns an iterable of `(X, y)`. To classify images, X is
    `(B, H, W, C)`, uint8 or float32 in [0, 1], and y `(B,)`, class numbers.

    Attributes:
      batch_size: Examples a batch.
      labels: Class names.
    """

    batch_size: int
    labels: Sequence[str] = ()

    def __init__(self, root: str = "../data", num_workers: int = 4) -> None:
        """Keeps the arguments, which nothing here reads."""
        self.root, self.num_workers = root, num_workers

    def get_dataloader(self, train: bool) -> Iterable[Any]:
        """Returns the batches to train on, or those to validate on.

        Raises:
          InputError: It is not defined.
        """
        name = "train_dataloader()" if train else "val_dataloader()"
        raise InputError(
            f"data: {type(self).__name__} defines no {name}; define one that returns "
            "an iterable of pairs (X, y), or get_dataloader(self, train)"
        )

    def train_dataloader(self) -> Iterable[Any]:
        """Returns the batches to train on, shuffled again by each iteration."""
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Iterable[Any]:
        """Returns the batches to validate on."""
        return self.get_dataloader(train=False)

    def get_tensorloader(
        self, tensors: Sequence[Any], train: bool, indices: slice = slice(0, None)
    ) -> Iterable[Any]:
        """Returns batches of arrays, of `batch_size` each but the last.

        Args:
          tensors: Arrays `(N, ...)`.
          train: Whether to shuffle, by `seed` if there is one, else by 0.
          indices: The examples to take.

        Raises:
          InputError: The arrays are of several lengths, or `batch_size` is missing.
        """
        size: Any = getattr(self, "batch_size", None)
        check_count(size, f"data: {type(self).__name__}.batch_size", 1)
        arrays = [np.asarray(tensor) for tensor in tensors]
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) != 1:
            raise InputError(f"data: tensors must be of one length; got {lengths}")
        seed = getattr(self, "seed", 0) if train else None
        parts = [array[indices] for array in arrays]
        return _TensorLoader(parts, operator.index(size), seed)

    def text_labels(self, indices: Iterable[SupportsInt]) -> list[str]:
        """Returns the names of labels."""
        return [self.labels[int(index)] for index in indices]


class SyntheticRegressionData(DataModule):
    """Noisy values of a linear function.

    Attributes:
      num_train: Examples to train on, the first.
      num_val: Examples to validate on, the others.
      X: `(num_train + num_val, len(w)) float32`, normal.
      y: `(num_train + num_val, 1) float32`: `X @ w + b` and noise.

    Source: d2l.ai §3.3.
    """

    num_train: int
    num_val: int

    def __init__(
        self,
        w: Any,
        b: float,
        noise: float = 0.01,
        num_train: int = 1000,
        num_val: int = 1000,
        batch_size: int = 32,
    ) -> None:
        """Draws the data; always the same.

        Args:
          w: Weights, `(features,)`.
          b: What is added.
          noise: Deviation of the noise.
          num_train: Examples to train on.
          num_val: Examples to validate on; 0 trains without.
          batch_size: Examples a batch.

        Raises:
          InputError: A count cannot be used.
        """
        super().__init__()
        self.save_hyperparameters()
        check_count(num_train, "num_train", 1)
        check_count(num_val, "num_val", 0)
        check_count(batch_size, "batch_size", 1)
        self.w = jnp.asarray(w, jnp.float32)
        weights = self.w.reshape(-1, 1)
        count = num_train + num_val
        input_key, noise_key = jax.random.split(jax.random.key(0))
        self.X = jax.random.normal(input_key, (count, len(weights)), jnp.float32)
        error = noise * jax.random.normal(noise_key, (count, 1), jnp.float32)
        self.y = self.X @ weights + b + error

    def get_dataloader(self, train: bool) -> Iterable[Any]:
        """Returns the first `num_train` examples, shuffled, or the others."""
        part = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, part)

    def val_dataloader(self) -> Any:
        """Returns the batches to validate on; None if there are none."""
        return self.get_dataloader(train=False) if self.num_val else None
