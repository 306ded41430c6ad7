"""Whose weights a file holds, and how they become this project's.

Kernels here are `(height, width, in, out)`, dense ones `(in, out)` with the inputs of
fc6 in the order height, width, channels; images are RGB.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.weights.conventions import Convention
from alexnet_jax.weights.source import Source

_UNITS = 4096  # of fc7, at full width
_MAX_NAMED = 3


class Mapped(NamedTuple):
    """An array that was brought over.

    Attributes:
      name: Ours, such as `conv1/kernel`.
      source_name: The file's.
      source_shape: As the file has it.
      source_type: Of its numbers in the file.
      changes: What was done to it, in words; empty if nothing.
      array: `float32`, in our layout.
      is_state: Whether it is no parameter, but a running statistic or the like.
    """

    name: str
    source_name: str
    source_shape: tuple[int, ...]
    source_type: str
    changes: tuple[str, ...]
    array: np.ndarray
    is_state: bool = False


class Conversion(NamedTuple):
    """A network's weights, and where they come from.

    Attributes:
      network: Its registered name.
      num_classes: Outputs of its last layer.
      width: What its numbers of maps and units are multiplied by.
      form: What the file is, in words.
      arrays: In the network's order, kernel and bias of each layer.
      left_over: Names of the file's arrays that the network has no place for.
    """

    network: str
    num_classes: int
    width: float
    form: str
    arrays: list[Mapped]
    left_over: list[str]

    @property
    def params(self) -> dict[str, dict[str, np.ndarray]]:
        """The tree that the network takes, `float32`."""
        tree: dict[str, dict[str, np.ndarray]] = {}
        for one in self.arrays:
            layer, part = one.name.split("/")
            tree.setdefault(layer, {})[part] = one.array
        return tree


def convert(
    path: Path,
    source: Source,
    convention: Convention,
    network: str | None = None,
    *,
    ignore: bool = False,
) -> Conversion:
    """Brings a file's weights into this project's layout.

    Args:
      path: The file's; errors name it.
      source: What it holds; arrays that are converted are taken out of it.
      convention: Its layout.
      network: One of the convention's, where the file does not say which.
      ignore: Whether arrays may be left over.

    Raises:
      InputError: The weights are not the network's: arrays are missing, left over, of
        other shapes or types, or not finite.
    """
    if network not in (None, *convention.networks):
        raise InputError(
            f"--network must be one of {convention.networks} with {path}, a "
            f"{source.form}; got {network!r}: other networks see the image on another "
            "grid, or normalize otherwise"
        )
    name = network or _network_of(source, convention)
    names = source.layers or convention.names
    theirs = {
        f"{layer}/{part}": source_name
        for layer, pair in names.items()
        for part, source_name in zip(("kernel", "bias"), pair, strict=True)
    }
    _check_names(path, source, name, theirs)
    num_classes = source.arrays[theirs["fc8/bias"]].size or 1
    width = source.arrays[theirs["fc7/bias"]].size / _UNITS
    width = width if 0 < width <= 16 else 1.0
    wanted = _shapes(name, num_classes, width)
    _check_shapes(path, source, name, theirs, wanted, convention)
    left_over = [one for one in source.arrays if one not in theirs.values()]
    if left_over and not ignore:
        raise InputError(
            f"{path}: {listed(left_over)} would be left over, as {name} has no place "
            "for it; give --ignore to leave it out, or another file"
        )
    maps = wanted["conv5/kernel"][-1]
    mapped = [
        _bring_over(path, ours, theirs[ours], source, shape, convention, maps)
        for ours, shape in wanted.items()
    ]
    return Conversion(name, num_classes, width, source.form, mapped, left_over)


def _network_of(source: Source, convention: Convention) -> str:
    """Returns the network; Caffe's two differ by the order of their layers alone."""
    kinds = source.operations
    if "LRN" in kinds and "POOLING" in kinds[: kinds.index("LRN")]:
        return "caffenet"
    return convention.networks[0]


