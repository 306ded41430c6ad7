"""Data sets too large for TFDS's own writer, laid out as TFDS lays them out.

TFDS shuffles more than 1 GB through files that it opens with TensorFlow, on twice the
disk, in one process, and from the beginning after a kill. Here the examples are listed
first and put into TFDS's order, that of their names' hashes; then each shard is written
for itself, whole or not at all: on all cores, and from where a killed run ended.
"""

import contextlib
import fcntl
import multiprocessing
import shutil
from collections.abc import Generator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import shard_utils
from tqdm import tqdm

from alexnet_jax.data.preparation.shard import (
    Recipe,
    Shard,
    count_records,
    unwritable,
    write_shard,
)
from alexnet_jax.data.preparation.sources import Source
from alexnet_jax.data.preparation.workers import count_cores, serve_parent
from alexnet_jax.errors import InputError

SHARDS = shard_utils.ShardConfig()  # of 64 MB to 1 GB, as TFDS cuts them
_WORTH_A_PROCESS = 2_000  # images: to start one takes as long as to write so many


def write(
    builder: tfds.core.DatasetBuilder,
    sources: Mapping[str, Source],
    recipe: Recipe,
    *,
    on_broken: str,
    workers: int | None = None,
) -> None:
    """Writes a data set as ArrayRecord; what a killed run left is gone on with.

    Args:
      builder: Says where, with which features `image`, `label` and `file_name`.
      sources: The examples of each split.
      recipe: What is done to them.
      on_broken: `fail`, or `skip` to leave broken images out, naming them.
      workers: Processes that write; as many as there are cores if not given.

    Raises:
      InputError: An image is broken, a source cannot be read, or the disk is full;
        the finished shards stay.
    """
    target = Path(builder.data_path)
    folder = target.with_name(f"{target.name}.incomplete")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shards = _plan(builder, sources, recipe, folder, on_broken)
            _write_all(builder, shards, workers or count_cores())
            _finish(builder, shards, folder, target)
    except BlockingIOError as error:
        raise InputError(
            f"data.data_dir: another run is preparing {folder}; wait for its end"
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error


def _plan(
    builder: tfds.core.DatasetBuilder,
    sources: Mapping[str, Source],
    recipe: Recipe,
    folder: Path,
    on_broken: str,
) -> dict[str, list[Shard]]:
    """Returns the shards of each split, if a begun preparation had the same."""
    shards: dict[str, list[Shard]] = {}
    for split, source in sources.items():
        num_bytes = recipe.num_bytes(source)
        number = SHARDS.get_number_shards(num_bytes, len(source))
        template = builder._get_filename_template(split).replace(data_dir=folder)
        shards[split] = []
        bounds = [0, *shard_utils.get_shard_boundaries(len(source), number)]
        for index in range(number):
            start, stop = bounds[index : index + 2]
            shard = Shard(
                Path(template.sharded_filepath(shard_index=index, num_shards=number)),
                source.part(start, stop),
                num_bytes * (stop - start) // len(source),
                recipe,
                builder.info.features,
                on_broken,
            )
            shards[split].append(shard)
    plan = folder / "plan.txt"
    lines = [f"{split}: {source.digest()}" for split, source in sources.items()]
    text = "\n".join([recipe.words, *lines, ""])
    if plan.exists() and plan.read_text() != text:
        raise InputError(
            f"data.data_dir: {folder} holds the beginning of another preparation (of "
            "other files, or otherwise); delete that folder to start afresh"
        )
    plan.write_text(text)
    return shards


def _write_all(
    builder: tfds.core.DatasetBuilder, shards: dict[str, list[Shard]], workers: int
) -> None:
    """Writes the shards that are not there yet."""
    all_shards = [shard for split in shards.values() for shard in split]
    missing = [shard for shard in all_shards if not shard.path.exists()]
    if not missing:
        return
    folder = missing[0].path.parent
    needed, free = sum(s.num_bytes for s in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"data.data_dir: {folder} will take about {needed / 1e9:.1f} GB more, and "
            f"{free / 1e9:.1f} GB are free; make room or choose another data.data_dir"
        )
    there = len(all_shards) - len(missing)
    begun = f", {there} of {len(all_shards)} shards are there" if there else ""
    print(
        f"preparing {builder.name} {builder.version} as ArrayRecord, once, in "
        f"{builder.data_path}{begun}",
        flush=True,
    )
    images = sum(len(shard.source) for shard in missing)
    bar = tqdm(total=images, unit=" images", disable=None, leave=False)
    number = 0
    with contextlib.closing(bar), contextlib.closing(_run(missing, workers)) as done:
        for shard, broken in done:
            bar.update(len(shard.source))
            for line in broken:
                number += 1
                tqdm.write(f"broken    {line}: left out, {number} so far")


def _run(
    shards: list[Shard], workers: int
) -> Generator[tuple[Shard, list[str]], None, None]:
    """Yields each shard when it is written, and the images that were left out."""
    images = sum(len(shard.source) for shard in shards)
    workers = min(workers, len(shards), 1 + images // _WORTH_A_PROCESS)
    if workers == 1:
        for shard in shards:
            yield shard, write_shard(shard)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, serve_parent) as pool:
        futures = {pool.submit(write_shard, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a process that wrote to {shards[0].path.parent} was killed (no "
                "memory left?); the same command goes on with what lies there"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _finish(
    builder: tfds.core.DatasetBuilder,
    shards: dict[str, list[Shard]],
    folder: Path,
    target: Path,
) -> None:
    """Describes the data set, which makes it one, and puts it into its place."""
    infos = []
    for split, parts in shards.items():
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[count_records(shard.path) for shard in parts],
                num_bytes=sum(shard.path.stat().st_size for shard in parts),
                filename_template=builder._get_filename_template(split),
            )
        )
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    builder.info.write_to_directory(folder)
    for name in ("plan.txt", "lock"):
        (folder / name).unlink()
    folder.rename(target)
