"""What code gives as images: arrays, or paths of pictures, in any of their forms."""

import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.data.spec import as_array, not_taken
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand_home

_ALLOWED = "images must be an array (N, h, w, C) uint8, a path, or several paths"
_NO_SEQUENCES = (bytes, bytearray, Mapping, Set)


def paths_or_array(images: Any) -> list[Path] | np.ndarray:
    """Returns images as paths, or as one array, whose shape and dtype are not checked.

    Args:
      images: An array of any library; a path; or an iterable, which is read once, of
        paths, or of arrays of one shape.

    Raises:
      InputError: It is something else, or there is nothing in it.
    """
    if hasattr(images, "__array__"):
        images = as_array(images, not_taken(_ALLOWED, type(images).__name__))
        if images.dtype.kind not in "OUT":
            return images
        images = images.reshape(-1)  # of paths
    several = isinstance(images, Iterable) and not isinstance(images, str)
    if isinstance(images, os.PathLike) or not several:
        images = [images]
    elif isinstance(images, _NO_SEQUENCES):
        raise InputError(f"{_ALLOWED}; got {type(images).__name__}")
    found = list(images)
    if not found:
        raise InputError(f"{_ALLOWED}; got none")
    kinds = [isinstance(one, str | os.PathLike) for one in found]
    if all(kinds):
        return [as_path(one) for one in found]
    other = type(found[kinds.index(False)]).__name__
    if any(kinds):
        raise InputError(f"{_ALLOWED}; got paths and {other} mixed")
    if not several:
        raise InputError(f"{_ALLOWED}; got {other}")
    array = as_array(found, not_taken(_ALLOWED, f"{other} of several shapes"))
    if array.dtype.kind not in "biuf":
        raise InputError(f"{_ALLOWED}; got several {other}")
    return array


def as_path(given: str | os.PathLike) -> Path:
    """Returns the path of a picture; `~` is the home folder, unless a file is there.

    Raises:
      InputError: It is empty, or an address.
    """
    text = os.fspath(given)
    if not text:  # Python takes it for the current folder
        raise InputError("images: a path must not be empty")
    path = Path(os.fsdecode(text))
    return path if os.path.lexists(path) else expand_home(path, "images")
