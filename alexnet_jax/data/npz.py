"""Reads `.npz` files that anybody may have written."""

import zipfile
from pathlib import Path

import numpy as np

from alexnet_jax.atomic import open_regular


def load_npz(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    """Reads the arrays of a file; pickled objects are refused.

    Args:
      path: The file.
      max_bytes: What they may take, as a small file may hold terabytes of zeros.

    Raises:
      Exception: Of any kind, as NumPy and zipfile do on damaged bytes.
    """
    with open_regular(path) as file:
        with zipfile.ZipFile(file) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > max_bytes:
            raise ValueError(f"{path} would take {size / 1e9:,.1f} GB")
        file.seek(0)
        with np.load(file) as arrays:
            return dict(arrays)
