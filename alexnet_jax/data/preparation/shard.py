"""One file of a prepared data set: examples as ArrayRecord, laid out as by TFDS."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import (
    ArrayRecordReader,
    ArrayRecordWriter,
)
from tensorflow_datasets.core import example_serializer

from alexnet_jax.data.preparation.jpeg import BrokenImage
from alexnet_jax.data.preparation.sources import Source
from alexnet_jax.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """What is done to each image file.

    Attributes:
      words: The same as `mend`, for people and to know a begun preparation again.
      mend: Takes and returns an image file's content.
      image_bytes: About the size of what comes out; None if that of what goes in.
    """

    words: str
    mend: Callable[[bytes], bytes]
    image_bytes: int | None = None

    def num_bytes(self, source: Source) -> int:
        """Returns about how much a source will take on disk."""
        if self.image_bytes is None:
            return source.num_bytes
        return min(source.num_bytes, self.image_bytes * len(source))


@dataclass(frozen=True)
class Shard:
    """A file to be written.

    Attributes:
      path: The file.
      source: Its examples.
      num_bytes: About its size.
      recipe: What is done to the examples.
      features: The data set's.
      on_broken: `fail`, or `skip` to leave broken images out.
    """

    path: Path
    source: Source
    num_bytes: int
    recipe: Recipe
    features: Any
    on_broken: str


def write_shard(shard: Shard) -> list[str]:
    """Writes a shard, whole or not at all; returns what was left out of it."""
    broken: list[str] = []
    part = shard.path.with_name(f"{shard.path.name}.part")
    try:
        writer = ArrayRecordWriter(str(part), "group_size:1")
        for record in _records(shard, broken):
            writer.write(record)
        writer.close()
        part.replace(shard.path)
    except (OSError, RuntimeError) as error:  # array_record raises the latter
        raise unwritable(part.parent, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return broken


def _records(shard: Shard, broken: list[str]) -> Iterator[bytes]:
    features = shard.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    for name, label, content in shard.source.read():
        try:
            image = shard.recipe.mend(content)
        except BrokenImage as error:
            line = f"{name} ({error})"
            if shard.on_broken == "fail":
                raise InputError(
                    f"data.on_broken: {line} is broken; mend or remove it, or set "
                    "data.on_broken=skip to leave such images out"
                ) from error
            broken.append(line)
            continue
        example = {"image": io.BytesIO(image), "label": label, "file_name": name}
        yield serializer.serialize_example(features.encode_example(example))


def count_records(path: Path) -> int:
    """Returns how many examples a shard holds."""
    reader = ArrayRecordReader(str(path))
    with contextlib.closing(reader):
        return reader.num_records()


def unwritable(folder: Path, error: Exception) -> InputError:
    """Returns what to say when a folder cannot be written."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(
        f"data.data_dir: {folder} cannot be written ({reason}); the shards that lie "
        "there are kept: make room, and the same command goes on with them"
    )
