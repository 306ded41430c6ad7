"""Which network a file's arrays are of, and what the file calls each of ours."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import side_pair
from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, Classifier, create_configured, create_model
from alexnet_jax.weights.conventions import CAFFE, TWIN, Convention
from alexnet_jax.weights.source import Source

Shape = tuple[int, ...]
# Of layers by what their names begin with: their arrays, in the order of a graph's.
_PARTS = {
    "conv": ("kernel", "bias"),
    "norm": ("scale", "bias", "mean", "var"),
    "fc": ("kernel", "bias"),
}
# PyTorch's counts of steps beside running statistics, which are no weights.
_COUNT = ".num_batches_tracked"
_MAX_NAMED = 3


class Fit(NamedTuple):
    """A network of the size that a file's arrays have.

    Attributes:
      name: The network's.
      model: The network, `training=False`.
      image_shape: Height, width and channels of its images.
      shapes: Our arrays' by name, layer by layer, such as `conv1/kernel`.
      states: Those of them that are no parameters.
      maps: Height, width and channels of what the first dense layer reads.
      names: The file's, by ours.
    """

    name: str
    model: Classifier
    image_shape: tuple[int, int, int]
    shapes: dict[str, Shape]
    states: frozenset[str]
    maps: Shape
    names: dict[str, str]

    @property
    def first_dense(self) -> str:
        """The name of the kernel that reads maps."""
        return next(name for name in self.shapes if name.startswith("fc"))

    def left_over(self, source: Source) -> list[str]:
        """Returns the names of the file's arrays that are none of these."""
        known = {*self.names.values()}
        return [
            one
            for one in source.arrays
            if one not in known and not one.endswith(_COUNT)
        ]


def find_network(
    path: Path,
    source: Source,
    convention: Convention,
    network: str | None,
    config: ConfigDict | None = None,
) -> Fit:
    """Finds the network that a file's arrays are of.

    Args:
      path: The file's; errors name it.
      source: What it holds.
      convention: Its layout.
      network: One of the convention's, where the file does not say which.
      config: Of the run that the file was exported from, if that is known.

    Raises:
      InputError: `network` cannot be the file's, or does not say which it is; or some
        of the network's arrays are missing, or have other shapes or types.
    """
    stated = config.model.name if config else None
    allowed = (stated,) if stated else convention.networks
    if network not in (None, *MODELS, *allowed):
        raise InputError(
            f"--network must be one of {', '.join(allowed)} with {path}; got "
            f"{network!r:.60}"
        )
    if network not in (None, *allowed):
        raise InputError(
            f"--network must be one of {allowed} with {path}, a "
            f"{source.form}; got {network!r}: other networks see the image on another "
            "grid, or normalize otherwise"
        )
    told = _told(source, convention)
    if network and told and network != told:
        raise InputError(
            f"--network: {path} is of {told}, by the order of its LRN and pooling "
            f"layers, not of {network}; leave it out"
        )
    name = network or stated or _network_of(path, source, convention)
    found = _fit(path, source, convention, name, config)
    check_shapes(path, source, convention, found)
    return found


def _network_of(path: Path, source: Source, convention: Convention) -> str:
    """Returns the network; Caffe's two differ by the order of their layers alone.

    Raises:
      InputError: The file may be of any network; those that it fits are listed.
    """
    if convention is not TWIN:
        return _told(source, convention) or convention.networks[0]
    fitting = [name for name in TWIN.networks if _is_of(path, source, name)]
    if not fitting:
        layers = ""
        if source.weighted:
            found = [kind for kind, _ in source.weighted]
            layers = (
                f" ({found.count('conv')} convolutions and {found.count('fc')} dense "
                "layers; AlexNet has 5 and 3)"
            )
        raise InputError(
            f"{path} is of no network of this project, by the names and shapes of its "
            f"arrays{layers}; choose another file, or give --network to see what "
            "differs"
        )
    raise InputError(
        f"--network must say which network {path} is of, as the file does not; one of "
        f"{', '.join(fitting)}, whose arrays have these shapes"
    )


def _told(source: Source, convention: Convention) -> str | None:
    """Returns which of Caffe's two a file is of, if it has its layers in order."""
    kinds = source.operations
    if convention is not CAFFE or not {"LRN", "POOLING"} <= {*kinds}:
        return None
    is_first = kinds.index("POOLING") < kinds.index("LRN")
    return "caffenet" if is_first else "alexnet_caffe"


