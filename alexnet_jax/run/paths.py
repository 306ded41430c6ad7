"""Paths that users give: those that the checkpoints' library takes at its word."""

import os
import re
import unicodedata
from pathlib import Path

from alexnet_jax.errors import InputError

# Orbax would read a pattern, as it globs for its files; TensorStore an escape, and
# write the arrays elsewhere.
_SPECIAL = frozenset("*?[\\")
# Control characters, bytes that are no UTF-8, line and paragraph separators.
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
# A remote store to Orbax's paths; `/gs/` is how they write `gs://`.
_REMOTE = re.compile(r"/(gs|s3|az|hf)(/|$)")
# The system's limit, less what the files of a checkpoint need.
_MAX_BYTES, _MAX_NAME_BYTES = 4096 - 400, 255


def expand(text: str | Path, what: str) -> Path:
    """Returns an absolute path; `~` is the home folder.

    Args:
      text: The path as it was given.
      what: What an error calls it.

    Raises:
      InputError: `~NAME` is no user's, or has no home folder.
    """
    path = Path(text)
    try:
        found = path.expanduser()
        if found != path and not Path(path.parts[0]).expanduser().is_dir():
            raise RuntimeError
    except RuntimeError as error:
        raise InputError(
            f"{what}: {str(path)!r} begins with {path.parts[0]!r}, which is no user's "
            "home folder; give the whole path, or choose another folder"
        ) from error
    return found.absolute()


def local_path(text: str | Path, what: str) -> Path:
    """Returns an absolute path in which checkpoints can be written and read.

    Args:
      text: The path as it was given.
      what: What an error calls it.

    Raises:
      InputError: It has characters that the checkpoints' library reads as patterns or
        escapes, or that cannot be printed; or it is too long.
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
    names = [os.fsencode(name) for name in path.parts]
    if sum(len(name) + 1 for name in names) > _MAX_BYTES or any(
        len(name) > _MAX_NAME_BYTES for name in names
    ):
        raise InputError(
            f"{what}: {whole[:60]!r}... is too long; it may have {_MAX_BYTES} bytes, "
            f"and {_MAX_NAME_BYTES} from one / to the next; choose another folder"
        )
    return path
