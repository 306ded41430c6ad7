"""Data sets too large for TFDS's own writer, in TFDS's layout.

TFDS shuffles more than 1 GB through files that it opens with TensorFlow, with twice the
disk space, in one process, and from the beginning after a kill. Here the examples are
listed first and put into TFDS's order, that of their names' hashes; then each shard is
written by itself, on all cores. After a kill only the missing shards are written.
"""

import contextlib
import io
import itertools
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python.array_record_module import (
    ArrayRecordReader,
    ArrayRecordWriter,
)

from alexnet_jax.atomic import (
    atomic_write,
    read_regular,
    remove_unfinished,
    write_file,
)
from alexnet_jax.data.decoding import BrokenImage
from alexnet_jax.data.preparation.jpeg import Conversion
from alexnet_jax.data.preparation.prepared import may_write
from alexnet_jax.data.preparation.sources import Source
from alexnet_jax.data.preparation.tfds_internals import ExampleSerializer, ShardConfig
from alexnet_jax.data.preparation.workers import count_cores, map_unordered
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.bar import Bar
from alexnet_jax.terminal.text import counted, printable

SHARDS = ShardConfig()  # of 64 MB to 1 GB, as TFDS cuts them
_PLAN = "plan.txt"
_SKIPPED = "skipped.json"  # of each split the number of broken images
_IMAGES_PER_PROCESS = 2_000  # at least: to start one takes as long as to write so many


@dataclass(frozen=True)
class Shard:
    """A file to be written: examples as ArrayRecord.

    Attributes:
      path: The file.
      source: Its examples.
      num_bytes: About its size.
      conversion: What is done to the images.
      features: The data set's.
      on_broken: `fail`, or `skip` to skip broken images.
    """

    path: Path
    source: Source
    num_bytes: int
    conversion: Conversion
    features: tfds.features.FeaturesDict
    on_broken: str


def write_shards(
    builder: tfds.core.DatasetBuilder,
    sources: Mapping[str, Source],
    conversion: Conversion,
    *,
    on_broken: str,
    lacking: Mapping[str, int] | None = None,
) -> None:
    """Writes a data set as ArrayRecord; continues what a killed run began.

    Args:
      builder: Has the folder, which this process alone prepares, and the features
        `image`, `label` and `file_name`.
      sources: The examples of each split.
      conversion: What is done to the images.
      on_broken: `fail`, or `skip` to skip broken images with a message for each.
      lacking: The number of images that the sources lack, of each split.

    Raises:
      InputError: An image is broken, a source cannot be read, or the disk is full;
        the finished shards are kept.
    """
    target = Path(builder.data_path)
    folder = target.with_name(f"{target.name}.incomplete")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        for part in folder.glob("*.part"):  # of a killed run of an earlier version
            part.unlink()
        shards = _plan(builder, sources, conversion, folder, on_broken)
        _remove_damaged(shards)
        _write_missing(builder, shards)
        _finish(builder, shards, folder, target, lacking or {})
    except OSError as error:
        raise _unwritable(folder, error) from error


def _plan(
    builder: tfds.core.DatasetBuilder,
    sources: Mapping[str, Source],
    conversion: Conversion,
    folder: Path,
    on_broken: str,
) -> dict[str, list[Shard]]:
    """Returns the shards of each split; refuses to continue another plan."""
    shards: dict[str, list[Shard]] = {}
    for split, source in sources.items():
        num_bytes = conversion.estimate_bytes(len(source), source.num_bytes)
        number = SHARDS.get_number_shards(num_bytes, len(source))
        template = _template(builder, split, folder)
        bounds = [round(len(source) * index / number) for index in range(number + 1)]
        shards[split] = [
            Shard(
                Path(template.sharded_filepath(shard_index=index, num_shards=number)),
                source.part(start, stop),
                num_bytes * (stop - start) // len(source),
                conversion,
                builder.info.features,
                on_broken,
            )
            for index, (start, stop) in enumerate(itertools.pairwise(bounds))
        ]
    plan = folder / _PLAN
    lines = [f"{split}: {source.digest()}" for split, source in sources.items()]
    text = "\n".join([conversion.description, *lines, ""]).encode()
    if plan.exists() and read_regular(plan) != text:
        raise InputError(
            f"data.data_dir: {folder} holds an unfinished preparation of other files, "
            "or with another conversion; to start over, delete that folder"
        )
    write_file(plan, text)
    return shards


def _remove_damaged(shards: dict[str, list[Shard]]) -> None:
    """Removes shards of an unfinished preparation that cannot be opened."""
    for shard in itertools.chain(*shards.values()):
        if shard.path.exists():
            try:
                _count_records(shard.path)
            except RuntimeError:  # array_record's
                shard.path.unlink()


