"""A run's network as safetensors, in this project's own layout; see `weights.own`."""

import errno
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
        raise OSError(errno.EIO, str(error), str(path)) from error
    path.chmod(mode)


def check_safetensors(folder: Path, own: Own) -> None:
    """Checks that `model.safetensors` is what was written, bit for bit.

    Raises:
      RunError: It is not.
    """
    path = folder / FILE
    found, _ = read_own(path, read(path))
    wanted = arrays_of(own)
    same = metadata_of(found.config, found.spec) == metadata_of(own.config, own.spec)
    if not same or any(
        array.dtype != wanted[name].dtype or array.tobytes() != wanted[name].tobytes()
        for name, array in arrays_of(found).items()
    ):
        raise RunError(f"{FILE} does not read as it was written; try another disk")
