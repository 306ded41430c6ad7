"""Data sets by name, and their batches: `create_data`.

Reading order: `batches`, `stream`, `spec`; `decoding` reads every image file. Each data
set has its own module; `preparation` turns files into a prepared copy. This package
imports no network, device layout or run; all but `models` and `layers` may import it.
"""

import contextlib
import difflib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax.config import BUNDLED, stored_pair
from alexnet_jax.data import (
    digits,
    fashion_mnist,
    image_folder,
    imagenet,
    own_builder,
    shapes,
    tfds_sets,
)
from alexnet_jax.data.batches import Batch, Batches, Order, Split, true_examples
from alexnet_jax.data.class_folders import check_outside
from alexnet_jax.data.preparation.builder import decode, resolve_data_dir
from alexnet_jax.data.preparation.damage import DamagedData, NotPrepared, named_damage
from alexnet_jax.data.preparation.keys import count_channels, find_keys, fixed_shape
from alexnet_jax.data.preparation.prepared import Access, accessed, may_write
from alexnet_jax.data.preparation.sources import open_records, parse
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import KRIZHEVSKY, stored_path
from alexnet_jax.data.stream import Reader, Stream
from alexnet_jax.data.validation import (
    EVALUATED,
    SPLIT_FILE,
    Division,
    WrongShare,
    check_share,
    divide,
)
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand, is_same_file

__all__ = [
    "DATA_SETS",
    "Batch",
    "Batches",
    "Data",
    "DataSpec",
    "Split",
    "WrongShare",
    "check_manual_dir",
    "check_name",
    "check_workdir",
    "create_data",
    "is_name",
    "open_data_set",
    "true_examples",
]

_MEMORY_BYTES = 4 << 30  # of a split that is decoded into memory

# Of the folder of prepared data sets and `config.data`.
Loader = Callable[[Path, ConfigDict], tfds.core.DatasetBuilder]

DATA_SETS: dict[str, Loader] = {
    "digits": lambda data_dir, data: digits.load(data_dir),
    "fashion_mnist": lambda data_dir, data: fashion_mnist.load(
        data_dir, data.manual_dir
    ),
    "image_folder": lambda data_dir, data: image_folder.load(
        data_dir, data.manual_dir, data.on_broken, data.val_share
    ),
    "imagenet2012": lambda data_dir, data: imagenet.load(
        data_dir, data.manual_dir, data.on_broken
    ),
    "imagenet2012_256": lambda data_dir, data: imagenet.load_256(
        data_dir, data.manual_dir, data.on_broken
    ),
    "shapes": lambda data_dir, data: shapes.load(data_dir, data.on_broken),
}