def _write_missing(
    builder: tfds.core.DatasetBuilder, shards: dict[str, list[Shard]]
) -> None:
    """Writes the shards that do not exist yet."""
    all_shards = [shard for split in shards.values() for shard in split]
    missing = [shard for shard in all_shards if not shard.path.exists()]
    if not missing:
        return
    folder = missing[0].path.parent
    needed, free = sum(s.num_bytes for s in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"data.data_dir: {folder} needs about {needed / 1e9:.1f} GB more, but "
            f"{free / 1e9:.1f} GB are free; free some space or choose another "
            "data.data_dir"
        )
    existing = len(all_shards) - len(missing)
    begun = f", {existing} of {len(all_shards)} shards exist" if existing else ""
    print(
        f"preparing {builder.name} {builder.version} as ArrayRecord, once, in "
        f"{builder.data_path}{begun}",
        flush=True,
    )
    images = sum(len(shard.source) for shard in missing)
    workers = min(count_cores(), len(missing), 1 + images // _IMAGES_PER_PROCESS)
    skipped = 0
    with (
        contextlib.closing(map_unordered(write_shard, missing, workers)) as done,
        Bar(images, "images") as bar,
    ):
        try:
            for shard, broken in done:
                bar.advance(len(shard.source))
                for line in broken:
                    skipped += 1
                    print(
                        f"broken    {printable(line)}: skipped, {skipped} so far",
                        file=sys.stderr,
                        flush=True,
                    )
        except BrokenProcessPool as error:
            raise InputError(
                f"data: a process that was writing to {folder} was killed (out of "
                "memory?); run the same command again to continue"
            ) from error


def write_shard(shard: Shard) -> list[str]:
    """Writes a shard; returns a line for each broken image that was skipped."""
    broken: list[str] = []
    try:
        with atomic_write(shard.path) as part:
            writer = ArrayRecordWriter(str(part), "group_size:1")
            for record in _records(shard, broken):
                writer.write(record)
            writer.close()
    except (OSError, RuntimeError) as error:  # array_record raises the latter
        raise _unwritable(shard.path.parent, error) from error
    return broken


def _records(shard: Shard, broken: list[str]) -> Iterator[bytes]:
    features = shard.features
    serializer = ExampleSerializer(features.get_serialized_info())
    for name, label, content in shard.source.read():
        try:
            if isinstance(content, BrokenImage):
                raise content
            image = shard.conversion.convert(content)
        except BrokenImage as error:
            line = f"{name} ({error})"
            if shard.on_broken == "fail":
                raise InputError(
                    f"data.on_broken: image {line} is broken; repair or remove it, or "
                    "set data.on_broken=skip to skip broken images"
                ) from error
            broken.append(line)
            continue
        example = {"image": io.BytesIO(image), "label": label, "file_name": name}
        yield serializer.serialize_example(features.encode_example(example))


def _unwritable(folder: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(
        f"data.data_dir: {folder} cannot be written ({reason}); the finished shards "
        "are kept: free some space, then run the same command again to continue"
    )


def _finish(
    builder: tfds.core.DatasetBuilder,
    shards: dict[str, list[Shard]],
    folder: Path,
    target: Path,
    lacking: Mapping[str, int],
) -> None:
    """Describes the data set and moves it to its final place."""
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[_count_records(shard.path) for shard in parts],
            num_bytes=sum(shard.path.stat().st_size for shard in parts),
            filename_template=_template(builder, split, target),
        )
        for split, parts in shards.items()
    ]
    builder.info.set_splits(tfds.core.SplitDict(infos))
    builder.info.write_to_directory(folder)
    skipped = {
        split: lacking.get(split, 0)
        + sum(len(shard.source) for shard in parts)
        - info.num_examples
        for (split, parts), info in zip(shards.items(), infos, strict=True)
    }
    if any(skipped.values()):
        write_file(folder / _SKIPPED, json.dumps(skipped))
    for name in (_PLAN, "lock"):  # version 0.1 had a lock there
        (folder / name).unlink(missing_ok=True)
    folder.rename(target)


def check_whole(builder: tfds.core.DatasetBuilder, on_broken: str) -> None:
    """Checks that a prepared data set lacks no image where broken ones are faults.

    Args:
      builder: Prepared by `write_shards`, with either value of `on_broken`.
      on_broken: As it is now.

    Raises:
      InputError: It is `fail`, and images were skipped; not of a copy that is only
        read.
    """
    if on_broken != "fail" or not may_write():
        return
    if skipped := sum(count_lacking(builder).values()):
        raise InputError(
            f"data.on_broken: {builder.data_path} lacks {counted(skipped, 'image')} "
            "that could not be read as it was prepared; set data.on_broken=skip to do "
            "without, or repair the files and delete that folder"
        )


def count_lacking(builder: tfds.core.DatasetBuilder) -> dict[str, int]:
    """Returns the number of images that a prepared data set lacks, of each split."""
    try:
        found = json.loads(read_regular(Path(builder.data_path) / _SKIPPED))
        return {split: int(number) for split, number in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # of none skipped no file is written


def _template(
    builder: tfds.core.DatasetBuilder, split: str, folder: Path
) -> tfds.core.ShardedFileTemplate:
    """Returns how the files of a split are called in a folder."""
    return tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name=builder.name,
        split=split,
        filetype_suffix=builder.info.file_format.file_suffix,
    )


def _count_records(path: Path) -> int:
    with contextlib.closing(ArrayRecordReader(str(path))) as reader:
        return reader.num_records()
