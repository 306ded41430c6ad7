"""A part of the training images to validate on, where a data set brings none."""

import contextlib
import csv
import io
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from alexnet_jax.atomic import atomic_write, read_regular, write_file
from alexnet_jax.data.image_files import as_utf8
from alexnet_jax.data.npz import load_npz
from alexnet_jax.data.preparation.builder import check_labels, check_lengths
from alexnet_jax.data.preparation.damage import named_damage
from alexnet_jax.data.preparation.keys import find_keys
from alexnet_jax.data.preparation.prepared import may_write
from alexnet_jax.data.preparation.sources import open_records, parse
from alexnet_jax.errors import InputError

SPLIT_FILE = "split.csv"
# Names of the parts on which runs are measured: the first that there is.
EVALUATED = ("test", "validation", "val", "valid", "dev")
_CHUNK = 256  # records that are in memory at a time
_SPARE = 10_000  # bytes of an archive besides its arrays
_MAX_NAME = 4096  # bytes


@dataclass(frozen=True)
class Division:
    """The training images of a data set, divided into those trained on and the others.

    Attributes:
      names: Of the images; empty where they have none.
      labels: `(N,) int32`.
      class_names: By label.
      is_validation: `(N,) bool`.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    is_validation: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """The places of the images that are trained on, `(n,) int64`, ascending."""
        return np.flatnonzero(~self.is_validation)

    @property
    def validation(self) -> np.ndarray:
        """The places of the others, `(N - n,) int64`, ascending."""
        return np.flatnonzero(self.is_validation)

    @cached_property
    def text(self) -> str:
        """The content of `split.csv`: place, name, class and part of each image."""
        file = io.StringIO()
        names = self.names or ("",) * len(self.labels)
        # What is not quoted would end a row.
        quoted = any("\r" in name for name in names)
        writer = csv.writer(file, lineterminator="\n")
        if quoted:
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(("index", "file", "label", "split"))
        parts = np.where(self.is_validation, "validation", "train")
        rows = zip(names, self.labels.tolist(), parts.tolist(), strict=True)
        for index, (name, label, part) in enumerate(rows):
            writer.writerow((index, as_utf8(name), self.class_names[label], part))
        return file.getvalue()

    def save(self, workdir: Path) -> None:
        """Writes `split.csv` into a run's folder, unless it is there."""
        path = workdir / SPLIT_FILE
        with contextlib.suppress(OSError):
            if read_regular(path) == self.text.encode():
                return
        write_file(path, self.text)

    def check(self, workdir: Path) -> None:
        """Checks that a run was trained with this division.

        Raises:
          InputError: Its `split.csv` says another; images that it was trained on would
            be counted as new ones.
        """
        path = workdir / SPLIT_FILE
        with contextlib.suppress(OSError):
            if read_regular(path) != self.text.encode():
                raise InputError(
                    f"data.val_share: {path} divides other images than the data set "
                    "has now; restore the images, or delete that file to validate on "
                    "images of which some were trained on"
                )


class WrongShare(InputError):
    """A validation part is to be drawn where there is one, or none where there is not.

    Attributes:
      brought: Whether the data set brings a part to measure on.
    """

    def __init__(self, line: str, *, brought: bool) -> None:
        """Keeps it."""
        super().__init__(line)
        self.brought = brought


def check_share(name: str, splits: Collection[str], share: float | None) -> None:
    """Checks that a validation part is drawn where there is none, and only there.

    Args:
      name: What an error calls the images.
      splits: The parts that the data set has.
      share: `config.data.val_share`.

    Raises:
      WrongShare: There is none and none is drawn, or there are both.
    """
    brought = [split for split in EVALUATED if split in splits]
    if share is None and not brought:
        others = ", ".join(split for split in splits if split != "train")
        more = f"; of its other splits, {others}, none is called test or validation"
        raise WrongShare(
            f"data.val_share: {name} has no validation and no test part; set "
            "data.val_share=0.2 to take a fifth of each class of the training images, "
            f"drawn by the seed, for validation{more if others else ''}",
            brought=False,
        )
    if share is not None and brought:
        raise WrongShare(
            f"data.val_share: {name} has a {brought[0]} part, on which runs are "
            "measured; leave data.val_share out",
            brought=True,
        )


def divide(
    builder: tfds.core.DatasetBuilder, share: float, seed: int, folder: Path
) -> Division:
    """Draws the validation part of a data set that has only training images.

    The share of each class is drawn by itself, at least an image for either part; a
    class with one image stays in the training part.

    Args:
      builder: A prepared builder.
      share: `config.data.val_share`, of each class.
      seed: The run's.
      folder: Where names and labels are kept, if it can and may be written.

    Raises:
      DamagedData: The records cannot be read.
      InputError: No class has two images.
    """
    labels, names = _read_index(builder, folder)
    feature = builder.info.features[find_keys(builder.info).label]
    is_validation = draw(labels, share, seed)
    if not is_validation.any():
        raise InputError(
            f"data.val_share: no class of {builder.info.full_name} has two images, so "
            "none can be taken for validation; add images"
        )
    lonely = np.flatnonzero(np.bincount(labels, minlength=feature.num_classes) == 1)
    if len(lonely):
        shown = ", ".join(feature.names[label] for label in lonely[:5])
        more = f" and {len(lonely) - 5} more" if len(lonely) > 5 else ""
        print(
            f"note      one image only, trained on and not validated: {shown}{more}",
            file=sys.stderr,
            flush=True,
        )
    return Division(names, labels, tuple(feature.names), is_validation)


def draw(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a share of each class.

    Args:
      labels: `(N,) int32`.
      share: In (0, 1).
      seed: The same labels, share and seed give the same part.

    Returns:
      `(N,) bool`, true for what is drawn: of a class with two examples or more at least
      one, and not all.
    """
    drawn = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        count = min(max(round(share * len(places)), 1), len(places) - 1)
        # Three numbers, so that no epoch's order is drawn from the same ones.
        generator = np.random.default_rng((seed, int(label), 1))
        drawn[generator.permutation(places)[:count]] = True
    return drawn


def _read_index(
    builder: tfds.core.DatasetBuilder, folder: Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the labels and names of the training images; keeps them."""
    count = builder.info.splits["train"].num_examples
    kept = folder / "train-index.npz"
    with contextlib.suppress(Exception):  # NumPy and zipfile raise any kind
        arrays = load_npz(kept, count * (_MAX_NAME + 4) + _SPARE)
        labels, names = arrays["label"], arrays["name"]
        fits = labels.shape == (count,) and labels.dtype == np.int32
        if fits and names.dtype.kind == "S" and len(names) in (0, count):
            check_labels(builder, "train", labels)
            return labels, tuple(name.decode() for name in names.tolist())
    keys, found = find_keys(builder.info), []
    with named_damage(Path(builder.data_path)):
        check_lengths(builder, "train")
        source = open_records(Path(builder.data_path), "train")
        labels = np.empty(count, np.int32)
        for start in range(0, count, _CHUNK):
            indices = range(start, min(start + _CHUNK, count))
            records = source.__getitems__(list(indices))
            for index, record in zip(indices, records, strict=True):
                name, labels[index], _ = parse(record, keys)
                found.append(name)
        check_labels(builder, "train", labels)
    if not all(found):
        found = []
    if may_write():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            content = [name.encode() for name in found]
            with atomic_write(kept) as part, part.open("wb") as file:
                np.savez(file, label=labels, name=np.array(content, dtype="S"))
    return labels, tuple(found)
