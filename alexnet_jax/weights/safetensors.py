"""Reads safetensors: a JSON header, then the arrays one after the other.

Source: huggingface/safetensors, README.md ("Format").
"""

import json
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from alexnet_jax.weights.source import Damaged, Source

_MAX_HEADER_BYTES = 100_000_000  # as the format has it
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": jnp.bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so may be one."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= _MAX_HEADER_BYTES


def read(content: memoryview) -> Source:
    """Reads a file.

    Args:
      content: All of it; arrays are views of it.

    Raises:
      Exception: Of any kind, as json does on damaged bytes.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    if start > len(content):
        raise Damaged("it ends within its header")
    header = json.loads(bytes(content[8:start]))
    header.pop("__metadata__", None)
    end = max((one["data_offsets"][1] for one in header.values()), default=0)
    if start + end != len(content):
        raise Damaged(f"{len(content):,} bytes, its header says {start + end:,}")
    arrays = {name: _array(content[start:], one) for name, one in header.items()}
    return Source("safetensors", arrays)


def _array(data: memoryview, entry: dict[str, Any]) -> np.ndarray:
    kind = np.dtype(_TYPES[entry["dtype"]])
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if any(type(n) is not int or n < 0 for n in (*shape, begin)):
        raise Damaged("a shape or an offset that is no size")
    if end - begin != math.prod(shape) * kind.itemsize:
        raise Damaged("a shape that does not fit its bytes")
    return np.frombuffer(data[begin:end], kind).reshape(shape)
