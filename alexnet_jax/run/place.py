"""The place of a run's folder: its lock, what is in the way, errors of the disk."""

import contextlib
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.atomic import clear_place, locked, move_aside, remove_unfinished
from alexnet_jax.data.spec import DATA_FILE, STATISTICS_FILE, DataSpec
from alexnet_jax.data.validation import SPLIT_FILE
from alexnet_jax.errors import BusyError, InputError, RunError
from alexnet_jax.run.checksums import step_folders
from alexnet_jax.run.kept import KEPT_FILES
from alexnet_jax.run.records import CONFIG_FILE
from alexnet_jax.run.rows import METRICS_FILE

CURVES_FILE = "curves.png"
IMPORTED_FILE = "imported.json"
LOCK_FILE = ".lock"
# What a run writes, beside its folders.
RUN_FILES = (*KEPT_FILES, SPLIT_FILE, METRICS_FILE, CURVES_FILE, IMPORTED_FILE)
_MIN_OPEN_FILES, _OPEN_FILES = 64, 1024


class Place:
    """Where a folder was when the run opened it."""

    def __init__(self, path: Path) -> None:
        """Notes it."""
        self._path = path
        # Held open, so that no other folder gets its number.
        self._folder: int | None = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def check(self) -> None:
        """Checks that the folder is where it was.

        Raises:
          RunError: It was moved or deleted, or another one is in its place.
        """
        assert self._folder is not None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._folder)):
                return
        raise RunError(
            f"workdir: {self._path} was moved or deleted while the run was writing to "
            "it; what was written until then is where it is now; move it back, and the "
            "same command resumes from its last checkpoint"
        )

    def close(self) -> None:
        """Forgets it; a second call does nothing."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def raise_open_files() -> None:
    """Raises the limit of open files, where it is low and may be raised.

    Raises:
      InputError: It is too low to write checkpoints, and may not be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < _OPEN_FILES:
        soft = _OPEN_FILES if hard == infinite else min(hard, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != infinite and soft < _MIN_OPEN_FILES:
        raise InputError(
            f"the limit of open files is {soft}, too low to write checkpoints; it "
            f"must be at least {_MIN_OPEN_FILES}, as `ulimit -n 1024` sets it"
        )


def clear_places(workdir: Path) -> None:
    """Moves aside what is where the run writes; removes what a kill left half written.

    Raises:
      InputError: `checkpoints` is a link.
    """
    checkpoints = workdir / "checkpoints"
    if checkpoints.is_symlink():
        raise InputError(
            f"workdir: {checkpoints} is a symbolic link, which is not followed; put "
            "the folder itself in its place, or choose another --workdir"
        )
    clear_place(checkpoints, stat.S_ISDIR)
    for name in RUN_FILES:
        remove_unfinished(workdir, of=name)
        # A link to a file is replaced by the first write, and read until then.
        clear_place(
            workdir / name, lambda mode: stat.S_ISREG(mode) or stat.S_ISLNK(mode)
        )


def clear_foreign(workdir: Path) -> None:
    """Moves aside files of a run's names in a folder that is none, with a warning.

    Raises:
      OSError: One cannot be moved.
    """
    if (workdir / CONFIG_FILE).exists() or step_folders(workdir / "checkpoints"):
        return
    ours = set()
    with contextlib.suppress(InputError):  # of a run that was killed as it began
        DataSpec.load(workdir)
        ours = {DATA_FILE, STATISTICS_FILE, SPLIT_FILE}
    for path in (workdir / name for name in RUN_FILES if name not in ours):
        if os.path.lexists(path):
            aside = move_aside(path)
            print(f"warning   {path} is of no run that goes on; moved to {aside}")


@contextlib.contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """Turns a failed write to a run's folder into one line.

    Raises:
      RunError: A file could not be written.
    """
    try:
        yield
    except BrokenPipeError:  # of standard output, not of the folder
        raise
    except OSError as error:
        raise RunError(
            f"workdir: {path} cannot be written ({error.strerror or error}); make room "
            "or repair the folder; the same command resumes from the last checkpoint"
        ) from error


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Makes the run's folder and locks it for other runs while the context lasts.

    Raises:
      InputError: The folder cannot be written, or another run is in it (`BusyError`).
    """
    path = workdir / LOCK_FILE
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            clear_place(path, stat.S_ISREG)
            stack.enter_context(locked(path))
        except BlockingIOError as error:
            raise BusyError(
                f"workdir: another run is writing to {workdir}; wait for its end, or "
                "choose another --workdir"
            ) from error
        except OSError as error:
            raise InputError(
                f"workdir: {workdir} cannot be written ({error.strerror}); "
                "choose another --workdir"
            ) from error
        yield
