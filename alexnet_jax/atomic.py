"""Files and folders that are complete at every moment; links are never written through.

Everything that the program writes goes this way: under a random name that did not exist
(`O_EXCL`, `O_NOFOLLOW`), renamed when it is whole. A rename replaces a symbolic link
itself, not what it points to, so that a foreign folder cannot lead a write elsewhere.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

# The random names; what a kill left behind is found by them.
_UNFINISHED = re.compile(r"(.*)\.[0-9a-f]{16}\.tmp", re.DOTALL)
_ENDS = 1 << 16  # of a file, in bytes, where metadata stands
# What metadata has before its maker's name; text that only mentions it has not.
_BEFORE_MAKER = (
    b"Software\0",  # PNG
    b"/Creator (",  # PDF
    b"<dc:title>",  # SVG
    b'<meta name="generator" content="',  # HTML
    b"<!-- Written by python -m ",  # Markdown
)


def is_unfinished(name: str) -> bool:
    """Whether a file or folder is one that is not whole yet, or was left by a kill."""
    return _UNFINISHED.fullmatch(name) is not None


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")


def create_file(path: Path) -> BinaryIO:
    """Creates a file for writing, unbuffered.

    Raises:
      OSError: It exists, if only as a link to nothing, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "wb", buffering=0)


def open_append(path: Path) -> BinaryIO:
    """Opens an existing file for appending, unbuffered.

    Raises:
      OSError: It is a link, is missing, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags), "ab", buffering=0)


def open_regular(path: Path) -> BufferedReader:
    """Opens a file for reading; a pipe or a device is not waited for.

    Raises:
      OSError: It is no regular file, or cannot be read.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return file


def read_regular(path: Path) -> bytes:
    """Reads a file; see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def is_made_by(path: Path, maker: str) -> bool:
    """Whether a picture's or a document's metadata says that `maker` made it."""
    try:
        with open_regular(path) as file:
            start = file.read(_ENDS)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ENDS))
            ends = start + file.read(_ENDS)
    except OSError:
        return False
    name = maker.encode()
    comment = b"\xff\xfe" + (len(name) + 2).to_bytes(2, "big")  # JPEG
    return any(before + name in ends for before in (*_BEFORE_MAKER, comment))


def open_lock(path: Path) -> BinaryIO:
    """Opens a file to be locked, which is made if it is missing.

    Raises:
      OSError: It is a link, or cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a file, which is made if it is missing, while the context lasts.

    Where the file system has no locks, as some NFS, a warning is printed.

    Args:
      path: The file; closing it gives the lock up, as does any end of the process.

    Raises:
      BlockingIOError: Another process has locked it.
      OSError: It is a link, or cannot be written.
    """
    with open_lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            print(
                f"warning   {path.parent} cannot be locked ({error.strerror or error}):"
                " nothing keeps a second process out of it"
            )
        yield


def write_file(path: Path, content: bytes | str) -> None:
    """Replaces a file by another that is written first; keeps it after an error.

    Args:
      path: The file; a link in its place is replaced.
      content: Its bytes, or text, which is encoded as UTF-8.

    Raises:
      OSError: The file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    part = _unfinished(path)
    try:
        with create_file(part) as file:
            write_all(file, data)
        part.replace(path)
    finally:
        _remove(part)


def write_all(file: BinaryIO, content: bytes) -> None:
    """Writes all bytes to an unbuffered file, which may take them in parts."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Replaces a file as `write_file` does, for writers that want a path.

    Args:
      path: The file; a link in its place is replaced.

    Yields:
      The path of an empty file beside it, to be written within the context.

    Raises:
      OSError: The file cannot be written.
    """
    part = _unfinished(path)
    create_file(part).close()
    try:
        yield part
        part.replace(path)
    finally:
        _remove(part)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Makes a folder that gets its name when all is in it.

    Args:
      path: The folder; nothing, or an empty folder, may be in its place.

    Yields:
      A path to be made and filled within the context.

    Raises:
      OSError: The folder cannot be written.
    """
    outer = _unfinished(path)
    outer.mkdir()  # so that nobody else's can be in the inner one's place
    try:
        yield outer / path.name
        (outer / path.name).rename(path)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


@contextlib.contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Brings files into a folder when all of them are whole.

    Args:
      folder: Made if missing; its files of the same names are replaced, others stay.

    Another process may do the same at the same time: the last one's files stay.

    Yields:
      An empty folder, to be filled within the context.

    Raises:
      OSError: The folder cannot be written, or a folder is in a file's place.
    """
    # In a folder that exists, which may be a file system of its own.
    part = _unfinished(folder / "files" if folder.is_dir() else folder)
    lock = _make_locked(part)
    try:
        yield part
        if not _take_name(part, folder):
            _replace_files(part, folder)
    finally:
        _remove(part)
        os.close(lock)


