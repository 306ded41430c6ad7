"""Data sets by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax.data import digits, fashion_mnist
from alexnet_jax.data.batches import Batches, Split
from alexnet_jax.data.builder import decode, resolve_data_dir
from alexnet_jax.errors import InputError

__all__ = ["DATA_SETS", "Batches", "DataInfo", "Split", "create_data"]

Loader = Callable[[Path, ConfigDict], tfds.core.GeneratorBasedBuilder]

DATA_SETS: dict[str, Loader] = {
    "digits": lambda data_dir, config: digits.load(data_dir),
    "fashion_mnist": lambda data_dir, config: fashion_mnist.load(
        data_dir, config.manual_dir
    ),
}


@dataclass(frozen=True)
class DataInfo:
    """What a data set is.

    Attributes:
      name: With its version, such as `fashion_mnist 3.0.1`.
      image_shape: `(h, w, C)` as stored.
      class_names: By label.
      folder: Where it lies prepared.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    folder: Path


def create_data(
    config: ConfigDict, *, batch_size: int, eval_batch_size: int, seed: int
) -> tuple[Split, Split, DataInfo]:
    """Opens a data set, prepared on first use, and decodes it into memory.

    Args:
      config: `config.data`.
      batch_size: Training images a step, over all devices.
      eval_batch_size: Test images a step, over all devices.
      seed: Draws the order of every epoch.

    Returns:
      The training batches (shuffled), the test batches (in order) and what they are.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be had.
    """
    if config.name not in DATA_SETS:
        raise InputError(
            f"data.name must be one of {tuple(DATA_SETS)}; got {config.name!r}"
        )
    builder = DATA_SETS[config.name](resolve_data_dir(config.data_dir), config)
    features = builder.info.features
    info = DataInfo(
        name=f"{builder.name} {builder.version}",
        image_shape=features["image"].shape,
        class_names=tuple(features["label"].names),
        folder=Path(builder.data_path),
    )
    train = Batches(*decode(builder, "train"), batch_size, seed)
    test = Batches(*decode(builder, "test"), eval_batch_size)
    return train, test, info
