"""The door to prepared copies: missing ones are prepared, damaged ones replaced."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_datasets as tfds

from alexnet_jax.atomic import move_aside
from alexnet_jax.data.preparation.damage import (
    INFO_FILE,
    DamagedData,
    NotPrepared,
    check_features,
    named_damage,
)
from alexnet_jax.data.preparation.keys import check_names, fixed_shape
from alexnet_jax.data.preparation.lock import preparation_lock
from alexnet_jax.errors import InputError

Builder = TypeVar("Builder", bound=tfds.core.DatasetBuilder)


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
    folder: Path,
    create: Callable[[], Builder],
    write: Callable[[Builder], None],
    has_test: bool = True,
) -> Builder:
    """Opens a prepared copy; prepares it first if it is missing or damaged.

    Of several processes one prepares, and the others wait. A damaged copy is renamed,
    and gets its name back if another one cannot be prepared.

    Args:
      folder: Where the copy is.
      create: Returns its builder.
      write: Prepares it with a builder.
      has_test: Whether a copy is damaged that has no part to test on.

    Raises:
      NotPrepared: The copy is missing, and the folder may only be read.
      DamagedData: It is damaged, and the folder may only be read.
      InputError: It can be neither read nor prepared.
    """
    access = _access.get() or Access()
    if access.check is None:
        try:
            return _read(folder, create, has_test)
        except (NotPrepared, DamagedData):
            if not access.may_write:
                raise
    with preparation_lock(folder):
        try:
            # Another process may have prepared it.
            builder = _read(folder, create, has_test)
            if access.check is not None:
                access.check(builder)
            return builder
        except NotPrepared:
            try:
                _write(create(), write)
            except InputError:
                # Without locks another process may have prepared it meanwhile.
                with contextlib.suppress(NotPrepared, DamagedData):
                    return _read(folder, create, has_test)
                raise
        except DamagedData as found:
            with _replaced(found):
                _write(create(), write)
        return _read(folder, create, has_test)


def _write(builder: Builder, write: Callable[[Builder], None]) -> None:
    check_names(builder.info)
    write(builder)


def _read(folder: Path, create: Callable[[], Builder], has_test: bool) -> Builder:
    if not os.path.lexists(folder):
        raise NotPrepared(f"data.data_dir: {folder} is not prepared")
    with named_damage(folder):
        check_features(folder)
        builder = create()
        splits = builder.info.splits
        whole = "train" in splits and bool({"test", "validation"} & {*splits})
        if not splits or (has_test and not whole):
            raise DamagedData(folder, f"{INFO_FILE} names the splits {[*splits]}")
        if fixed_shape(builder.info) is None:  # others are decoded, and seen then
            check_files(builder)
    return builder


def check_files(builder: tfds.core.DatasetBuilder) -> None:
    """Checks that the files of a prepared copy are there.

    Raises:
      DamagedData: One is missing or empty.
    """
    splits = builder.info.splits.values()
    for path in (path for split in splits for path in split.filepaths):
        if not os.path.isfile(path) or not os.path.getsize(path):
            folder = Path(builder.data_path)
            raise DamagedData(folder, f"{Path(path).name} is missing or empty")


@contextlib.contextmanager
def _replaced(damage: DamagedData) -> Iterator[None]:
    """Sets a damaged copy aside while another is prepared in its place."""
    folder = damage.folder
    try:
        aside = move_aside(folder)
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
