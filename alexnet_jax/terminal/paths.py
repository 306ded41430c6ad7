"""Paths that users give, absolute; and those that can hold checkpoints."""

import os
import re
import tempfile
import unicodedata
from collections.abc import Collection
from pathlib import Path

from alexnet_jax.errors import InputError

# Orbax would read a pattern, as it globs for its files; TensorStore an escape, and
# write the arrays elsewhere.
_SPECIAL = frozenset("*?[\\")
# Control characters, bytes that are no UTF-8, line and paragraph separators.
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
# As in `gs://bucket`; paths keep one of the two slashes.
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+")
# A remote store to Orbax's paths; `/gs/` is how they write `gs://`.
_REMOTE = re.compile(r"/(gs|s3|az|hf)(/|$)")
# The system's limit, less what the files of a checkpoint need.
_MAX_BYTES, _MAX_NAME_BYTES = 4096 - 400, 255
_MAX_NAMES = 200  # Python makes a folder's parents by recursion


def refuse_address(text: str | Path, what: str) -> None:
    """Checks that a path is no address, which would become a local folder.

    Args:
      text: The path as it was given.
      what: What an error calls it.

    Raises:
      InputError: It begins as `gs://`, `s3://`, `https://` and the like do.
    """
    found = _ADDRESS.match(str(text))
    if found is None:
        return
    scheme, rest = found[1].lower(), str(text)[found.end() :]
    remedy = "mount the bucket or copy its files, and give the local folder"
    if scheme == "file":
        rest = f"/{rest}"
        remedy = f"give the path alone, {rest!r}"
    elif scheme in ("http", "https", "ftp", "hf"):
        remedy = "download the files, and give the local path"
    raise InputError(
        f"{what}: {f'{found[1]}://{rest}'!r} is an address; only local and mounted "
        f"files are read and written: {remedy}"
    )


def expand_home(text: str | Path, what: str) -> Path:
    """Returns a path in which `~` is the home folder.

    Args:
      text: The path as it was given.
      what: What an error calls it.

    Raises:
      InputError: `~NAME` is no user's, or has no home folder; the path is empty or too
        long, or an address such as `gs://bucket`.
    """
    if not isinstance(text, str | os.PathLike) or text == "":  # Python's current folder
        raise InputError(f"{what} must be a path; got {text!r}")
    refuse_address(text, what)
    path = Path(text)
    # Lone surrogates, which stand for no byte, are refused elsewhere.
    names = [name.encode(errors="surrogatepass") for name in path.parts]
    if (
        sum(map(len, names)) + len(names) > _MAX_BYTES
        or max(map(len, names), default=0) > _MAX_NAME_BYTES
        or len(names) > _MAX_NAMES
    ):
        raise InputError(
            f"{what}: {str(path)[:60]!r}... is too long; it may have {_MAX_BYTES} "
            f"bytes, {_MAX_NAME_BYTES} from one / to the next, and {_MAX_NAMES} "
            "folders; choose another folder"
        )
    try:
        found = path.expanduser()
        if found != path and not Path(path.parts[0]).expanduser().is_dir():
            raise RuntimeError
    except RuntimeError as error:
        raise InputError(
            f"{what}: {str(path)!r} begins with {path.parts[0]!r}, which is no user's "
            "home folder; give the whole path, or choose another folder"
        ) from error
    return found


def expand(text: str | Path, what: str) -> Path:
    """Returns an absolute path, without `..` or two slashes; `~` is the home folder.

    Args:
      text: The path as it was given.
      what: What an error calls it.

    Raises:
      InputError: As of `expand_home`.
    """
    found = expand_home(text, what).absolute()
    is_odd = ".." in found.parts or found.root != "/"  # POSIX keeps two slashes
    if not is_odd or "\0" in str(found):
        return found
    # Orbax and TensorStore write there and look elsewhere, or refuse it. What `..` is
    # after a link, the system knows.
    return Path(os.path.realpath(found))


def local_path(text: str | Path, what: str) -> Path:
    """Returns an absolute path in which checkpoints can be written and read.

    Args:
      text: The path as it was given.
      what: What an error calls it.

    Raises:
      InputError: It has characters that the checkpoints' library reads as patterns or
        escapes, or that cannot be printed; or as of `expand_home`.
    """
    path = expand(text, what)
    whole = str(path)
    bad = {
        letter
        for letter in whole
        if letter in _SPECIAL or unicodedata.category(letter) in _UNPRINTABLE
    }
    if bad:
        raise InputError(
            f"{what}: {whole!r} holds {', '.join(map(repr, sorted(bad)))}; checkpoints "
            "cannot be kept in a path with *, ?, [, a backslash, control characters or "
            "bytes that are no UTF-8; choose another folder"
        )
    if ":/" in whole or _REMOTE.match(whole):
        raise InputError(
            f"{what}: {whole!r} would be taken for a remote store; checkpoints "
            "cannot be kept in a path with ':/', or below /gs, /s3, /az or /hf; choose "
            "another folder"
        )
    return expand_home(path, what)  # a relative one may only now be too long


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file: through `..` and links too, hard ones also.

    Args:
      one: A file that may be missing, as may the other.
      other: Likewise.
    """
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one is missing, or has a null byte
        return os.path.realpath(one) == os.path.realpath(other)


def check_output(file: Path, endings: Collection[str], what: str) -> None:
    """Checks that a file can be written, before there is anything to write.

    Args:
      file: Its folder may be missing; a file in its place is to be replaced.
      endings: Those that it may have, such as `.png`, in small letters.
      what: What an error calls it.

    Raises:
      InputError: Its ending is not known; a folder or the like is in its place; or its
        folder is no folder, or nothing can be written in it.
    """
    if file.suffix.lower() not in endings:
        raise InputError(
            f"{what} must end in one of {', '.join(endings)}; got {str(file)!r}"
        )
    if os.path.lexists(file) and not os.path.isfile(file):
        raise InputError(f"{what}: {file} is no file; choose another name")
    folder = next(one for one in file.absolute().parents if os.path.lexists(one))
    if not os.path.isdir(folder):
        raise InputError(f"{what}: {folder} is no folder; choose another one")
    try:  # nothing else knows: root has every permission, in /proc too
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{what}: {folder} cannot be written ({error.strerror}); choose another "
            "folder"
        ) from error