_WITH_TEST = frozenset(DATA_SETS) - {"image_folder"}

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
      division: What of the training images is `test`, where it is drawn from them.
      beside: Where what is computed of it is kept; None for `folder`.
    """

    train: Split
    test: Split
    spec: DataSpec
    folder: Path
    division: Division | None = None
    beside: Path | None = None

    @property
    def statistics_file(self) -> Path:
        """Where `data.statistics` stores what it measures of the training images."""
        if isinstance(self.train, Stream):
            return self.train.statistics_file
        tag = Order(0, 1, None, self.division.train).tag if self.division else ""
        return stored_path(self.beside or self.folder, tag)

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
    prepare: bool = True,
) -> Data:
    """Opens a data set; prepares it on first use, and anew if it is damaged.

    Images of one size are decoded into memory; others are read from disk as they are
    needed, and resized to `data.stored_size`.

    Args:
      data: `config.data`.
      batch_size: Training images per step, over all devices.
      eval_batch_size: Test images per step, over all devices.
      seed: Draws the order of every epoch, and the part that `data.val_share` is.
      read_from: Another folder of prepared data sets, which goes first where it has
        this one intact; nothing is written there.
      prepare: Whether what is missing or damaged is prepared; without, nothing is
        written, and that is an error.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be read.
    """
    ours = not data.name.startswith(tfds_sets.PREFIX)

    def create(data_dir: Path) -> Data:
        with contextlib.nullcontext() if ours else tfds_sets.not_replaced():
            return _create(data_dir, data, batch_size, eval_batch_size, seed)

    own = resolve_data_dir(data.data_dir)
    other = resolve_data_dir(read_from) if read_from else own
    if other != own:
        try:
            with accessed(Access(may_write=False)):
                return create(other)
        except (NotPrepared, DamagedData) as error:
            if prepare:
                print(
                    f"note      {data.name} is taken from {own}: {other}, which the "
                    f"run names, is only read ({error})",
                    file=sys.stderr,
                    flush=True,
                )
    if not prepare:
        with accessed(Access(may_write=False)):
            return create(own)
    try:
        return create(own)
    except DamagedData:  # records, which are not read before
        if not ours:
            raise
        with accessed(Access(check=_decode_all)):
            return create(own)


def _decode_all(builder: tfds.core.DatasetBuilder) -> None:
    if _fits_memory(builder):
        for split in builder.info.splits:
            decode(builder, split)


def _create(
    data_dir: Path, data: ConfigDict, batch_size: int, eval_batch_size: int, seed: int
) -> Data:
    builder = _load(data_dir, data)
    info, folder = builder.info, Path(builder.data_path)
    keys, size = find_keys(info), fixed_shape(info)
    # What is computed of it, and kept.
    beside = folder
    if data.name.startswith(tfds_sets.PREFIX) or tfds_sets.is_of_tfds(builder):
        beside = tfds_sets.kept_folder(builder, data_dir)
    evaluated, division = _evaluated(builder), None
    if evaluated is None:
        division = divide(builder, data.val_share, seed, beside)
    in_memory = _fits_memory(builder)
    if size and not in_memory:
        print(f"note      {info.full_name} is read from disk, not held in memory")

    def create_split(
        name: str, examples: np.ndarray | None, batch_size: int, seed: int | None
    ) -> Split:
        if in_memory:
            image, label = decode(builder, name, beside)
            if examples is not None:
                image, label = image[examples], label[examples]
            return Batches(image, label, batch_size, seed)
        count = info.splits[name].num_examples if examples is None else len(examples)
        order = Order(count, batch_size, seed, examples)
        sides = size or stored_pair(data)
        channels = count_channels(info)
        reader = Reader(
            folder,
            name,
            order,
            sides,
            data.fit,
            slice(None),
            keys,
            channels,
            data.resize,
        )
        published = None
        if not own_builder.is_name(data.name):
            published = _PUBLISHED.get(builder.name)
        return Stream(
            reader, data.workers, data.on_broken, published, may_write(), beside
        )

    parts = (division.train, division.validation) if division else (None, None)
    train = create_split("train", parts[0], batch_size, seed)
    test = create_split(evaluated or "train", parts[1], eval_batch_size, None)
    spec = DataSpec(
        name=_shown_name(builder, data.name),
        class_names=tuple(info.features[keys.label].names),
        image_shape=train.image_shape,
        measure=train.statistics,
        streamed=not in_memory,
        files=info.config_name or "" if data.name == "image_folder" else "",
    )
    return Data(train, test, spec, folder, division, beside)


def _evaluated(builder: tfds.core.DatasetBuilder) -> str | None:
    """Returns the split that runs are measured on; None if there is none.

    Of a test and a validation split it is the former, unless its answers are not
    published.
    """
    splits = builder.info.splits
    found = [one for one in EVALUATED if one in splits and splits[one].num_examples]
    if len(found) > 1 and not _has_labels(builder, found[0]):
        del found[0]
    return found[0] if found else None


def _has_labels(builder: tfds.core.DatasetBuilder, split: str) -> bool:
    folder = Path(builder.data_path)
    with named_damage(folder):
        records = open_records(folder, split)
        return len(records) > 0 and parse(records[0], find_keys(builder.info))[1] >= 0


def _fits_memory(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether images are of one size, and few enough to be decoded into memory."""
    size, count = fixed_shape(builder.info), builder.info.splits["train"].num_examples
    return size is not None and count * 3 * math.prod(size) <= _MEMORY_BYTES


