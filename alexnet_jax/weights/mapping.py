"""How a file's weights become this project's.

Kernels here are `(height, width, in, out)`, dense ones `(in, out)` with the inputs of
the first dense layer in the order height, width, channels; images are RGB.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.weights.conventions import Convention
from alexnet_jax.weights.fitting import (
    Fit,
    check_finite,
    check_left_over,
    find_network,
    trimmed,
)
from alexnet_jax.weights.source import Source


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
      image_shape: Height, width and channels of the images that it sees.
      normalization: As `config.model.normalization`.
      is_own: Whether the source is this project's, in its own layout.
    """

    network: str
    num_classes: int
    width: float
    form: str
    arrays: list[Mapped]
    left_over: list[str]
    image_shape: tuple[int, int, int] = (224, 224, 3)
    normalization: str = "author"
    is_own: bool = False

    @property
    def params(self) -> dict[str, dict[str, np.ndarray]]:
        """The tree that the network takes, `float32`."""
        return _tree(one for one in self.arrays if not one.is_state)

    @property
    def model_state(self) -> dict[str, Any]:
        """The network's mutable collections; empty if it has none."""
        found = _tree(one for one in self.arrays if one.is_state)
        return {"batch_stats": found} if found else {}


def _tree(arrays: Iterable[Mapped]) -> dict[str, dict[str, np.ndarray]]:
    tree: dict[str, dict[str, np.ndarray]] = {}
    for one in arrays:
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
    config: ConfigDict | None = None,
) -> Conversion:
    """Brings a file's weights into this project's layout.

    Args:
      path: The file's; errors name it.
      source: What it holds; arrays that are converted are taken out of it.
      convention: Its layout.
      network: One of the convention's, where the file does not say which.
      ignore: Whether arrays may be left over.
      config: Of the run that the file was exported from, if that is known.

    Raises:
      InputError: The weights are not the network's: arrays are missing, left over, of
        other shapes or types, or not finite.
    """
    found = find_network(path, source, convention, network, config)
    left_over = found.left_over(source)
    check_left_over(path, left_over, found.name, ignore)
    arrays = [_bring_over(path, ours, source, found, convention)
              for ours in found.shapes]  # fmt: skip
    model = found.model
    return Conversion(
        found.name,
        model.num_classes,
        getattr(model, "width", 1.0),
        source.form,
        arrays,
        left_over,
        found.image_shape,
        getattr(model, "normalization", "author"),
    )


def _bring_over(
    path: Path, ours: str, source: Source, fit: Fit, convention: Convention
) -> Mapped:
    """Returns an array in our layout; takes it out of the source.

    Raises:
      InputError: A number is not finite.
    """
    theirs, shape = fit.names[ours], fit.shapes[ours]
    # Two layers may share one array.
    is_shared = [*fit.names.values()].count(theirs) > 1
    found = source.arrays[theirs] if is_shared else source.arrays.pop(theirs)
    array = found.reshape(trimmed(found.shape, len(shape)))
    changes = []
    if convention.channels_first and array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
        changes.append("OIHW to HWIO")
    elif convention.channels_first and array.ndim == 2:
        if ours == fit.first_dense:
            height, width, maps = fit.maps
            array = array.reshape(-1, maps, height, width).transpose(2, 3, 1, 0)
            array = array.reshape(shape)
            changes.append("rows C,H,W to H,W,C; transposed")
        else:
            array = array.T
            changes.append("transposed")
    if convention.is_bgr and ours == "conv1/kernel":
        array = array[:, :, ::-1]
        changes.append("BGR to RGB")
    with np.errstate(over="ignore"):  # a float64 beyond float32, found below
        # A copy of every one, as a view of a single bias would keep the file mapped.
        array = np.array(array, np.float32, order="C")
    check_finite(path, theirs, array)
    return Mapped(
        ours,
        theirs,
        found.shape,
        str(found.dtype),
        tuple(changes),
        array,
        ours in fit.states,
    )