def _is_of(path: Path, source: Source, name: str) -> bool:
    try:
        found = _fit(path, source, TWIN, name, None)
        check_shapes(path, source, TWIN, found)
    except InputError:
        return False
    return not found.left_over(source)


def _fit(
    path: Path,
    source: Source,
    convention: Convention,
    name: str,
    config: ConfigDict | None,
) -> Fit:
    """Returns a network of the size that the last arrays have, and their names.

    Raises:
      InputError: Arrays of the network are missing.
    """
    fields: dict[str, Any] = {}
    if config is not None:
        model = create_configured(config).clone(training=False)
        if not getattr(model, "links", True):
            raise InputError(
                f"{path} is of a network without links between its towers, which only "
                "this project's own .safetensors holds; export the run as that"
            )
        assert model.reference is not None
        channels = model.reference.input_shape[2]
        image = (*side_pair(config.data.image_size), channels)
    else:
        image = reference_shape(name)
        if _has_batch_norm(source) and hasattr(MODELS[name], "normalization"):
            fields["normalization"] = "batch"
        model = _create(name, num_classes=1000, **fields)
    names = _names(path, source, convention, name, _arrays(model, image)[0])
    if convention is TWIN or config is not None:
        image = (*image[:2], _channels(source, names))
    if config is None:
        model = _create(name, **_size(source, names, model, image), **fields)
    return Fit(name, model, image, *_arrays(model, image), names)


@functools.cache
def _create(name: str, **fields: Any) -> Classifier:
    return create_model(name, training=False, **fields)


def reference_shape(network: str) -> tuple[int, int, int]:
    """Returns height, width and channels of the images a network was made for.

    Args:
      network: A key of `MODELS`.
    """
    reference = MODELS[network].reference
    assert reference is not None  # every registered network has one
    return reference.input_shape


@functools.cache
def _arrays(
    model: Classifier, image: tuple[int, int, int]
) -> tuple[dict[str, Shape], frozenset[str], Shape]:
    """Returns `shapes`, `states` and `maps` of a `Fit`."""
    variables = model.variable_shapes((1, *image))
    params, state = variables["params"], variables.get("batch_stats", {})
    shapes = {
        f"{layer}/{part}": tree[layer][part].shape
        for layer in sorted({*params, *state})
        for tree in (params, state)
        for part in ("kernel", "scale", "bias", "mean", "var")
        if part in tree.get(layer, {})
    }
    states = frozenset(f"{layer}/{part}" for layer in state for part in state[layer])
    maps = [shape[1:] for _, shape in model.layer_shapes((1, *image)) if len(shape) > 2]
    return shapes, states, maps[-1]


def _names(
    path: Path,
    source: Source,
    convention: Convention,
    network: str,
    shapes: dict[str, Shape],
) -> dict[str, str]:
    """Returns the file's names of our arrays, by what they are called or their order.

    Raises:
      InputError: Some are missing.
    """
    names = {ours: convention.source_name(ours) for ours in shapes}
    missing = [one for one in names.values() if one not in source.arrays]
    if not missing:
        return names
    if source.weighted:
        return _names_in_order(path, source, network, shapes)
    others = [one for one in source.arrays if one not in names.values()]
    more = f", but it holds {listed(others)}" if others else ""
    raise InputError(
        f"{path} is not all of {network}: {listed(missing)} of {len(names)} "
        f"arrays missing{more}; give the whole file, of that network"
    )


