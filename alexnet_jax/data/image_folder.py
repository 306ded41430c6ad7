"""A folder of class folders, as for torchvision and in Imagenette."""

import dataclasses
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from alexnet_jax.data.image_files import (
    OTHER_SUFFIXES,
    SUFFIXES,
    as_utf8,
    stat_file,
)
from alexnet_jax.data.preparation.builder import Photographs, open_builder
from alexnet_jax.data.preparation.jpeg import TO_STORED
from alexnet_jax.data.preparation.shards import write_shards
from alexnet_jax.data.preparation.sources import Files, ImageFile
from alexnet_jax.data.spreadsheet import row_fault
from alexnet_jax.data.table import locate, read_table
from alexnet_jax.data.validation import check_share
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand

_TEST_FOLDERS = {"val": "validation", "validation": "validation", "test": "test"}
_NOWHERE, _NOT_UTF8 = "it is a link that leads nowhere", "its name is not UTF-8"
_LAYOUT = (
    "it must contain train/CLASS/*.jpg and val/CLASS/*.jpg; or CLASS/*.jpg, with "
    "data.val_share=0.2 for a validation part; or be a table with path and label"
)


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """Names a folder's prepared copy.

    Attributes:
      class_names: By label.
    """

    class_names: tuple[str, ...] = ()


with tfds.core.registered.skip_registration():

    class ImageFolder(Photographs):
        """Images in class folders, for training and for testing."""

        name = "image_folder"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            names = self.builder_config.class_names
            labels = tfds.features.ClassLabel(names=names)
            return self.describe(labels, "Images from a folder of class folders.")


