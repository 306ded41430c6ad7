"""Data sets by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax.data import digits, fashion_mnist, image_folder, imagenet, shapes
from alexnet_jax.data.batches import Batches, Split
from alexnet_jax.data.order import Order
from alexnet_jax.data.preparation.builder import decode, resolve_data_dir
from alexnet_jax.data.stream import Reader, Stream
from alexnet_jax.errors import InputError

__all__ = [
    "DATA_SETS",
    "Batches",
    "DataInfo",
    "Split",
    "create_data",
    "open_data_set",
]

Loader = Callable[[Path, ConfigDict], tfds.core.DatasetBuilder]

DATA_SETS: dict[str, Loader] = {
    "digits": lambda data_dir, config: digits.load(data_dir),
    "fashion_mnist": lambda data_dir, config: fashion_mnist.load(
        data_dir, config.manual_dir
    ),
    "image_folder": lambda data_dir, config: image_folder.load(
        data_dir, config.manual_dir, config.on_broken
    ),
    "imagenet2012": lambda data_dir, config: imagenet.load(
        data_dir, config.manual_dir, config.on_broken
    ),
    "imagenet2012_256": lambda data_dir, config: imagenet.load_256(
        data_dir, config.manual_dir, config.on_broken
    ),
    "shapes": lambda data_dir, config: shapes.load(data_dir, config.on_broken),
}


@dataclass(frozen=True)
class DataInfo:
    """What a data set is.

    Attributes:
      name: With its version, such as `fashion_mnist 3.0.1`.
      image_shape: `(h, w, C)` as batches hold them.
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
    """Opens a data set, prepared on first use.

    Images of one size are decoded into memory; others are read from disk as they are
    needed, and brought to `config.stored_size`.

    Args:
      config: `config.data`.
      batch_size: Training images a step, over all devices.
      eval_batch_size: Test images a step, over all devices.
      seed: Draws the order of every epoch.

    Returns:
      The training batches (shuffled), the test or validation batches (in order) and
      what they are.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be had.
    """
    builder = open_data_set(config)
    features, splits = builder.info.features, builder.info.splits
    shape, folder = features["image"].shape, Path(builder.data_path)
    evaluated = "test" if "test" in splits else "validation"
    train: Split
    test: Split
    if None in shape:  # of any size: too large for memory, or at least not known

        def stream(split: str, batch_size: int, seed: int | None) -> Stream:
            order = Order(splits[split].num_examples, batch_size, seed)
            size, rows = config.stored_size, slice(None)
            reader = Reader(folder, split, order, size, config.fit, rows)
            return Stream(reader, config.workers, config.on_broken)

        train = stream("train", batch_size, seed)
        test = stream(evaluated, eval_batch_size, None)
        shape = train.image_shape
    else:
        train = Batches(*decode(builder, "train"), batch_size, seed)
        test = Batches(*decode(builder, evaluated), eval_batch_size)
    info = DataInfo(
        name=f"{builder.name} {builder.version}",
        image_shape=shape,
        class_names=tuple(features["label"].names),
        folder=folder,
    )
    return train, test, info


def open_data_set(config: ConfigDict) -> tfds.core.DatasetBuilder:
    """Returns the builder of a data set; prepares it on first use.

    Args:
      config: `config.data`.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be had.
    """
    if config.name not in DATA_SETS:
        raise InputError(
            f"data.name must be one of {tuple(DATA_SETS)}; got {config.name!r}"
        )
    return DATA_SETS[config.name](resolve_data_dir(config.data_dir), config)
