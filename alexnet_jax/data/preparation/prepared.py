"""The door to prepared copies: missing ones are prepared, damaged ones replaced."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_datasets as tfds

from alexnet_jax.data.preparation.lock import preparation_lock
from alexnet_jax.errors import InputError

Builder = TypeVar("Builder", bound=tfds.core.DatasetBuilder)

INFO_FILE, FEATURES_FILE = "dataset_info.json", "features.json"
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

# `features.json` names classes, and TFDS imports the module of any name: these alone
# are let through.
_FEATURES = frozenset(
    f"{cls.__module__}.{cls.__qualname__}"
    for cls in (
        tfds.features.FeaturesDict,
        tfds.features.Image,
        tfds.features.ClassLabel,
        tfds.features.Text,
        tfds.features.Scalar,
        tfds.features.Tensor,
    )
)
# A class's name in TFDS's form, in that form as Protobuf also reads it, in the old one.
_NAME_KEYS = ("pythonClassName", "python_class_name", "type")


class NotPrepared(InputError):
    """A data set is not prepared in a folder that may only be read."""


class DamagedData(InputError):
    """A prepared copy cannot be read.

    Attributes:
      folder: The copy.
      reason: What is wrong with it.
    """

    def __init__(self, folder: Path, reason: object) -> None:
        """Describes the damage in one line."""
        self.folder, self.reason = folder, " ".join(str(reason).split())[:200]
        super().__init__(
            f"data.data_dir: {folder} is damaged ({self.reason}); delete it and run "
            "the same command again, which prepares it anew"
        )


@dataclass(frozen=True)
class Access:
    """How a folder of prepared data sets is treated.

    Attributes:
      may_write: Whether data sets may be prepared there and copies kept.
      check: Reads all of a copy, which is replaced if that raises DamagedData.
    """

    may_write: bool = True
    check: Callable[[Any], object] | None = None


# Not a parameter: loaders have no part in it, and users write loaders.
_access: ContextVar[Access | None] = ContextVar("access", default=None)


@contextlib.contextmanager
def accessed(access: Access) -> Iterator[None]:
    """Opens data sets in a certain way while the context lasts."""
    token = _access.set(access)
    try:
        yield
    finally:
        _access.reset(token)


def may_write() -> bool:
    """Whether the folder of prepared data sets may be written now."""
    return (_access.get() or Access()).may_write


def open_prepared(
    folder: Path, create: Callable[[], Builder], write: Callable[[Builder], None]
) -> Builder:
    """Opens a prepared copy; prepares it first if it is missing or damaged.

    Of several processes one prepares, and the others wait. A damaged copy is renamed,
    and gets its name back if another one cannot be prepared.

    Args:
      folder: Where the copy is.
      create: Returns its builder.
      write: Prepares it with a builder.

    Raises:
      NotPrepared: The copy is missing, and the folder may only be read.
      DamagedData: It is damaged, and the folder may only be read.
      InputError: It can be neither read nor prepared.
    """
    access = _access.get() or Access()
    if access.check is None:
        try:
            return _read(folder, create)
        except (NotPrepared, DamagedData):
            if not access.may_write:
                raise
    with preparation_lock(folder):
        try:
            builder = _read(folder, create)  # another process may have prepared it
            if access.check is not None:
                access.check(builder)
            return builder
        except NotPrepared:
            try:
                write(create())
            except InputError:
                # Without locks another process may have prepared it meanwhile.
                with contextlib.suppress(NotPrepared, DamagedData):
                    return _read(folder, create)
                raise
        except DamagedData as found:
            with _replaced(found):
                write(create())
        return _read(folder, create)


def _read(folder: Path, create: Callable[[], Builder]) -> Builder:
    if not os.path.lexists(folder):
        raise NotPrepared(f"data.data_dir: {folder} is not prepared")
    with named_damage(folder):
        check_features(folder)
        builder = create()
        splits, features = builder.info.splits, builder.info.features
        if "train" not in splits or not {"test", "validation"} & {*splits}:
            raise DamagedData(folder, f"{INFO_FILE} names the splits {[*splits]}")
        if None in features["image"].shape:  # others are decoded, and seen then
            present = {*os.listdir(folder)}
            for split in splits.values():
                missing = {Path(path).name for path in split.filepaths} - present
                if missing:
                    raise DamagedData(folder, f"{min(missing)} is missing")
    return builder


@contextlib.contextmanager
def named_damage(folder: Path) -> Iterator[None]:
    """Turns what TFDS raises on a damaged copy, which can be anything, into one line.

    Raises:
      DamagedData: Files are missing or damaged.
      InputError: They cannot be read.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except _GONE as error:
        name = Path(error.filename).name if error.filename else "a file"
        raise DamagedData(folder, f"{name} is missing") from error
    except OSError as error:
        raise InputError(
            f"data.data_dir: {folder} cannot be read ({error.strerror or error}); "
            "repair it, or choose another data.data_dir"
        ) from error
    except Exception as error:
        raise DamagedData(folder, str(error) or type(error).__name__) from error