def load(
    data_dir: Path,
    manual_dir: str | None,
    on_broken: str,
    val_share: float | None = None,
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a folder's images, prepared; prepares them once.

    If files of the folder change (their names, sizes or times of change), it is another
    data set with its own prepared copy.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with `train/CLASS/*` and
        `val/CLASS/*` (also called `validation` or `test`); or, with `val_share`, with
        `train/CLASS/*` or `CLASS/*` alone; or a table, as `table.read_table` reads it.
      on_broken: What to do with a file that is not an image, cannot be read or has a
        name that is not UTF-8, `fail` or `skip`.
      val_share: `config.data.val_share`.

    Raises:
      InputError: An image is broken, the folder has another layout, a class has no
        images, or the disk is full.
    """
    if manual_dir is None:
        raise InputError(f"data.manual_dir must be set for image_folder; {_LAYOUT}")
    root = expand(manual_dir, "data.manual_dir")
    read = _read_table if os.path.isfile(root) else _read_folder
    found = read(root, on_broken, val_share)
    sources = {
        split: Files.in_order(split, files) for split, files in found.files.items()
    }
    if not all(map(len, sources.values())):
        raise InputError(f"data.on_broken: {as_utf8(root)} has no image that is left")
    digests = "".join(source.digest() for source in sources.values())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    name = root.stem if os.path.isfile(root) else root.name
    config = FolderConfig(
        name=f"{as_utf8(name)}-{digest[:8]}", class_names=found.class_names
    )

    def write(builder: ImageFolder) -> None:
        write_shards(builder, sources, TO_STORED, on_broken=on_broken)

    has_test = len(sources) > 1
    return open_builder(ImageFolder, data_dir, write, config, has_test)


class _Found(NamedTuple):
    """The images that were found, by split, and the classes of those to train on."""

    files: Mapping[str, Iterable[ImageFile]]
    class_names: tuple[str, ...]


def _read_folder(root: Path, on_broken: str, val_share: float | None) -> _Found:
    folders = _find_parts(root)
    names = tuple(_classes(folders["train"]))
    for folder in folders.values():
        for extra in sorted(set(_classes(folder)) - set(names)):
            raise InputError(
                f"data.manual_dir: class {extra} is in {folder} but not in "
                f"{folders['train']}, which has {len(names)} classes"
            )
    check_share(as_utf8(root), folders, val_share)
    left_out: Counter[str] = Counter()
    files = {
        split: tuple(_list(folder, on_broken, left_out))
        for split, folder in folders.items()
    }
    if left_out:
        kinds = ", ".join(f"{kind} ({n:,})" for kind, n in left_out.most_common())
        print(
            f"note      {left_out.total():,} files left out, which cannot be read: "
            f"{kinds}",
            file=sys.stderr,
            flush=True,
        )
    return _Found(files, names)


def _find_parts(root: Path) -> dict[str, Path]:
    """Returns the folder of each part: one only, if there are class folders alone.

    A folder `train` is a part; if it holds images and no folders, it is a class.
    """
    train = root / "train"
    tests = [name for name in _TEST_FOLDERS if os.path.isdir(root / name)]
    if os.path.isdir(train) and not _is_class(train):
        parts = {"train": train}
        return parts | {_TEST_FOLDERS[name]: root / name for name in tests[:1]}
    folders = list(filter(_is_folder, _scan(root))) if os.path.isdir(root) else []
    # One folder alone is no class, nor is a part to test on.
    if len(folders) < 2 or not all(_is_class(root / name) for name in tests):
        raise InputError(
            f"data.manual_dir: {as_utf8(root)} has another layout; {_LAYOUT}"
        )
    return {"train": root}


def _is_class(folder: Path) -> bool:
    if any(map(_is_folder, _scan(folder))):
        return False
    return any(name.lower().endswith(SUFFIXES) for name in os.listdir(folder))


def _read_table(path: Path, on_broken: str, val_share: float | None) -> _Found:
    table = read_table(path)
    check_share(as_utf8(path), {row.split for row in table.rows}, val_share)
    for split, count in table.left_out.items():
        print(
            f"note      {count:,} rows of the split {split} are left out: the "
            "validation part is measured",
            file=sys.stderr,
            flush=True,
        )
    files: dict[str, list[ImageFile]] = {row.split: [] for row in table.rows}
    for row in table.rows:
        place = locate(path, row)
        try:
            if as_utf8(place) != os.fspath(place):
                raise OSError(_NOT_UTF8)
            found = stat_file(place)
        except OSError as error:
            reason = error.strerror or str(error)
            if on_broken == "fail":
                raise row_fault(
                    path,
                    row.number,
                    f"{row.path} ({reason})",
                    "a path begins at the table's folder; correct it, or set "
                    "data.on_broken=skip to skip broken images",
                ) from error
            _report(row.path, f"row {row.number}: {reason}", on_broken)
            continue
        facts = found.st_size, found.st_mtime_ns
        files[row.split].append(ImageFile(row.path, row.label, str(place), 0, *facts))
    return _Found(dict(sorted(files.items())), table.class_names)


def _classes(folder: Path) -> list[str]:
    names = [entry.name for entry in _scan(folder) if _class_fault(entry) is None]
    if not names:
        raise InputError(
            f"data.manual_dir: {as_utf8(folder)} contains no class folders; {_LAYOUT}"
        )
    return sorted(names)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Returns what could be a class of a split, in order."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name[0] != "."]
    except OSError as error:
        raise InputError(
            f"data.manual_dir: {as_utf8(folder)} cannot be read ({error.strerror}); "
            "repair it, or choose another folder"
        ) from error
    found = [entry for entry in found if _is_folder(entry) or entry.is_symlink()]
    return sorted(found, key=lambda entry: entry.name)


def _class_fault(entry: os.DirEntry[str]) -> str | None:
    """Says why something is no class folder; a link to a file is merely none."""
    if not _is_folder(entry):
        return _NOWHERE if not os.path.exists(entry) else ""
    return None if as_utf8(entry.name) == entry.name else _NOT_UTF8


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a loop of links
        return False


def _list(
    folder: Path, on_broken: str = "fail", left_out: Counter[str] | None = None
) -> Iterator[ImageFile]:
    """Lists the images below each class folder; counts by suffix what is left out."""
    left_out = Counter() if left_out is None else left_out
    for entry in _scan(folder):
        fault, empty = _class_fault(entry), True
        if fault:
            _report(entry.name, fault, on_broken)
        if fault is not None:
            continue
        for path, found in _walk(Path(entry), left_out):
            key = path.relative_to(folder).as_posix()
            if isinstance(found, str):
                _report(key, found, on_broken)
            else:
                empty, facts = False, (found.st_size, found.st_mtime_ns)
                yield ImageFile(key, entry.name, str(path), 0, *facts)
        if empty:
            raise InputError(
                f"data.manual_dir: class folder {entry.path} contains no images; "
                f"their names must end with one of {', '.join(SUFFIXES)}"
            )


def _walk(
    folder: Path, left_out: Counter[str]
) -> Iterator[tuple[Path, os.stat_result | str]]:
    """Yields the images below a folder with sizes and times, or why they are broken."""
    waiting: list[tuple[Path, tuple[os.stat_result, ...]]] = [(folder, ())]
    while waiting:
        place, above = waiting.pop()
        try:
            here = os.stat(place)
            if any(os.path.samestat(here, other) for other in above):
                yield place, "it is a link to a folder that it is in"
                continue
            with os.scandir(place) as opened:
                entries = list(opened)
        except OSError as error:
            yield place, f"it cannot be read: {error.strerror}"
            continue
        for entry in entries:
            if _is_folder(entry):
                waiting.append((Path(entry), (*above, here)))
            elif entry.name[0] == ".":
                continue
            elif entry.name.lower().endswith(SUFFIXES):
                yield Path(entry), _stat_or_fault(entry)
            elif (suffix := Path(entry.name).suffix.lower()) in OTHER_SUFFIXES:
                left_out[suffix] += 1


def _stat_or_fault(entry: os.DirEntry[str]) -> os.stat_result | str:
    if as_utf8(entry.path) != entry.path:
        return _NOT_UTF8
    try:
        return stat_file(entry.path)
    except OSError as error:
        if entry.is_symlink() and not os.path.exists(entry):
            return _NOWHERE
        return error.strerror or str(error)


def _report(name: str, reason: str, on_broken: str) -> None:
    line = f"{as_utf8(name)} ({reason})"
    if on_broken == "fail":
        raise InputError(
            f"data.on_broken: image {line} is broken; repair or remove it, or set "
            "data.on_broken=skip to skip broken images"
        )
    print(f"broken    {line}: skipped", file=sys.stderr, flush=True)
