"""Data sets by name, and their batches: `create_data`.

Reading order: `batches`, `stream`, `spec`; `decoding` reads every image file. Each data
set has its own module; `preparation` turns files into a prepared copy. This package
imports no network, device layout or run; all but `models` and `layers` may import it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax.config import side_pair
from alexnet_jax.data import digits, fashion_mnist, image_folder, imagenet, shapes
from alexnet_jax.data.batches import Batch, Batches, Order, Split, true_examples
from alexnet_jax.data.preparation.builder import decode, resolve_data_dir
from alexnet_jax.data.preparation.damage import DamagedData, NotPrepared
from alexnet_jax.data.preparation.prepared import Access, accessed, may_write
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import KRIZHEVSKY
from alexnet_jax.data.stream import Reader, Stream
from alexnet_jax.errors import InputError

__all__ = [
    "DATA_SETS",
    "Batch",
    "Batches",
    "Data",
    "DataSpec",
    "Split",
    "create_data",
    "open_data_set",
    "true_examples",
]

# Of the folder of prepared data sets and `config.data`.
Loader = Callable[[Path, ConfigDict], tfds.core.DatasetBuilder]

DATA_SETS: dict[str, Loader] = {
    "digits": lambda data_dir, data: digits.load(data_dir),
    "fashion_mnist": lambda data_dir, data: fashion_mnist.load(
        data_dir, data.manual_dir
    ),
    "image_folder": lambda data_dir, data: image_folder.load(
        data_dir, data.manual_dir, data.on_broken
    ),
    "imagenet2012": lambda data_dir, data: imagenet.load(
        data_dir, data.manual_dir, data.on_broken
    ),
    "imagenet2012_256": lambda data_dir, data: imagenet.load_256(
        data_dir, data.manual_dir, data.on_broken
    ),
    "shapes": lambda data_dir, data: shapes.load(data_dir, data.on_broken),
}


# The others are measured. By a builder's name.
_PUBLISHED = dict.fromkeys(("imagenet2012", "imagenet2012_256"), KRIZHEVSKY)


@dataclass(frozen=True)
class Data:
    """A data set, ready to be trained on.

    Attributes:
      train: The training batches, shuffled.
      test: The test or validation batches, in order.
      spec: What the data set is.
      folder: Where its prepared copy is.
    """

    train: Split
    test: Split
    spec: DataSpec
    folder: Path

    def close(self) -> None:
        """Stops reading ahead."""
        self.train.close()
        self.test.close()


def create_data(
    data: ConfigDict,
    *,
    batch_size: int,
    eval_batch_size: int,
    seed: int,
    read_from: str | None = None,
) -> Data:
    """Opens a data set; prepares it on first use, and anew if it is damaged.

    Images of one size are decoded into memory; others are read from disk as they are
    needed, and resized to `data.stored_size`.

    Args:
      data: `config.data`.
      batch_size: Training images per step, over all devices.
      eval_batch_size: Test images per step, over all devices.
      seed: Draws the order of every epoch.
      read_from: Another folder of prepared data sets, which goes first where it has
        this one intact; nothing is written there.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be read.
    """

    def create(data_dir: Path) -> Data:
        return _create(data_dir, data, batch_size, eval_batch_size, seed)

    own = resolve_data_dir(data.data_dir)
    other = resolve_data_dir(read_from) if read_from else own
    if other != own:
        try:
            with accessed(Access(may_write=False)):
                return create(other)
        except (NotPrepared, DamagedData) as error:
            print(
                f"note      {data.name} is taken from {own}: {other}, which the run "
                f"names, is only read ({error})",
                file=sys.stderr,
                flush=True,
            )
    try:
        return create(own)
    except DamagedData:  # records, which are not read before
        with accessed(Access(check=_decode_all)):
            return create(own)


def _decode_all(builder: tfds.core.DatasetBuilder) -> None:
    for split in builder.info.splits:
        decode(builder, split)


def _create(
    data_dir: Path, data: ConfigDict, batch_size: int, eval_batch_size: int, seed: int
) -> Data:
    builder = _load(data_dir, data)
    features, splits = builder.info.features, builder.info.splits
    folder = Path(builder.data_path)
    evaluated = "test" if "test" in splits else "validation"
    in_memory = None not in features["image"].shape
    keep = may_write()

    def create_split(name: str, batch_size: int, seed: int | None) -> Split:
        if in_memory:
            return Batches(*decode(builder, name), batch_size, seed)
        order = Order(splits[name].num_examples, batch_size, seed)
        size = side_pair(data.stored_size)
        reader = Reader(folder, name, order, size, data.fit, slice(None))
        published = _PUBLISHED.get(builder.name)
        return Stream(reader, data.workers, data.on_broken, published, keep)

    train = create_split("train", batch_size, seed)
    test = create_split(evaluated, eval_batch_size, None)
    spec = DataSpec(
        name=f"{builder.name} {builder.version}",
        class_names=tuple(features["label"].names),
        image_shape=train.image_shape,
        measure=train.statistics,
        streamed=not in_memory,
    )
    return Data(train, test, spec, folder)


def open_data_set(data: ConfigDict) -> tfds.core.DatasetBuilder:
    """Returns the builder of a data set; prepares it on first use.

    Args:
      data: `config.data`.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be read.
    """
    return _load(resolve_data_dir(data.data_dir), data)


def _load(data_dir: Path, data: ConfigDict) -> tfds.core.DatasetBuilder:
    if data.name not in DATA_SETS:
        raise InputError(
            f"data.name must be one of {tuple(DATA_SETS)}; got {data.name!r}"
        )
    return DATA_SETS[data.name](data_dir, data)
