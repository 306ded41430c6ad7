"""Reads safetensors: a JSON header, then the arrays one after the other.

Source: huggingface/safetensors, README.md ("Format").
"""

from pathlib import Path

from safetensors import safe_open

from alexnet_jax.weights.source import Source

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
    with safe_open(path, "np", backend="pread") as file:
        arrays = {name: file.get_tensor(name) for name in file.offset_keys()}
        return Source("safetensors", arrays, metadata=file.metadata() or {})