def check_features(folder: Path) -> None:
    """Checks that a prepared copy names no features but TFDS's own.

    Raises:
      DamagedData: `dataset_info.json` or `features.json` is missing or damaged.
      InputError: Another feature is named, whose module TFDS would import.
    """
    with named_damage(folder):
        for name in (INFO_FILE, FEATURES_FILE):
            if not (folder / name).is_file():
                raise DamagedData(folder, f"{name} is missing")
            try:
                content = json.loads((folder / name).read_text("utf-8"))
            except ValueError as error:
                raise DamagedData(folder, f"{name}: {error}") from error
            except RecursionError as error:
                raise DamagedData(folder, f"{name} is nested too deep") from error
            if not isinstance(content, dict):
                raise DamagedData(folder, f"{name} holds no object")
        for found in _class_names(content):
            if found not in _FEATURES:
                raise InputError(
                    f"data.data_dir: {folder / FEATURES_FILE} names the "
                    f"feature {found!r}; only TFDS's FeaturesDict, Image, ClassLabel, "
                    "Text, Scalar and Tensor are opened: delete that folder, if you do "
                    "not know who made it"
                )


def _class_names(value: Any) -> Iterator[str]:
    """Yields the names of classes in `features.json`, however deep they are."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _NAME_KEYS and isinstance(inner, str):
                yield inner
            else:
                yield from _class_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _class_names(inner)
    elif isinstance(value, str):  # TFDS reads some as JSON in turn
        with contextlib.suppress(ValueError):
            inner = json.loads(value)
            if isinstance(inner, dict | list | str):
                yield from _class_names(inner)


@contextlib.contextmanager
def _replaced(damage: DamagedData) -> Iterator[None]:
    """Sets a damaged copy aside while another is prepared in its place."""
    folder = damage.folder
    aside = folder.with_name(f"{folder.name}.damaged")
    try:
        if aside.is_symlink() or aside.is_file():
            aside.unlink()
        elif aside.exists():
            shutil.rmtree(aside)
        folder.rename(aside)
    except OSError as error:
        raise InputError(
            f"data.data_dir: {folder} is damaged ({damage.reason}) and cannot be "
            f"replaced ({error.strerror or error}); choose another data.data_dir"
        ) from error
    print(
        f"damaged   {folder} ({damage.reason}): prepared anew; the old copy is kept as "
        f"{aside.name}",
        file=sys.stderr,
        flush=True,
    )
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.rename(folder)
        if isinstance(error, InputError):
            raise InputError(
                f"data.data_dir: {folder} is damaged ({damage.reason}) and cannot be "
                f"prepared anew: {error}"
            ) from error
        raise


def clear_unfinished(folder: Path) -> None:
    """Removes what a killed process left of preparing a folder with TFDS's writer."""
    for left in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(left, ignore_errors=True)
