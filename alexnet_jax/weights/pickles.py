"""Pickles of which nothing is run: they get what a table offers, and no more."""

import os
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from alexnet_jax.weights.source import Damaged, HoldsCode

# What checkpoints hold beside tensors: settings, counts and single numbers.
_BESIDE = (
    "argparse.Namespace",
    "builtins.set",
    "__builtin__.set",
    "_codecs.encode",
    "collections.Counter",
    "collections.defaultdict",
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    # Since Python 3.13 they are called by the module that has them.
    *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath")),
    "pathlib.Path",
    "pathlib.PosixPath",
    "torch.device",
)
_PLAIN = (str, int, float, bool, bytes, type(None))
# Would hash what they are given, or look for what other programs have registered.
_REFUSED = (
    pickle.NEXT_BUFFER,
    pickle.FROZENSET,
    pickle.ADDITEMS,
    pickle.EMPTY_SET,
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
)
_KEYED = (pickle.SETITEM, pickle.SETITEMS, pickle.DICT)


class DataUnpickler(pickle._Unpickler):
    """Loads a pickle whose every name is looked up in a table and never imported.

    A pickle can set attributes of what it is given. So a table holds functions that
    were made for this one file, strings, and types that cannot be changed.

    It is Python's own in Python: the one in C takes memory as a pickle asks for it, and
    computes hashes of keys that are tuples of tuples, which a few bytes make endless.
    """

    dispatch = {  # noqa: RUF012 - as in the class that it extends
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if code not in {one[0] for one in _REFUSED}
    }

    def __init__(
        self,
        file: IO[bytes],
        offered: Mapping[str, Any],
        max_bytes: int | None = None,
    ) -> None:
        """Takes the file, what `MODULE.NAME` stands for, and the longest pickle."""
        limited = _Limited(file, max_bytes)
        super().__init__(limited, encoding="latin1")  # strings of Python 2
        self._offered = offered

    def find_class(self, module: str, name: str) -> Any:
        """Returns what the table offers.

        Raises:
          HoldsCode: It has no such name.
        """
        try:
            return self._offered[f"{module}.{name}"]
        except KeyError:
            raise HoldsCode(f"{module}.{name}") from None


def _checked(method: Callable[[Any], None], *, is_one: bool) -> Callable[[Any], None]:
    """Returns what checks keys before they are hashed."""

    def load(self: Any) -> None:
        check_keys(self.stack[-2:-1] if is_one else self.stack[::2])
        method(self)

    return load


def _load_bytearray(self: Any) -> None:
    """Reads one as bytes; Python sets aside what it is said to take, however much."""
    (length,) = struct.unpack("<Q", self.read(8))
    self.append(self.read(length))


DataUnpickler.dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray
for _code in _KEYED:
    DataUnpickler.dispatch[_code[0]] = _checked(
        DataUnpickler.dispatch[_code[0]], is_one=_code == pickle.SETITEM
    )


def check_keys(keys: Iterable[Any]) -> None:
    """Checks keys of a dict before they are hashed.

    Raises:
      Damaged: One is other than text, a number, or a tuple of them.
    """
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if any(type(part) not in _PLAIN for part in parts):
            raise Damaged(f"a {type(key).__name__} as a key")


def inert() -> dict[str, Any]:
    """Returns, by name, what stands for that which a checkpoint holds beside tensors.

    It takes what a pickle gives and keeps nothing.
    """

    class Inert:
        __slots__ = ()

        def __new__(cls, *_: Any, **__: Any) -> "Inert":
            return super().__new__(cls)

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __setstate__(self, _: Any) -> None: ...

        def __setitem__(self, _: Any, __: Any) -> None: ...

        def append(self, _: Any) -> None: ...

    return dict.fromkeys(_BESIDE, Inert)


class _Limited:
    """A file of which no more is read than there is, or than is allowed."""

    def __init__(self, file: IO[bytes], max_bytes: int | None) -> None:
        self._file = file
        start = file.tell()
        self._end = file.seek(0, os.SEEK_END)
        self._is_cut = max_bytes is not None and self._end - start > max_bytes
        if max_bytes is not None:
            self._end = min(self._end, start + max_bytes)
        file.seek(start)

    def _left(self) -> int:
        left = self._end - self._file.tell()
        if left <= 0 and self._is_cut:
            raise Damaged("a pickle longer than names and shapes are")
        return left

    def read(self, count: int) -> bytes:
        if count > self._left():
            raise Damaged("it ends within a pickle")
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._left())
        if not line.endswith(b"\n"):
            raise Damaged("it ends within a pickle")
        return line