def _names_in_order(
    path: Path, source: Source, network: str, shapes: dict[str, Shape]
) -> dict[str, str]:
    """Returns the file's names of our arrays, by the order of its layers."""
    names: dict[str, str] = {}
    counts = []
    for kind, parts in _PARTS.items():
        ours = [*dict.fromkeys(n.split("/")[0] for n in shapes if n.startswith(kind))]
        theirs = [arrays for what, arrays in source.weighted if what == kind]
        counts.append((len(theirs), len(ours)))
        for layer, arrays in zip(ours, theirs, strict=False):
            names |= {
                f"{layer}/{part}": n for part, n in zip(parts, arrays, strict=False)
            }
    if any(found != wanted for found, wanted in counts):
        (conv, convs), (norm, norms), (dense, denses) = counts
        raise InputError(
            f"{path} is of another network than {network}: {conv} convolutions (Conv), "
            f"{norm} BatchNormalization and {dense} dense layers (Gemm or MatMul), not "
            f"{convs}, {norms} and {denses}; choose another file, or another --network"
        )
    missing = [name for name in shapes if names.get(name, "") not in source.arrays]
    if missing:
        raise InputError(
            f"{path} is not all of {network}: it holds no numbers for "
            f"{listed(missing)} (computed in the graph, or an input of it); export it "
            "with its weights as initializers"
        )
    return names


def _has_batch_norm(source: Source) -> bool:
    is_in_graph = any(kind == "norm" for kind, _ in source.weighted)
    return is_in_graph or "norm1.running_mean" in source.arrays


def _channels(source: Source, names: dict[str, str]) -> int:
    """Returns how many channels images have; conv1 reads all, also in two towers."""
    shape = source.arrays[names["conv1/kernel"]].shape
    return shape[1] if len(shape) == 4 else 3


def _size(
    source: Source,
    names: dict[str, str],
    model: Classifier,
    image: tuple[int, int, int],
) -> dict[str, Any]:
    """Returns the fields that a network's size depends on, from the last biases."""
    shapes = _arrays(model, image)[0]
    *_, before, last = (name for name in shapes if name.startswith("fc")
                        and name.endswith("bias"))  # fmt: skip
    fields: dict[str, Any] = {"num_classes": source.arrays[names[last]].size or 1}
    if hasattr(model, "width"):
        width = source.arrays[names[before]].size / shapes[before][0]
        fields["width"] = width if 0 < width <= 16 else 1.0
    return fields


def check_shapes(
    path: Path, source: Source, convention: Convention, found: Fit
) -> None:
    """Checks shapes and types before any number is looked at.

    Raises:
      InputError: They are not the network's, or no floats.
    """
    differing = []
    for ours, shape in found.shapes.items():
        name = found.names[ours]
        array, expected = source.arrays[name], _source_shape(shape, convention)
        if trimmed(array.shape, len(shape)) != expected:
            differing.append(f"{name} is {array.shape}, not {expected}")
    if differing:
        raise InputError(
            f"{path} is of another network than {found.name}: "
            f"{listed(differing, '; ')}; choose another file, or another --network"
        )
    for name in found.names.values():
        kind = source.arrays[name].dtype
        if not jnp.issubdtype(kind, jnp.floating) or kind.itemsize < 2:
            raise InputError(
                f"{path}: {name} is of type {kind}; weights must be float16, bfloat16, "
                "float32 or float64; choose a file that is not quantized"
            )


def check_left_over(path: Path, names: list[str], network: str, ignore: bool) -> None:
    """Checks that a network has a place for all arrays of a file.

    Raises:
      InputError: It has not, and that is not to be ignored.
    """
    if names and not ignore:
        raise InputError(
            f"{path}: {listed(names)} would be left over, as {network} has no place "
            "for it; give --ignore to leave it out, or another file"
        )


def check_finite(path: Path, name: str, array: np.ndarray) -> None:
    """Checks the numbers of an array.

    Raises:
      InputError: One is not finite.
    """
    if not np.isfinite(array).all():
        raise InputError(
            f"{path}: {name} holds NaN or infinity; choose a file whose training "
            "did not diverge"
        )


def _source_shape(shape: Shape, convention: Convention) -> Shape:
    if not convention.channels_first or len(shape) == 1:
        return shape
    return (shape[-1], shape[-2], *shape[:-2])


def trimmed(shape: Shape, axes: int) -> Shape:
    """Returns a shape without the ones with which Caffe's older blobs begin."""
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    return shape


def listed(names: list[str], separator: str = ", ") -> str:
    """Returns the first few of some names."""
    more = len(names) - _MAX_NAMED
    return separator.join(map(shown, names[:_MAX_NAMED])) + (
        f" and {more} more" if more > 0 else ""
    )


def shown(name: str) -> str:
    """Returns a name in a file, as text in one line."""
    return name if name.isprintable() else repr(name)[1:-1]