def _shown_name(builder: tfds.core.DatasetBuilder, name: str) -> str:
    if name in DATA_SETS:
        return f"{builder.name} {builder.version}"
    return " ".join(builder.info.full_name.rsplit("/", 1))


def open_data_set(data: ConfigDict) -> tfds.core.DatasetBuilder:
    """Returns the builder of a data set; prepares it on first use.

    Args:
      data: `config.data`.

    Raises:
      InputError: `data.name` is unknown, or the data cannot be read.
    """
    return _load(resolve_data_dir(data.data_dir), data)


def _load(data_dir: Path, data: ConfigDict) -> tfds.core.DatasetBuilder:
    """Finds a data set by its name and opens it; the one door to all of them."""
    name = data.name
    if name in DATA_SETS:
        if data.val_share is not None and name in _WITH_TEST:
            raise InputError(  # now, not after it is prepared
                f"data.val_share: {name} has a part of its own, on which runs are "
                "measured; leave data.val_share out"
            )
        builder = DATA_SETS[name](data_dir, data)
    elif name.startswith(tfds_sets.PREFIX):
        builder = tfds_sets.load(data_dir, name, data.manual_dir)
    elif own_builder.is_name(name):
        builder = own_builder.load(data_dir, name, data)
    else:
        raise _unknown(name)
    find_keys(builder.info)
    splits = builder.info.splits
    filled = [split for split in splits if splits[split].num_examples]
    if "train" not in filled:
        raise InputError(
            f"data.name: {builder.info.full_name} has no training images; its splits "
            f"are {', '.join(splits)}"
        )
    check_share(builder.info.full_name, filled, data.val_share)
    return builder


def check_workdir(data: ConfigDict, workdir: Path) -> None:
    """Checks that a run does not write among a data set's classes, or over its table.

    Args:
      data: `config.data`.
      workdir: The run's folder, which may be missing.

    Raises:
      InputError: It would be a class, or in one; or it holds the table.
    """
    if data.name == "image_folder" and data.manual_dir:
        root = expand(data.manual_dir, "data.manual_dir")
        if root.is_dir():
            check_outside(root, workdir, "workdir")
        elif is_same_file(root, workdir / SPLIT_FILE):
            raise InputError(
                f"workdir: {workdir} holds the table {root.name}, which the run would "
                "replace; choose another --workdir"
            )


def check_manual_dir(name: str, manual_dir: str | None) -> None:
    """Checks that `--manual-dir` is read.

    Args:
      name: Of the data set, as `config.data.name`.
      manual_dir: The flag's value; None if it was not given.

    Raises:
      InputError: The data set comes with the package.
    """
    if manual_dir is not None and name in BUNDLED:
        raise InputError(
            f"--manual-dir: {name} comes with the package and reads no folder; leave "
            "it out, or take the data set image_folder"
        )


def is_name(name: str) -> bool:
    """Whether a name may be a data set's."""
    return (
        name in DATA_SETS
        or name.startswith(tfds_sets.PREFIX)
        or own_builder.is_name(name)
    )


def check_name(name: str) -> None:
    """Checks the value of `config.data.name`, before its data set is looked for.

    Raises:
      InputError: No data set can have it.
    """
    if not is_name(name):
        raise _unknown(name)


def _unknown(name: str) -> InputError:
    known = {one: f"tfds/{one}" for one in tfds_sets.list_names()}
    known |= {one: one for one in DATA_SETS}
    near = [known[one] for one in difflib.get_close_matches(name, known, 2)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return InputError(
        f"data.name must be one of {tuple(DATA_SETS)}, or {tfds_sets.FORM}, or "
        f"{own_builder.FORM}; got {name[:200]!r}{hint}"
    )
