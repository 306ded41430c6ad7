"""Reads `bvlc_alexnet.npy`, a pickled dict of arrays, of which nothing is run.

Source: numpy, doc/neps/nep-0001-npy-format; numpy.ndarray.__reduce__.
"""

import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from alexnet_jax.weights.pickles import DataUnpickler
from alexnet_jax.weights.source import Damaged, NotRead, Source

_NAMES = {"weights": "0", "biases": "1"}  # of a dict in place of a list


class _Type:
    """A type of numbers, or of objects, from the state that NumPy pickles."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("f2", "f4", "f8", "O8"):
            name = code if isinstance(code, str) else type(code).__name__
            raise Damaged(f"arrays of type {name!r:.20}, not of floats")
        self.kind = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.kind = self.kind.newbyteorder(">")


class _Array:
    """An array, from the state that NumPy pickles; or an object in one of shape ()."""

    content: Any

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, content = state
        if isinstance(content, str):  # of Python 2
            content = content.encode("latin1")
        if not isinstance(kind, _Type):
            raise Damaged("an array of no type")
        if kind.kind.hasobject:
            (self.content,) = content
            return
        if not isinstance(content, bytes):
            raise Damaged(f"a {type(content).__name__} in place of numbers")
        if any(type(side) is not int or side < 0 for side in shape):
            raise Damaged("an array whose shape is no integers")
        numbers = np.frombuffer(content, kind.kind)
        if math.prod(shape) != numbers.size:
            raise Damaged(f"{numbers.size:,} numbers for an array of {shape}")
        self.content = numbers.reshape(shape, order="F" if is_fortran else "C")


def _offered() -> dict[str, Any]:
    """Returns what a pickle of arrays asks for; see `DataUnpickler`."""

    def reconstruct(*_: Any) -> _Array:
        return _Array()

    def create_type(*arguments: Any) -> _Type:
        return _Type(*arguments)

    def from_buffer(
        content: Any, kind: _Type, shape: tuple, order: str = "C", *_: Any
    ) -> _Array:
        array = _Array()
        if isinstance(content, bytearray):
            content = bytes(content)
        array.__setstate__((1, shape, kind, order == "F", content))
        return array

    offered: dict[str, Any] = {"numpy.ndarray": "array", "numpy.dtype": create_type}
    for core in ("core", "_core"):  # before NumPy 2 and since
        offered[f"numpy.{core}.multiarray._reconstruct"] = reconstruct
        offered[f"numpy.{core}.numeric._frombuffer"] = from_buffer
    # How Python 3 pickles bytes as protocol 2 has none.
    offered["_codecs.encode"] = lambda text, _: text.encode("latin1")
    return offered


def read(file: IO[bytes]) -> Source:
    """Reads a file.

    Returns:
      Arrays as `conv1/0`, a kernel, and `conv1/1`, its bias.

    Raises:
      HoldsCode: The pickle in it asks for more than arrays of numbers.
      Exception: Of any kind, as NumPy and pickle do on damaged bytes.
    """
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise Damaged(f"version {version} of NumPy's format")
    if version == (1, 0):
        shape, _, kind = npy_format.read_array_header_1_0(file)
    else:
        shape, _, kind = npy_format.read_array_header_2_0(file)
    if not kind.hasobject or shape != ():
        raise NotRead(f"one array of {kind} and shape {shape}, not layers by name")
    # An array of one object, the dict, is pickled whole.
    found = DataUnpickler(file, _offered()).load()
    return Source("pickled NumPy dict", _arrays(found.content))


def _arrays(found: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {}
    for layer, parts in found.items():
        named = parts.items() if isinstance(parts, Mapping) else enumerate(parts)
        for name, one in named:
            content = getattr(one, "content", None)
            if not isinstance(content, np.ndarray):
                raise Damaged(f"{layer!r:.40} holds other than arrays")
            arrays[f"{layer}/{_NAMES.get(str(name), name)}"] = content
    return arrays