@functools.cache
def _shapes(network: str, num_classes: int, width: float) -> dict[str, tuple[int, ...]]:
    """Returns our arrays' shapes by name, kernel and bias of each layer in order."""
    model = create_model(network, num_classes=num_classes, width=width, training=False)
    reference = MODELS[network].reference
    assert reference is not None  # every registered network has one
    image = jax.ShapeDtypeStruct((1, *reference.input_shape), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    return {
        f"{layer}/{part}": params[layer][part].shape
        for layer in sorted(params)
        for part in ("kernel", "bias")
    }


def _check_names(
    path: Path,
    source: Source,
    network: str,
    theirs: Mapping[str, str],
) -> None:
    """Checks that all arrays of the network are there.

    Raises:
      InputError: Some are missing.
    """
    missing = [one for one in theirs.values() if one not in source.arrays]
    if missing:
        others = [one for one in source.arrays if one not in theirs.values()]
        more = f", but it holds {listed(others)}" if others else ""
        raise InputError(
            f"{path} is not all of {network}: {listed(missing)} of {len(theirs)} "
            f"arrays missing{more}; give the whole file, of that network"
        )


def _check_shapes(
    path: Path,
    source: Source,
    network: str,
    theirs: Mapping[str, str],
    wanted: Mapping[str, tuple[int, ...]],
    convention: Convention,
) -> None:
    """Checks shapes and types before any number is looked at.

    Raises:
      InputError: They are not the network's, or no floats.
    """
    differing = []
    for ours, shape in wanted.items():
        array = source.arrays[theirs[ours]]
        expected = _source_shape(shape, convention)
        if _trimmed(array.shape, len(shape)) != expected:
            differing.append(f"{theirs[ours]} is {array.shape}, not {expected}")
    if differing:
        raise InputError(
            f"{path} is of another network than {network}: {listed(differing, '; ')}; "
            "choose another file, or another --network"
        )
    for name in theirs.values():
        kind = source.arrays[name].dtype
        if not jnp.issubdtype(kind, jnp.floating) or kind.itemsize < 2:
            raise InputError(
                f"{path}: {name} is of type {kind}; weights must be float16, bfloat16, "
                "float32 or float64; choose a file that is not quantized"
            )


def _source_shape(shape: tuple[int, ...], convention: Convention) -> tuple[int, ...]:
    if not convention.channels_first or len(shape) == 1:
        return shape
    return (shape[-1], shape[-2], *shape[:-2])


def _trimmed(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """Returns a shape without the ones with which Caffe's older blobs begin."""
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    return shape


def _bring_over(
    path: Path,
    ours: str,
    theirs: str,
    source: Source,
    shape: tuple[int, ...],
    convention: Convention,
    maps: int,
) -> Mapped:
    """Returns an array in our layout; takes it out of the source.

    `maps` are the channels that fc6 reads.

    Raises:
      InputError: A number is not finite.
    """
    found = source.arrays.pop(theirs)
    array = found.reshape(_trimmed(found.shape, len(shape)))
    changes = []
    if convention.channels_first and array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
        changes.append("OIHW to HWIO")
    elif convention.channels_first and array.ndim == 2:
        if ours == "fc6/kernel":
            side = math.isqrt(shape[0] // maps)
            array = array.reshape(-1, maps, side, side).transpose(2, 3, 1, 0)
            array = array.reshape(shape)
            changes.append("rows C,H,W to H,W,C; transposed")
        else:
            array = array.T
            changes.append("transposed")
    if convention.is_bgr and ours == "conv1/kernel":
        array = array[:, :, ::-1]
        changes.append("BGR to RGB")
    with np.errstate(over="ignore"):  # a float64 beyond float32, found below
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"{path}: {theirs} holds NaN or infinity; choose a file whose training "
            "did not diverge"
        )
    return Mapped(ours, theirs, found.shape, str(found.dtype), tuple(changes), array)


def listed(names: list[str], separator: str = ", ") -> str:
    """Returns the first few of some names."""
    more = len(names) - _MAX_NAMED
    return separator.join(names[:_MAX_NAMED]) + (
        f" and {more} more" if more > 0 else ""
    )
