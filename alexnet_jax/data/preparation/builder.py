"""Small data sets: prepared as ArrayRecord by TFDS, and decoded into memory."""

import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from alexnet_jax.atomic import atomic_write, read_regular
from alexnet_jax.data.image_files import open_image
from alexnet_jax.data.npz import load_npz
from alexnet_jax.data.preparation.damage import INFO_FILE, named_damage
from alexnet_jax.data.preparation.lock import unwritable
from alexnet_jax.data.preparation.prepared import (
    Builder,
    clear_unfinished,
    may_write,
    open_prepared,
)
from alexnet_jax.terminal.paths import expand

_SPARE = 10_000  # bytes of an archive besides its arrays
_CHUNK = 5_000  # records read at a time, so that few are in memory undecoded


with tfds.core.registered.skip_registration():

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

    Raises:
      InputError: The data set can be neither read nor prepared.
    """
    place = Path(cls.name, config.name if config else "", str(cls.VERSION))
    folder = data_dir / place
    file_format = _file_format(folder)
    if file_format != "array_record":
        print(
            f"{folder} holds {file_format} files, which need TensorFlow; "
            f"they are kept, and ArrayRecord is written to {data_dir}/alexnet_jax"
        )
        data_dir = data_dir / "alexnet_jax"
    options = {"config": config} if config else {}

    def create() -> Builder:
        return cls(data_dir=data_dir, file_format="array_record", **options)

    return open_prepared(data_dir / place, create, write)


def _file_format(folder: Path) -> str:
    try:
        return str(json.loads(read_regular(folder / INFO_FILE))["fileFormat"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        # Missing or damaged; what another project wrote is kept all the same.
        return "tfrecord" if any(folder.glob("*.tfrecord*")) else "array_record"


def prepare(
    builder: tfds.core.GeneratorBasedBuilder, manual_dir: Path | None = None
) -> None:
    """Writes the data set as ArrayRecord, with a progress bar on a terminal.

    Args:
      builder: A builder from `open_builder`.
      manual_dir: Folder that holds the original files; None downloads them.

    Raises:
      InputError: `data_dir` cannot be written; nothing is left there.
      requests.exceptions.RequestException: A download failed.
    """
    folder = Path(builder.data_path)
    clear_unfinished(folder)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(
        manual_dir=manual_dir, force_checksums_validation=True
    )
    print(
        f"preparing {builder.name} {builder.version} as ArrayRecord, once, in "
        f"{builder.data_path}",
        flush=True,
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS repeats it
            builder.download_and_prepare(download_config=config)
    except requests.exceptions.RequestException:  # an OSError, but not of the disk
        raise
    except (OSError, RuntimeError) as error:  # array_record raises the latter
        raise unwritable(folder, error) from error


def decode(
    builder: tfds.core.GeneratorBasedBuilder, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a split of PNG images into memory.

    The first call writes a decoded copy beside the records, if the folder can and may
    be written, which later calls read in a moment.

    Args:
      builder: A prepared builder with features `image` and `label`.
      split: `train` or `test`.

    Returns:
      Images `(N, h, w, C) uint8` and labels `(N,) int32`, in the builder's order.

    Raises:
      DamagedData: The records cannot be read.
    """
    info = builder.info
    shape = (info.splits[split].num_examples, *info.features["image"].shape)
    kept = Path(builder.data_path) / f"{split}-decoded.npz"
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
    with named_damage(kept.parent):
        images, labels = _decode_records(builder, split, shape)
    if not may_write():
        return images, labels
    # A read-only folder, a full disk: the next start decodes again.
    with (
        contextlib.suppress(OSError),
        atomic_write(kept) as part,
        part.open("wb") as file,
    ):
        np.savez(file, image=images, label=labels)
    return images, labels


def _decode_records(
    builder: tfds.core.GeneratorBasedBuilder, split: str, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
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
    source = builder.as_data_source(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    images = np.empty(shape, np.uint8)
    labels = np.empty(shape[0], np.int32)
    for start in range(0, len(source), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(source)))
        examples: list[dict[str, Any]] = source.__getitems__(list(indices))
        for index, example in zip(indices, examples, strict=True):
            png = open_image(io.BytesIO(example["image"]))
            images[index] = np.asarray(png).reshape(shape[1:])
            labels[index] = example["label"]
    return images, labels