def _make_locked(path: Path) -> int:
    """Makes a folder that `remove_unfinished` of another process leaves alone."""
    while True:
        path.mkdir()
        try:
            lock = _lock_folder(path)
        except FileNotFoundError:  # removed before it was locked
            continue
        if path.is_dir():
            return lock
        os.close(lock)


def _lock_folder(path: Path, how: int = fcntl.LOCK_EX) -> int:
    """Returns a descriptor that holds a folder's lock, where there are locks.

    Raises:
      BlockingIOError: With `LOCK_NB`, as another descriptor holds it.
      OSError: There is no such folder.
    """
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError:  # a file system without locks
        pass
    return lock


def _take_name(part: Path, folder: Path) -> bool:
    """Renames a folder, unless another process has made one of that name."""
    if folder.is_dir():
        return False
    try:
        part.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _replace_files(part: Path, folder: Path) -> None:
    """Moves all files of one folder to another, or none."""
    lock = _lock_folder(folder.resolve())  # that no other's files come in between
    try:
        names = sorted(path.name for path in part.iterdir())
        for place in (folder / name for name in names):
            if place.is_dir() and not place.is_symlink():
                raise IsADirectoryError(
                    errno.EISDIR, os.strerror(errno.EISDIR), str(place)
                )
        for name in names:
            (part / name).replace(folder / name)
    finally:
        os.close(lock)


def remove_folder(path: Path) -> None:
    """Removes a folder, which loses its name before its content, or a link to one."""
    last = _unfinished(path)
    path.rename(last)
    _remove(last)


def remove_unfinished(folder: Path, *, of: str | None = None) -> None:
    """Removes what killed processes left half written in a folder.

    Args:
      folder: Nobody else writes to it, but by `atomic_files`.
      of: The name of the file or folder that they were to be; None for any.
    """
    for path in folder.iterdir():
        found = _UNFINISHED.fullmatch(path.name)
        if found is None or of not in (None, found[1]):
            continue
        if path.is_dir() and not path.is_symlink():
            try:
                lock = _lock_folder(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # in use, by `atomic_files`; or gone
                continue
            _remove(path)
            os.close(lock)
        else:
            _remove(path)


def _remove(path: Path) -> None:
    """Removes a file, a link or a folder, if it is there and that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # no such file, if all went well
            path.unlink()


def move_aside(path: Path, folder: Path | None = None) -> Path:
    """Renames what is in the way of a file or folder; nothing is lost.

    Args:
      path: What is in the way; of a link, the link.
      folder: Where it goes; beside its place, as `NAME.damaged`, if not given.

    Returns:
      Its new path, which did not exist.
    """
    place = free_place(folder / path.name if folder else damaged_name(path))
    path.rename(place)
    return place


def damaged_name(path: Path) -> Path:
    """Returns the name under which a damaged file is kept beside its place."""
    return path.with_name(f"{path.name}.damaged")


def free_place(path: Path) -> Path:
    """Returns a path at which nothing is: the one given, or with a number after it."""
    place, number = path, 1
    while os.path.lexists(place):
        number += 1
        place = path.with_name(f"{path.name}-{number}")
    return place


def real_folder(path: Path) -> Path:
    """Makes a folder, if it is missing; a file or a link in its place is moved aside.

    Returns:
      The folder.

    Raises:
      OSError: It cannot be made.
    """
    clear_place(path, stat.S_ISDIR)
    path.mkdir(exist_ok=True)
    return path


def clear_place(path: Path, is_wanted: Callable[[int], bool]) -> None:
    """Moves aside what is of another kind, a link too, with a warning.

    Args:
      path: The place.
      is_wanted: Of a mode, such as `stat.S_ISREG`.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not is_wanted(mode):
        print(f"warning   {path} is in the way; moved to {move_aside(path)}")
