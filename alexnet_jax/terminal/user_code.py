"""Files of the user's own code: run as they are, and named where they go wrong."""

import contextlib
import importlib.util
import os
import stat
import sys
import traceback
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from types import ModuleType

from alexnet_jax.errors import InputError

_MAX_BYTES = 10_000_000
_MAX_TEXT = 500  # letters of an error


def check_readable(path: str, what: str, hint: str) -> None:
    """Checks that there is a regular file of a sensible size, without opening it.

    Args:
      path: The file's.
      what: What an error calls it.
      hint: The remedy if there is none.

    Raises:
      InputError: It is missing, a folder, a pipe, a device, or too large for code.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # of a null byte
        raise InputError(f"{what}: there is no {path!r}; {hint}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise InputError(f"{what} must be a regular file; {path!r} is {kind}; {hint}")
    if found.st_size > _MAX_BYTES:
        raise InputError(
            f"{what}: {path!r} has {found.st_size / 1e6:,.0f} MB, too much for code; "
            f"{hint}"
        )


def load_module(path: str, name: str, what: str) -> ModuleType:
    """Runs a file as a module.

    Args:
      path: The file's; any name.
      name: The module's.
      what: What an error calls it.

    Raises:
      InputError: It does not parse, or raises; with the line.
    """
    spec = importlib.util.spec_from_file_location(
        name, path, loader=SourceFileLoader(name, path)
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    with named_errors(path, what):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def named_errors(path: str, what: str) -> Iterator[None]:
    """Turns whatever the code of a file raises into a line that names its line.

    Args:
      path: The file's.
      what: What an error calls it.

    Raises:
      InputError: It raised; an InputError of its own is left as it is.
    """
    try:
        yield
    except InputError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and what is no Exception
        line = _line(error, path)
        place = path if line is None else f"{path}, line {line}"
        raise InputError(f"{what}: {place}: {_describe(error)}") from error


def _line(error: BaseException, path: str) -> int | None:
    """Returns the line of a file that an error came from; None if it has none."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == path]
    return lines[-1] if lines else None


def _describe(error: BaseException) -> str:
    kind = text = ""
    with contextlib.suppress(Exception):  # of the user's own, whose text raises
        kind = type.__getattribute__(type(error), "__name__")
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    text = " ".join(text[:_MAX_TEXT].split())
    return f"{kind}: {text}" if text else kind
