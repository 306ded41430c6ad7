"""Small data sets: prepared as ArrayRecord by TFDS, and decoded into memory."""

import contextlib
import io
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import requests
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from alexnet_jax.atomic import atomic_write, read_regular
from alexnet_jax.data.decoding import read_pixels
from alexnet_jax.data.image_files import open_image
from alexnet_jax.data.npz import load_npz
from alexnet_jax.data.preparation.damage import INFO_FILE, named_damage
from alexnet_jax.data.preparation.encoding import encode_with_pillow
from alexnet_jax.data.preparation.keys import count_channels, find_keys, fixed_shape
from alexnet_jax.data.preparation.lock import unwritable
from alexnet_jax.data.preparation.prepared import (
    Builder,
    clear_unfinished,
    may_write,
    open_prepared,
)
from alexnet_jax.data.preparation.sources import open_records, parse
from alexnet_jax.data.preparation.tfds_internals import skip_registration
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand

_SPARE = 10_000  # bytes of an archive besides its arrays
_CHUNK = 5_000  # records read at a time, so that few are in memory undecoded


with skip_registration():

    class Photographs(tfds.core.GeneratorBasedBuilder):
        """JPEG files of any size, by class; `shards.write_shards` writes them."""

        def describe(
            self, labels: tfds.features.ClassLabel, description: str
        ) -> tfds.core.DatasetInfo:
            """Returns the result of `_info`."""
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": labels,
                    "file_name": tfds.features.Text(),
                }
            )
            return tfds.core.DatasetInfo(
                builder=self,
                description=description,
                features=features,
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> None:
            raise NotImplementedError("prepared by alexnet_jax.data.prepare")

        def _generate_examples(self) -> None:
            raise NotImplementedError("prepared by alexnet_jax.data.prepare")


def resolve_data_dir(data_dir: str | None) -> Path:
    """Returns the folder of prepared data sets, absolute.

    Args:
      data_dir: `config.data.data_dir`; None takes `TFDS_DATA_DIR`, else
        `~/tensorflow_datasets`.

    Raises:
      InputError: There is no such home folder.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return expand(chosen, "data.data_dir" if data_dir else "TFDS_DATA_DIR")


def open_builder(
    cls: type[Builder],
    data_dir: Path,
    write: Callable[[Builder], None],
    config: tfds.core.BuilderConfig | None = None,
    has_test: bool = True,
) -> Builder:
    """Returns a prepared builder that writes and reads ArrayRecord.

    A copy that is missing or damaged is prepared. One that another project prepared in
    another format (TFDS's default is TFRecord, which only TensorFlow reads) is kept:
    ours is written to another folder.

    Args:
      cls: The builder's class.
      data_dir: Folder of prepared data sets.
      write: Prepares a builder's data set.
      config: The builder's config, if it has several.
      has_test: Whether it has a part to test on.

    Raises:
      InputError: The data set can be neither read nor prepared.
    """
    place = Path(cls.name, config.name if config else "", str(cls.VERSION))
    data_dir = keep_other_format(data_dir, place)
    options = {"config": config} if config else {}

    def create() -> Builder:
        return cls(data_dir=data_dir, file_format="array_record", **options)

    return open_prepared(data_dir / place, create, write, has_test)


def keep_other_format(data_dir: Path, place: Path) -> Path:
    """Returns where a copy is prepared: not where one lies that needs TensorFlow.

    Args:
      data_dir: Folder of prepared data sets.
      place: Of the copy, below it.
    """
    file_format = stored_format(data_dir / place)
    if file_format == "array_record":
        return data_dir
    print(
        f"{data_dir / place} holds {file_format} files, which need TensorFlow; "
        f"they are kept, and ArrayRecord is written to {data_dir}/alexnet_jax"
    )
    return data_dir / "alexnet_jax"


def stored_format(folder: Path) -> str:
    """Returns the format of a prepared copy's files; `array_record` if it has it."""
    try:
        info = json.loads(read_regular(folder / INFO_FILE))
        formats = [str(info["fileFormat"]), *info.get("alternativeFileFormats", ())]
        return "array_record" if "array_record" in formats else formats[0]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        # Missing or damaged; what another project wrote is kept all the same.
        return "tfrecord" if any(folder.glob("*.tfrecord*")) else "array_record"


def prepare(
    builder: tfds.core.GeneratorBasedBuilder,
    manual_dir: Path | None = None,
    check_downloads: bool = True,
) -> None:
    """Writes the data set as ArrayRecord, with a progress bar on a terminal.

    Args:
      builder: A builder from `open_builder`.
      manual_dir: Folder that holds the original files; None downloads them.
      check_downloads: Whether the checksums of all downloads must be known.

    Raises:
      InputError: `data_dir` cannot be written; nothing is left there.
      requests.exceptions.RequestException: A download failed.
    """
    folder = Path(builder.data_path)
    clear_unfinished(folder)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(
        manual_dir=manual_dir, force_checksums_validation=check_downloads
    )
    encode_with_pillow(builder.info.features)
    print(
        f"preparing {builder.name} {builder.version} as ArrayRecord, once, in "
        f"{builder.data_path}",
        flush=True,
    )
    try:
        with quiet():  # TFDS repeats it
            builder.download_and_prepare(download_config=config)
    except (requests.exceptions.RequestException, InputError):  # not of the disk
        raise
    except (OSError, RuntimeError) as error:  # array_record raises the latter
        raise unwritable(folder, error) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS and its downloads from printing; what fails they also raise."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def decode(
    builder: tfds.core.DatasetBuilder, split: str, folder: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a split of images of one size into memory, as `read_pixels` does.

    The first call writes a decoded copy, if the folder can and may be written, which
    later calls read in a moment.

    Args:
      builder: A prepared builder.
      split: Such as `train`.
      folder: Where decoded copies are; beside the records, if None.

    Returns:
      Images `(N, h, w, C) uint8` and labels `(N,) int32`, in the builder's order.

    Raises:
      DamagedData: The records cannot be read.
      InputError: An example has no class.
    """
    info = builder.info
    size = fixed_shape(info)
    assert size is not None
    shape = (info.splits[split].num_examples, *size, count_channels(info))
    kept = (folder or Path(builder.data_path)) / f"{split}-decoded.npz"
    # On damaged bytes NumPy and zipfile raise any kind.
    with contextlib.suppress(Exception):
        arrays = load_npz(kept, math.prod(shape) + 4 * shape[0] + _SPARE)
        images, labels = arrays["image"], arrays["label"]
        kinds = images.dtype, labels.dtype
        if (images.shape, labels.shape, *kinds) == (
            shape,
            shape[:1],
            np.uint8,
            np.int32,
        ):
            return images, labels
    with named_damage(Path(builder.data_path)):
        images, labels = _decode_records(builder, split, shape)
    if not may_write():
        return images, labels
    # A read-only folder, a full disk: the next start decodes again.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as part, part.open("wb") as file:
            np.savez(file, image=images, label=labels)
    return images, labels


def check_lengths(builder: tfds.core.DatasetBuilder, split: str) -> None:
    """Checks that files hold as many examples as they should.

    Raises:
      ValueError: One does not.
    """
    for path, length in zip(
        builder.info.splits[split].filepaths,
        builder.info.splits[split].shard_lengths,
        strict=True,
    ):
        with contextlib.closing(ArrayRecordReader(str(path))) as reader:
            if reader.num_records() != length:
                raise ValueError(
                    f"{path.name} holds {reader.num_records()} examples, {INFO_FILE} "
                    f"says {length}"
                )


def _decode_records(
    builder: tfds.core.DatasetBuilder, split: str, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    check_lengths(builder, split)
    keys = find_keys(builder.info)
    source = open_records(Path(builder.data_path), split)
    mode = "L" if shape[-1] == 1 else "RGB"
    images = np.empty(shape, np.uint8)
    labels = np.empty(shape[0], np.int32)
    for start in range(0, len(source), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(source)))
        records: list[bytes] = source.__getitems__(list(indices))
        for index, record in zip(indices, records, strict=True):
            _, labels[index], content = parse(record, keys)
            image = _decode_image(content, mode)
            if image.size != shape[2:0:-1]:
                raise ValueError(
                    f"example {index} of {split} is an image of height {image.height} "
                    f"and width {image.width}, where the features say {shape[1:3]}"
                )
            images[index] = np.asarray(image).reshape(shape[1:])
    check_labels(builder, split, labels)
    return images, labels


def _decode_image(content: bytes, mode: str) -> Image.Image:
    """Decodes an image as `read_pixels` does; a plain PNG in a third of the time."""
    image = open_image(io.BytesIO(content))
    if image.format == "PNG" and image.mode == mode:
        image.load()
        if not image.info:  # nothing to be turned, or transparent
            return image
    image = read_pixels(io.BytesIO(content)).image
    return image if image.mode == mode else image.convert(mode)


def check_labels(
    builder: tfds.core.DatasetBuilder, split: str, labels: np.ndarray
) -> None:
    """Checks that examples have a class that there is.

    Args:
      builder: A prepared builder.
      split: Such as `train`.
      labels: `(N,) int32`.

    Raises:
      InputError: Some have none, as in TFDS the tests whose answers are not published.
      ValueError: Some have another.
    """
    count = builder.info.features[find_keys(builder.info).label].num_classes
    if (labels < 0).any():
        raise InputError(
            f"data.name: {builder.info.full_name} has {(labels < 0).sum():,} examples "
            f"without a class in {split}; nothing can be trained or measured on them"
        )
    if (labels >= count).any():
        raise ValueError(f"{split} has the label {labels.max()}, of {count} classes")
