"""What is wrong with a prepared copy, in one line."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from alexnet_jax.atomic import read_regular
from alexnet_jax.errors import InputError

INFO_FILE, FEATURES_FILE = "dataset_info.json", "features.json"
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

# `features.json` names classes, and TFDS imports the module of any name: its own alone
# are let through, which are imported already.
_FEATURES = frozenset(
    f"{cls.__module__}.{cls.__qualname__}"
    for cls in vars(tfds.features).values()
    if isinstance(cls, type)
    and issubclass(cls, tfds.features.FeatureConnector)
    and cls.__module__.startswith("tensorflow_datasets.core.features.")
)
_REMEDY = "delete it and run the same command again, which prepares it anew"
# Of a copy that is not ours to replace.
FOREIGN_REMEDY = "restore it, or move it away and prepare it again with TFDS"
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

    def __init__(self, folder: Path, reason: object, remedy: str = _REMEDY) -> None:
        """Describes the damage in one line."""
        self.folder, self.reason = folder, " ".join(str(reason).split())[:200]
        super().__init__(
            f"data.data_dir: {folder} is damaged ({self.reason}); {remedy}"
        )


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
    except Exception as error:  # on damaged files TFDS raises any kind
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
                content = json.loads(read_regular(folder / name))
            except ValueError as error:
                raise DamagedData(folder, f"{name}: {error}") from error
            except RecursionError as error:
                raise DamagedData(folder, f"{name} is nested too deep") from error
            if not isinstance(content, dict):
                raise DamagedData(folder, f"{name} holds no object")
        # TFDS would wait for a pipe, and read a device to the end of memory.
        with os.scandir(folder) as entries:  # which knows most kinds without asking
            for entry in entries:
                if not (entry.is_file() or entry.is_dir()) and os.path.exists(entry):
                    raise DamagedData(folder, f"{entry.name} is no regular file")
        for found in _class_names(content):
            if found not in _FEATURES:
                raise InputError(
                    f"data.data_dir: {folder / FEATURES_FILE} names the "
                    f"feature {found!r}; only TFDS's own, such as Image, ClassLabel "
                    "and Text, are opened: delete that folder, if you do not know who "
                    "made it"
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
