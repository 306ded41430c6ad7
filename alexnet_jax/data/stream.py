"""Batches from disk, read by Grain: each is a function of (seed, step)."""

import contextlib
import dataclasses
import functools
import math
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from alexnet_jax.data.batches import Batch, Order, all_images
from alexnet_jax.data.decoding import BrokenImage
from alexnet_jax.data.preparation.damage import FOREIGN_REMEDY
from alexnet_jax.data.preparation.jpeg import decode
from alexnet_jax.data.preparation.keys import Keys
from alexnet_jax.data.preparation.sources import open_records, parse
from alexnet_jax.data.preparation.workers import count_cores, end_with_parent
from alexnet_jax.data.statistics import Statistics, load_or_measure, load_stored
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.terminal.text import printable

Place = tuple[int, tuple[int, int, int]]  # a step, and the part of its batch

_FOREVER = 2**40  # steps
_MEASURED = 256  # images read at a time to measure them
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Reader:
    """Reads the batch of a step; can be sent to another process.

    Attributes:
      folder: Of the prepared data set.
      split: Such as `train`.
      order: Which examples a batch holds.
      size: Height and width of the images that are returned, in pixels.
      fit: How images of other proportions are resized; see `jpeg.decode`.
      part: The part of a batch that is read.
      keys: The names of an example's features.
      channels: Of the images that are returned, 1 if they are gray, else 3.
      way: How their pixels are computed; see `resizing.resize`.
    """

    folder: Path
    split: str
    order: Order
    size: tuple[int, int]
    fit: str
    part: slice
    keys: Keys = Keys()
    channels: int = 3
    way: str = "bicubic"

    def __call__(self, step: int) -> dict[str, Any]:
        """Returns a batch, and the names of broken images as `broken`.

        A broken image is black and its mask false; so is one without a class.
        """
        indices, mask = self.order.draw(step, self.part)
        records = _records(self.folder, self.split).__getitems__(indices.tolist())
        image = np.empty((len(indices), *self.image_shape), np.uint8)
        label = np.empty(len(indices), np.int32)
        broken = []
        for index, record in enumerate(records):
            try:
                name, label[index], content = parse(record, self.keys)
            except Exception as error:  # Protobuf and NumPy raise any kind
                raise RuntimeError(f"example {indices[index]}: {error}") from error
            try:
                if label[index] < 0:  # TFDS's for "unknown"
                    raise BrokenImage(f"its class is {label[index]}")
                image[index] = decode(
                    content, self.size, self.fit, self.channels, self.way
                )
            except BrokenImage as error:
                image[index], label[index], mask[index] = 0, 0, False
                broken.append(f"{name or f'example {indices[index]}'} ({error})")
        return {"image": image, "label": label, "mask": mask, "broken": broken}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, C)` of the images that are returned."""
        return *self.size, self.channels


@functools.lru_cache
def _records(folder: Path, split: str) -> Any:
    """Opens a split, once per process."""
    try:
        return open_records(folder, split)
    except InputError as error:  # which also tells what to do
        raise RuntimeError(str(error)) from error


@dataclass
class Stream:
    """A split on disk, decoded on several cores ahead of the steps that need it.

    Batches do not depend on who reads them: a run can resume at any step, with any
    number of workers and processes.

    Attributes:
      reader: Reads a batch.
      workers: Processes that read; 0 for threads of this process.
      on_broken: `fail`, or `skip` to skip broken images with a message for each.
      published: The statistics of a data set that need not be measured, ImageNet's.
      keep: Whether measured statistics are kept.
      beside: The folder in which they are; the data set's, if None.
      broken: The images that were skipped.
    """

    reader: Reader
    workers: int
    on_broken: str
    published: Statistics | None = None
    keep: bool = True
    beside: Path | None = None
    broken: set[str] = field(default_factory=set, init=False)
    _ahead: Any = field(default=None, init=False, repr=False)
    _next: Place | None = field(default=None, init=False, repr=False)
    _kept: tuple[Place, Batch] | None = field(default=None, init=False, repr=False)

    @property
    def batch_size(self) -> int:
        return self.reader.order.batch_size

    @property
    def num_examples(self) -> int:
        return self.reader.order.num_examples

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.reader.image_shape

    def __len__(self) -> int:
        return len(self.reader.order)

    def count(self, step: int) -> int:
        # Broken ones included: they are not known before they are read.
        return self.reader.order.count(step)

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """Returns the batch of a step; see `Split.batch`.

        Consecutive steps are read ahead; any other step takes a moment.

        Raises:
          InputError: An image is broken, and `on_broken` is `fail`.
          RunError: The files cannot be read, or a worker was killed.
        """
        if self.reader.order.seed is None:
            step %= len(self)  # every epoch is the same
        place = step, part.indices(self.batch_size)
        if self._kept is None or self._kept[0] != place:
            if place != self._next:
                self._read_from(step, part)
            self._next = None  # after an error a step is read anew
            batch = self._take()
            self._report(batch.pop("broken"))
            self._kept = place, batch
            following = step + 1
            if self.reader.order.seed is None:
                following %= len(self)
            self._next = following, place[1]
        return self._kept[1]

    @property
    def statistics_file(self) -> Path:
        """Where statistics of the images, as they are resized here, are kept."""
        reader = self.reader
        height, width = reader.size
        size = f"{height}" if height == width else f"{height}x{width}"
        # Files of before there was another way to resize are called without it.
        way = "" if reader.way == "bicubic" else f"-{reader.way}"
        part = f"{reader.split}{reader.order.tag}"
        name = f"{part}-{size}-{reader.fit}{way}-statistics.npz"
        return (self.beside or reader.folder) / name

    def statistics(self) -> Statistics:
        return self._statistics

    @functools.cached_property
    def _statistics(self) -> Statistics:
        """Kept; else published; else measured now, and kept."""
        reader, path = self.reader, self.statistics_file
        # Until 0.2.0 the command had a file for all sizes, measured at one of them.
        stored = load_stored(path.parent, reader.order.tag)
        if stored is not None and stored.mean_image.shape[:2] == tuple(reader.size):
            return stored
        if self.published is not None and not reader.order.tag and not path.exists():
            print(f"figures   {self.published.source}, of {reader.folder}")
            return self.published
        order = dataclasses.replace(reader.order, batch_size=_MEASURED, seed=None)
        reader = dataclasses.replace(reader, order=order, part=slice(None))
        whole = Stream(reader, self.workers, self.on_broken)
        whole.broken = self.broken  # each is named once
        if self.keep:
            with contextlib.suppress(OSError):  # then nothing is kept
                path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(whole):
            return load_or_measure(path, lambda: all_images(whole), self.keep)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = self._next = self._kept = None

    def _take(self) -> dict[str, Any]:
        try:
            return next(self._ahead)
        except (OSError, RuntimeError) as error:  # array_record raises the latter
            text, folder = " ".join(str(error).split()), self.reader.folder
            ours = self.beside in (None, folder)
            remedy = "delete the folder, and it is prepared anew"
            remedy = remedy if ours else FOREIGN_REMEDY
            raise RunError(
                f"data: {folder} cannot be read, or a process that was reading it was "
                f"killed ({text[:160]}); the checkpoints are kept: run the command "
                f"again to continue; if that fails too, {remedy}"
            ) from error

    def _read_from(self, step: int, part: slice) -> None:
        """Starts reading at a step."""
        import grain  # late: processes that prepare data need neither it nor JAX

        self.close()
        reader = dataclasses.replace(self.reader, part=part)
        threads = 0 if self.workers else count_cores()
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        batches = grain.MapDataset.range(step, _FOREVER).map(reader)
        ahead = batches.to_iter_dataset(options)
        if self.workers:
            self._check_shared_memory(part)
            if not flags.FLAGS.is_parsed():  # in a notebook; Grain asks them
                flags.FLAGS.mark_as_parsed()
            ahead = ahead.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self.workers),
                worker_init_fn=_start_worker,
            )
        self._ahead = iter(ahead)

    def _check_shared_memory(self, part: slice) -> None:
        """Checks that batches fit into it; otherwise a worker is killed by a signal."""
        if not _SHARED_MEMORY.is_dir():
            return
        examples = len(range(self.batch_size)[part])
        # Each worker has one being written, one being read and one waiting.
        needed = 3 * self.workers * examples * math.prod(self.image_shape)
        free = shutil.disk_usage(_SHARED_MEMORY).free
        if needed > free:
            raise InputError(
                f"data.workers: {self.workers} processes need up to "
                f"{needed / 1e6:.0f} MB of shared memory in {_SHARED_MEMORY}, where "
                f"{free / 1e6:.0f} MB are free; set fewer, or 0 for threads, or "
                "enlarge it (docker run --shm-size)"
            )

    def _report(self, broken: list[str]) -> None:
        for image in broken:
            if self.on_broken == "fail":
                raise InputError(
                    f"data.on_broken: image {image} in {self.reader.folder} is broken; "
                    "set data.on_broken=skip to skip broken images"
                )
            if image not in self.broken:
                self.broken.add(image)
                print(
                    f"broken    {printable(image)}: skipped, {len(self.broken)} so far",
                    file=sys.stderr,
                    flush=True,
                )


def _start_worker(index: int, count: int) -> None:
    end_with_parent()
