"""Small data sets: prepared as ArrayRecord by TFDS, and decoded into memory."""

import contextlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.atomic import atomic_write
from alexnet_jax.errors import InputError

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
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
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser().absolute()


def create_builder(
    cls: type[tfds.core.GeneratorBasedBuilder], data_dir: Path
) -> tfds.core.GeneratorBasedBuilder:
    """Creates a builder that writes and reads ArrayRecord.

    A copy that another project prepared in another format (TFDS's default is TFRecord,
    which only TensorFlow reads) is kept: ours is written to another folder.

    Args:
      cls: The builder's class.
      data_dir: Folder of prepared data sets.
    """
    info_file = data_dir / cls.name / str(cls.VERSION) / "dataset_info.json"
    if info_file.exists():
        file_format = json.loads(info_file.read_text()).get("fileFormat")
        if file_format != "array_record":
            print(
                f"{info_file.parent} holds {file_format} files, which need TensorFlow; "
                f"they are kept, and ArrayRecord is written to {data_dir}/alexnet_jax"
            )
            data_dir = data_dir / "alexnet_jax"
    return cls(data_dir=data_dir, file_format="array_record")


def is_prepared(builder: tfds.core.GeneratorBasedBuilder) -> bool:
    """Whether the data set is prepared on disk."""
    return (Path(builder.data_path) / "dataset_info.json").exists()


def prepare(
    builder: tfds.core.GeneratorBasedBuilder, manual_dir: Path | None = None
) -> None:
    """Writes the data set as ArrayRecord, with a progress bar on a terminal.

    Args:
      builder: A builder from `create_builder`.
      manual_dir: Folder that holds the original files; None downloads them.

    Raises:
      InputError: `data_dir` cannot be written.
      requests.exceptions.RequestException: A download failed.
    """
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
    except OSError as error:
        raise InputError(
            f"data.data_dir: {builder.data_path} cannot be written "
            f"({error.strerror or error}); choose another data.data_dir"
        ) from error


def decode(
    builder: tfds.core.GeneratorBasedBuilder, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a split of PNG images into memory.

    The first call writes a decoded copy beside the records, if the folder can be
    written, which later calls read in a moment.

    Args:
      builder: A prepared builder with features `image` and `label`.
      split: `train` or `test`.

    Returns:
      Images `(N, h, w, C) uint8` and labels `(N,) int32`, in the builder's order.
    """
    info = builder.info
    shape = (info.splits[split].num_examples, *info.features["image"].shape)
    kept = Path(builder.data_path) / f"{split}-decoded.npz"
    with contextlib.suppress(*_UNREADABLE):
        with kept.open("rb") as opened, np.load(opened) as arrays:
            images, labels = arrays["image"], arrays["label"]
        if images.shape == shape and labels.shape == shape[:1]:
            return images, labels
    images, labels = _decode_records(builder, split, shape)
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
    source = builder.as_data_source(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    images = np.empty(shape, np.uint8)
    labels = np.empty(shape[0], np.int32)
    for start in range(0, len(source), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(source)))
        examples: list[dict[str, Any]] = source.__getitems__(list(indices))
        for index, example in zip(indices, examples, strict=True):
            png = Image.open(io.BytesIO(example["image"]))
            images[index] = np.asarray(png).reshape(shape[1:])
            labels[index] = example["label"]
    return images, labels
