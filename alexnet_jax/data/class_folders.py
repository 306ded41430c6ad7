"""Class folders: which are the parts of a data set, and the images in them."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from alexnet_jax.data.image_files import (
    HEIF_REMEDY,
    OTHER_SUFFIXES,
    SUFFIXES,
    as_utf8,
    is_hidden,
    stat_file,
)
from alexnet_jax.data.preparation.sources import ImageFile
from alexnet_jax.data.validation import check_share
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.text import counted, printable

LAYOUT = (
    "it must contain train/CLASS/*.jpg and val/CLASS/*.jpg; or CLASS/*.jpg, with "
    "data.val_share=0.2 for a validation part; or be a table with path and label"
)
NOT_UTF8 = "its name is not UTF-8"
# What folders and tables call the parts, in any case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_NOWHERE = "it is a link that leads nowhere"


class Found(NamedTuple):
    """The images that were found, by split, and the classes of those to train on."""

    files: Mapping[str, Iterable[ImageFile]]
    class_names: tuple[str, ...]


def note(text: str) -> None:
    """Prints what a user may want to know, in one line."""
    print(f"note      {text}", file=sys.stderr, flush=True)


def read_class_folders(root: Path, on_broken: str, val_share: float | None) -> Found:
    """Lists the images of `train/CLASS/*` and `val/CLASS/*`, or of `CLASS/*` alone.

    Parts may have any name of `PARTS`. Of a validation and a test part the former is
    used; one without class folders is left out. Notes tell what is left out.

    Args:
      root: The folder.
      on_broken: As of `image_folder.load`.
      val_share: As of `image_folder.load`.

    Raises:
      InputError: As of `image_folder.load`.
    """
    folders = _find_parts(root)
    names = tuple(_classes(folders["train"]))
    for folder in folders.values():
        for extra in sorted(set(_classes(folder)) - set(names)):
            raise InputError(
                f"data.manual_dir: class {extra} is in {folder} but not in "
                f"{folders['train']}, which has {len(names)} classes"
            )
    check_share(as_utf8(root), folders, val_share)
    if len(names) == 1:
        raise InputError(
            f"data.manual_dir: {folders['train']} has one class folder, {names[0]}; "
            "there is nothing to learn from one class; add another one"
        )
    left_out: Counter[str] = Counter()
    files = {
        split: tuple(_list(folder, on_broken, left_out))
        for split, folder in folders.items()
    }
    if left_out:
        note(f"{counted(left_out.total(), 'file')} left out: {_kinds(left_out)}")
    return Found(files, names)


def check_outside(root: Path, place: Path, field: str) -> None:
    """Checks that what is written does not come to lie among the classes.

    Args:
      root: The folder, as of `read_class_folders`.
      place: A folder that is written to, which may be missing.
      field: What an error calls it.

    Raises:
      InputError: It would be a class, or in one.
    """
    real = Path(os.path.realpath(place))
    if not real.is_relative_to(os.path.realpath(root)):
        return
    for folder in _find_parts(root).values():
        above = os.path.realpath(folder)
        if real.is_relative_to(above) and not any(
            map(is_hidden, real.relative_to(above).parts)
        ):
            raise InputError(
                f"{field}: {as_utf8(place)} is within {as_utf8(folder)}, where each "
                "folder is a class; choose a folder elsewhere"
            )


def _kinds(left_out: Counter[str]) -> str:
    kinds = ", ".join(f"{kind} ({n:,})" for kind, n in left_out.most_common())
    return kinds + (
        f"; HEIC is read after {HEIF_REMEDY}" if ".heic" in left_out else ""
    )


def _find_parts(root: Path) -> dict[str, Path]:
    """Returns the folder of each part: one only, if there are class folders alone.

    A folder `train` is a part; if it holds images and no folders, it is a class.
    """
    if not os.path.isdir(root):
        raise InputError(
            f"data.manual_dir: there is no file or folder {as_utf8(root)}; give the "
            "whole path"
        )
    folders = [Path(entry) for entry in _scan(root) if _is_folder(entry)]
    parts: dict[str, list[Path]] = {}
    for folder in folders:
        if (part := PARTS.get(folder.name.lower())) and not _is_class(folder):
            parts.setdefault(part, []).append(folder)
    for part, several in parts.items():
        if len(several) > 1:
            both = " and ".join(as_utf8(one.name) for one in several)
            raise InputError(
                f"data.manual_dir: {as_utf8(root)} has both {both}, for the {part} "
                "part; keep one of them"
            )
    if "train" in parts:
        used = {"train": parts["train"][0]}
        for part in ("validation", "test"):
            if part in parts and len(used) == 1:
                used[part] = parts[part][0]
            elif part in parts:
                name = as_utf8(parts[part][0].name)
                note(f"{name}/ is left out: the validation part is measured")
        for folder in folders:
            if folder not in used.values() and _is_class(folder):
                note(f"{as_utf8(folder.name)}/ is left out: it holds no class folders")
        return used
    # One folder alone is no class; nor are parts, whatever they are called.
    words = (re.split(r"[\W\d_]+", folder.name.lower()) for folder in folders)
    if len(folders) < 2 or parts or all(PARTS.keys() & {*each} for each in words):
        raise InputError(
            f"data.manual_dir: {as_utf8(root)} has another layout; {LAYOUT}"
        )
    return {"train": root}


def _is_class(folder: Path) -> bool:
    if any(map(_is_folder, _scan(folder))):
        return False
    suffixes = SUFFIXES + OTHER_SUFFIXES
    return any(name.lower().endswith(suffixes) for name in os.listdir(folder))


def _classes(folder: Path) -> list[str]:
    names = [entry.name for entry in _scan(folder) if _class_fault(entry) is None]
    if not names:
        raise InputError(
            f"data.manual_dir: {as_utf8(folder)} contains no class folders; {LAYOUT}"
        )
    return sorted(names)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Returns what could be a class of a split, in order."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not is_hidden(entry.name)]
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
    return None if as_utf8(entry.name) == entry.name else NOT_UTF8


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a loop of links
        return False


def _list(folder: Path, on_broken: str, left_out: Counter[str]) -> Iterator[ImageFile]:
    """Lists the images below each class folder; counts by suffix what is left out."""
    for name in os.listdir(folder):
        if name.lower().endswith(SUFFIXES) and not is_hidden(name):
            left_out["beside the class folders"] += os.path.isfile(folder / name)
    for entry in _scan(folder):
        fault, empty, others = _class_fault(entry), True, Counter[str]()
        if fault:
            report_broken(entry.name, fault, on_broken)
        if fault is not None:
            continue
        for path, found in _walk(Path(entry), others):
            key = path.relative_to(folder).as_posix()
            if isinstance(found, str):
                report_broken(key, found, on_broken)
            else:
                empty = False
                yield ImageFile.of(key, entry.name, path, found)
        if empty:
            but = f" but {_kinds(others)}" if others else ""
            raise InputError(
                f"data.manual_dir: class folder {entry.path} contains no images{but}; "
                f"their names must end with one of {', '.join(SUFFIXES)}"
            )
        left_out.update(others)


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
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                waiting.append((Path(entry), (*above, here)))
            elif entry.name.lower().endswith(SUFFIXES):
                yield Path(entry), _stat_or_fault(entry)
            elif (suffix := Path(entry.name).suffix.lower()) in OTHER_SUFFIXES:
                left_out[suffix] += 1


def _stat_or_fault(entry: os.DirEntry[str]) -> os.stat_result | str:
    if as_utf8(entry.path) != entry.path:
        return NOT_UTF8
    try:
        return stat_file(entry.path)
    except OSError as error:
        if entry.is_symlink() and not os.path.exists(entry):
            return _NOWHERE
        return error.strerror or str(error)


def report_broken(name: str, reason: str, on_broken: str) -> None:
    """Says that an image is broken.

    Raises:
      InputError: `on_broken` is `fail`.
    """
    line = f"{printable(as_utf8(name))} ({reason})"
    if on_broken == "fail":
        raise InputError(
            f"data.on_broken: image {line} is broken; repair or remove it, or set "
            "data.on_broken=skip to skip broken images"
        )
    print(f"broken    {line}: skipped", file=sys.stderr, flush=True)
