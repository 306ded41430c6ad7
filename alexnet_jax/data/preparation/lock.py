"""One process at a time prepares a data set; the others wait for it."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from alexnet_jax.atomic import open_lock
from alexnet_jax.errors import InputError


def unwritable(folder: Path, error: Exception) -> InputError:
    """Returns the error of a folder of data that cannot be written."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(
        f"data.data_dir: {folder} cannot be written ({reason}); make room there, or "
        "choose another data.data_dir"
    )


@contextlib.contextmanager
def preparation_lock(folder: Path) -> Iterator[None]:
    """Keeps other processes from preparing a folder while the context lasts.

    If another process has it, a line says so, and this one waits: what was missing may
    be there afterwards. The lock ends with its process, however that ends. On a file
    system without locks a warning is printed.

    Args:
      folder: What is prepared; a lock file is laid beside it for the time.

    Raises:
      InputError: The folder's parent cannot be written.
    """
    path = folder.with_name(f"{folder.name}.lock")
    made = [parent for parent in path.parents if not os.path.lexists(parent)]
    try:
        file = _acquire(path, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
                for parent in made:  # those that are empty again
                    parent.rmdir()


def _acquire(path: Path, folder: Path) -> IO[bytes]:
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open_lock(path)
        except FileNotFoundError:  # the process before removed the folder, now empty
            continue
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    print(
                        f"waiting   another process is preparing {folder}", flush=True
                    )
                told = True
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            print(
                f"warning   {path} cannot be locked ({error.strerror or error}); start "
                f"no other process that prepares {folder}",
                file=sys.stderr,
                flush=True,
            )
            return file
        except BaseException:  # Ctrl-C while it waited
            file.close()
            raise
        # The process before may have removed the file that was waited for.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
