"""Reads safetensors: a JSON header, then the arrays one after the other.

Source: huggingface/safetensors, README.md ("Format").
"""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from alexnet_jax.weights.source import NotRead, Source

_TYPES = {"F16", "BF16", "F32", "F64", "BOOL"} | {
    f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)
}
_UNKNOWN = re.compile(r"unknown variant `(\w+)`, expected one of `BOOL`")
_MAX_HEADER_BYTES = 100_000_000  # as the format has it


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so may be one."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= _MAX_HEADER_BYTES


def read(path: Path) -> Source:
    """Reads a file.

    Args:
      path: A regular file.

    Raises:
      Exception: Of any kind, as the library does on damaged bytes.
    """
    # Not mapped into memory, where its pages would count beside the arrays.
    try:
        with safe_open(path, "np", backend="pread") as file:
            names = [*file.offset_keys()]
            for name in names:
                _check_type(name, file.get_slice(name).get_dtype())
            arrays = {name: file.get_tensor(name) for name in names}
            return Source("safetensors", arrays, metadata=file.metadata() or {})
    except SafetensorError as error:
        if found := _UNKNOWN.search(str(error)):
            _check_type("an array", found[1])
        raise


def _check_type(name: str, kind: str) -> None:
    """Checks that NumPy has a type of numbers.

    Raises:
      NotRead: It has not.
    """
    if kind not in _TYPES:
        raise NotRead(
            f"safetensors in which {name!r:.60} is of type {kind:.20}; weights must be "
            "F16, BF16, F32 or F64; choose a file that is not quantized"
        )
