"""Checksums: the SHA-256 of each file of a checkpoint, written beside them.

Orbax restores a flipped byte as a wrong number and takes an emptied folder for the
newest checkpoint; checksums reveal both. That all arrays are among the files is looked
up besides; each is read back once, before there are checksums.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from flax import traverse_util

from alexnet_jax.atomic import open_regular, read_regular, write_file

CHECKSUMS = "seal.json"  # the name that runs have had from the first version on
ARRAYS = "default"  # Orbax's folder of them
_METADATA = f"{ARRAYS}/_METADATA"
_PART_BYTES = 1 << 25  # that are compared at a time
_CACHE_BYTES = 1 << 28  # more than any array of an AlexNet


def step_folders(folder: Path) -> dict[int, Path]:
    """Returns the checkpoints in a folder, which may be missing, by step."""
    if not folder.is_dir():
        return {}
    return dict(sorted((int(p.name), p) for p in folder.iterdir() if is_step(p)))


def is_step(path: Path) -> bool:
    """Whether a folder is named as a checkpoint is."""
    # "²" and "٣" are digits, too; "007" would not be found by its step.
    name = path.name
    return (
        name.isascii()
        and name.isdecimal()
        and str(int(name)) == name
        and path.is_dir()
        and not path.is_symlink()  # a run's own never are
    )


def write_checksums(folder: Path, seconds: float | None) -> None:
    """Writes the SHA-256 of each file of a checkpoint.

    Args:
      folder: The checkpoint's.
      seconds: How long it took to write; None if that is unknown.
    """
    files = {str(path.relative_to(folder)): _sha256(path) for path in files_of(folder)}
    files.pop(CHECKSUMS, None)
    text = json.dumps({"seconds": seconds, "sha256": files}, indent=1)
    write_file(folder / CHECKSUMS, text)


def files_of(folder: Path) -> list[Path]:
    """Returns the files below a folder, sorted."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Returns the checksums of a checkpoint's files; None if they cannot be read."""
    try:
        found = json.loads(read_regular(folder / CHECKSUMS))["sha256"]
        texts = all(isinstance(digest, str) for digest in found.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if texts and _METADATA in found else None


def read_seconds(folder: Path) -> float | None:
    """Returns how long a checkpoint took to write; None if that is unknown."""
    try:
        return float(json.loads(read_regular(folder / CHECKSUMS))["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def find_fault(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint; None if every byte is as written."""
    try:
        if not any(folder.iterdir()):
            return "its folder is empty"
        if not has_checksums(folder):
            return f"{CHECKSUMS} is missing, so it was never written to its end"
        expected = read_checksums(folder)
        if expected is None:
            return f"{CHECKSUMS} is damaged"
        for name, digest in expected.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sha256(folder / name) != digest:
                return f"{name} is damaged"
        return find_missing_arrays(folder)
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror or error})"


def find_missing_arrays(folder: Path) -> str | None:
    """Returns which arrays that a checkpoint lists are not in it; None if all are.

    Looks them up in the store's index, without reading their values.
    """
    try:
        tree = json.loads(read_regular(folder / _METADATA))["tree_metadata"].values()
        listed = {
            ".".join(str(part["key"]) for part in leaf["key_metadata"])
            for leaf in tree
            if not leaf["value_metadata"]["skip_deserialize"]  # None
        }
        store = ts.KvStore.open(_store(folder)).result()
        stored = {key.decode() for key in store.list().result()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())
        return f"the index of its arrays cannot be read ({text[:100]})"
    # Each has a description and at least one part.
    whole = {key.rpartition("/")[0] for key in stored if not key.endswith("/.zarray")}
    described = {key.removesuffix("/.zarray") for key in stored}
    missing = sorted(listed - (whole & described))
    if not listed or missing:
        some = ", ".join(missing[:3]) or "all"
        return f"{len(missing) or 'all'} of its arrays are not in it: {some}"
    return None


def find_difference(folder: Path, state: Mapping[str, Any]) -> str | None:
    """Reads the arrays of a checkpoint; returns which is not as it was saved.

    Args:
      folder: The checkpoint's.
      state: What was saved: nested dicts of NumPy arrays and None.

    Returns:
      None if every byte is as it was.
    """
    for path, array in traverse_util.flatten_dict(dict(state)).items():
        if array is None:
            continue
        name = ".".join(path)
        try:  # one at a time, so that no second state is in memory
            kvstore = _store(folder) | {"path": f"{name}/"}
            spec = {"driver": "zarr", "kvstore": kvstore}
            # What is decoded is kept while its parts are read.
            context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
            stored = ts.open(spec, open=True, context=context).result()
            same = (stored.shape, stored.dtype.numpy_dtype) == (
                array.shape,
                array.dtype,
            )
            if not same or not all(
                np.array_equal(_bits(stored[part].read().result()), _bits(array[part]))
                for part in _parts(array)
            ):
                return f"{name} is not as it was saved"
        except (OSError, ValueError) as error:
            text = " ".join(str(error).split())
            return f"{name} cannot be read ({text[:100]})"
    return None


def _parts(array: np.ndarray) -> Iterator[Any]:
    """Yields what selects parts of an array that take little memory each."""
    if not array.ndim:
        yield ()
        return
    rows = max(1, _PART_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, max(1, len(array)), rows):
        yield slice(start, min(start + rows, len(array)))


def _bits(array: np.ndarray) -> np.ndarray:
    """Returns an array's bits: NaN equals itself, -0.0 does not equal 0.0."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(f"u{array.itemsize}")  # not bytes: 4 times as many to compare


def _store(folder: Path) -> dict[str, Any]:
    """Returns TensorStore's description of a checkpoint's arrays."""
    base = {"driver": "file", "path": f"{folder / ARRAYS}/"}
    return {"driver": "ocdbt", "base": base}


def has_checksums(folder: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    return (folder / CHECKSUMS).exists()
