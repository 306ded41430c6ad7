"""A file of features in its place: checked beforehand, whole at the end."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.atomic import atomic_write
from alexnet_jax.errors import InputError
from alexnet_jax.extraction.writers import (
    METADATA,
    PATH,
    Csv,
    Hdf5,
    Npz,
    Parquet,
    Writer,
)
from alexnet_jax.terminal.paths import check_output
from alexnet_jax.terminal.signals import deferred_signals

_WRITERS: dict[str, Callable[[Path], Writer]] = {
    ".npz": Npz,
    ".csv": Csv,
    ".parquet": Parquet,
    ".h5": Hdf5,
    ".hdf5": Hdf5,
}
_LIBRARIES = {".parquet": "pyarrow", ".h5": "h5py", ".hdf5": "h5py"}


def check_features_file(file: Path) -> None:
    """Checks that a file can be written, before there is anything to write.

    Args:
      file: Its folder may be missing; a file in its place is to be replaced.

    Raises:
      InputError: As in `check_output`, or a library for its ending is missing.
    """
    check_output(file, _WRITERS, "--output")
    ending = file.suffix.lower()
    if library := _LIBRARIES.get(ending):
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise InputError(
                f"--output: {library} is not installed, which {ending} is written "
                "with; run: pip install 'alexnet_jax[features]', or choose .npz or .csv"
            ) from error


def check_column_names(layers: Sequence[str]) -> None:
    """Checks that no layer has the name of what a file holds besides.

    Raises:
      InputError: One has.
    """
    for name in {PATH, METADATA} & {*layers}:
        raise InputError(
            f"--layers: the file holds a {name!r} of its own; give the layer of that "
            "name another one in the network's code"
        )


@contextlib.contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; after an error, removes those it has made."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for one in missing:
            with contextlib.suppress(OSError):  # somebody else's file is in it
                one.rmdir()
        raise


class FeatureFile:
    """A file of features, which is in its place when all of it is written.

    Until then, and after an error, what was there before stays, and no more.
    """

    def __init__(self, file: Path) -> None:
        """Takes the file's place.

        Args:
          file: As in `check_features_file`. Its folder is made if it is missing.
        """
        self._file = file
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None

    def __enter__(self) -> "FeatureFile":
        """Begins the file beside its place.

        Raises:
          InputError: It cannot be written.
        """
        with contextlib.ExitStack() as stack:
            with self._named_errors(), deferred_signals():
                stack.enter_context(_made_folder(self._file.parent))
                part = stack.enter_context(atomic_write(self._file))
                self._writer = _WRITERS[self._file.suffix.lower()](part)
                stack.callback(self._writer.close)
            self._stack = stack.pop_all()
        return self

    def write(self, paths: Sequence[str], layers: Mapping[str, np.ndarray]) -> None:
        """Adds rows, at least one; each time of the same layers.

        Raises:
          InputError: It cannot be written: the disk is full, say.
        """
        assert self._writer
        with self._named_errors():
            self._writer.write(paths, layers)

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Ends the file, which has rows.

        Args:
          metadata: What JSON holds; CSV has no place for it.

        Raises:
          InputError: As in `write`.
        """
        assert self._writer
        with self._named_errors():
            self._writer.finish(metadata)

    def __exit__(self, *error: Any) -> None:
        """Brings the file to its place, or removes it after an error."""
        with self._named_errors(), deferred_signals():
            self._stack.__exit__(*error)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py raises both
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise InputError(
                f"--output: {self._file} cannot be written ({reason}); what was there "
                "before is unchanged"
            ) from error
