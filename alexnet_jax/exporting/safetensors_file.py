"""A run's network as safetensors, in this project's own layout; see `weights.own`."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from alexnet_jax.atomic import create_file
from alexnet_jax.errors import RunError
from alexnet_jax.weights.own import Own, arrays_of, metadata_of, read_own
from alexnet_jax.weights.safetensors import read

FILE = "model.safetensors"


def write_safetensors(folder: Path, own: Own) -> None:
    """Writes `model.safetensors`, from which `convert` makes the run again.

    Args:
      folder: Where to.
      own: The network.

    Raises:
      OSError: The file cannot be written.
    """
    # The library writes what lies in memory, whatever the strides.
    arrays = {name: np.ascontiguousarray(one) for name, one in arrays_of(own).items()}
    path = folder / FILE
    create_file(path).close()
    mode = path.stat().st_mode  # the library's file is its owner's alone
    try:
        save_file(arrays, path, metadata_of(own.config, own.spec))
    except SafetensorError as error:
        raise _as_os_error(error, path) from error
    _sort_metadata(path)
    path.chmod(mode)


def _as_os_error(error: Exception, path: Path) -> OSError:
    """Returns what the system said, of the library's words around it."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number) if found else str(error), str(path))


def _sort_metadata(path: Path) -> None:
    """Sorts the metadata, which the library writes in another order each time.

    Source: huggingface/safetensors, README.md ("Format").
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        content = text.encode().ljust(length)
        if len(content) == length:  # else the library writes JSON in other words
            file.seek(8)
            file.write(content)


def check_safetensors(folder: Path, own: Own) -> None:
    """Checks that `model.safetensors` is what was written, bit for bit.

    Raises:
      RunError: It is not.
    """
    path = folder / FILE
    found, _ = read_own(path, read(path))
    wanted = arrays_of(own)
    same = metadata_of(found.config, found.spec) == metadata_of(own.config, own.spec)
    if not same or not all(
        array.dtype == wanted[name].dtype
        and np.array_equal(_bits(array), _bits(wanted[name]))
        for name, array in arrays_of(found).items()
    ):
        raise RunError(f"{FILE} does not read as it was written; try another disk")


def _bits(array: np.ndarray) -> np.ndarray:
    """Returns an array's bytes, in which NaN and -0 are what they are."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
