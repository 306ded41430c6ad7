"""A folder of class folders, as for torchvision and in Imagenette."""

import dataclasses
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from alexnet_jax.data.image_files import SUFFIXES, as_utf8, stat_file
from alexnet_jax.data.preparation.builder import Photographs, open_builder
from alexnet_jax.data.preparation.jpeg import TO_STORED
from alexnet_jax.data.preparation.shards import write_shards
from alexnet_jax.data.preparation.sources import Files, ImageFile
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand

_TEST_FOLDERS = {"val": "validation", "validation": "validation", "test": "test"}
_NOWHERE, _NOT_UTF8 = "it is a link that leads nowhere", "its name is not UTF-8"
_LAYOUT = "it must contain train/CLASS/*.jpg and val/CLASS/*.jpg"


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
    data_dir: Path, manual_dir: str | None, on_broken: str
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a folder's images, prepared; prepares them once.

    If files of the folder change (their names, sizes or times of change), it is another
    data set with its own prepared copy.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with `train/CLASS/*` and
        `val/CLASS/*` (also called `validation` or `test`).
      on_broken: What to do with a file that is not an image, cannot be read or has a
        name that is not UTF-8, `fail` or `skip`.

    Raises:
      InputError: An image is broken, the folder has another layout, a class has no
        images, or the disk is full.
    """
    if manual_dir is None:
        raise InputError(f"data.manual_dir must be set for image_folder; {_LAYOUT}")
    root = expand(manual_dir, "data.manual_dir")
    tests = [name for name in _TEST_FOLDERS if os.path.isdir(root / name)]
    if not os.path.isdir(root / "train") or not tests:
        raise InputError(
            f"data.manual_dir: {root} has another layout; {_LAYOUT} (or "
            "validation/, or test/)"
        )
    class_names = tuple(_classes(root / "train"))
    for extra in sorted(set(_classes(root / tests[0])) - set(class_names)):
        raise InputError(
            f"data.manual_dir: class {extra} is in {root / tests[0]} but not in "
            f"{root / 'train'}, which has {len(class_names)} classes"
        )
    sources = {
        split: Files.in_order(split, _list(root / name, on_broken))
        for split, name in (("train", "train"), (_TEST_FOLDERS[tests[0]], tests[0]))
    }
    digests = "".join(source.digest() for source in sources.values())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    config = FolderConfig(
        name=f"{as_utf8(root.name)}-{digest[:8]}", class_names=class_names
    )

    def write(builder: ImageFolder) -> None:
        write_shards(builder, sources, TO_STORED, on_broken=on_broken)

    return open_builder(ImageFolder, data_dir, write, config)


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


def _list(folder: Path, on_broken: str = "fail") -> Iterator[ImageFile]:
    """Lists the images below each class folder."""
    for entry in _scan(folder):
        fault, empty = _class_fault(entry), True
        if fault:
            _report(entry.name, fault, on_broken)
        if fault is not None:
            continue
        for path, found in _walk(Path(entry)):
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


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result | str]]:
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
            elif entry.name.lower().endswith(SUFFIXES) and entry.name[0] != ".":
                yield Path(entry), _stat_or_fault(entry)


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
