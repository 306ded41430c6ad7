"""This project's own layout of weights in a file, from which a run is made again.

Arrays have our names, `conv1.kernel` or `batch_stats.norm1.mean`, and the statistics of
the training images are among them, `statistics.mean_image`; the file's metadata have
the run's config and its data's specification.
"""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from alexnet_jax.config import config_of, side_pair
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_configured
from alexnet_jax.weights.fitting import check_finite, check_left_over, listed
from alexnet_jax.weights.mapping import Conversion, Mapped
from alexnet_jax.weights.source import Source

FORMAT = "alexnet_jax"
_STATISTICS = "statistics."
_ENCODED = "statistics"  # in metadata: an .npz file in base64
_KEYS = ("network", "config", "data")
Variables = Mapping[str, Mapping[str, Any]]  # `params` and the mutable collections


class Own(NamedTuple):
    """A run's network, and what it was trained on.

    Attributes:
      config: The run's.
      spec: Its data's.
      weights: `params` and `model_state`, nested dicts of NumPy arrays.
    """

    config: ConfigDict
    spec: DataSpec
    weights: Mapping[str, Any]

    @property
    def variables(self) -> Variables:
        """As the network takes them: `params` and its mutable collections."""
        return {"params": self.weights["params"], **self.weights["model_state"]}


def flatten(variables: Variables) -> dict[str, Any]:
    """Returns arrays by their names in a file, layer by layer, kernels first."""
    leaves = traverse_util.flatten_dict(
        {name: dict(tree) for name, tree in variables.items()}
    )

    def place(path: tuple[str, ...]) -> tuple[Any, ...]:
        collection, *layer, part = path
        return collection != "params", collection, layer, part != "kernel", part

    return {_name(path): leaves[path] for path in sorted(leaves, key=place)}


def _name(path: tuple[str, ...]) -> str:
    return ".".join(path[1:] if path[0] == "params" else path)


def metadata_of(config: ConfigDict, spec: DataSpec) -> dict[str, str]:
    """Returns what a file says of the run besides its arrays."""
    return {
        "format": FORMAT,
        "network": config.model.name,
        "config": json.dumps(config.to_dict()),
        "data": spec.text,
    }


def arrays_of(own: Own) -> dict[str, np.ndarray]:
    """Returns all arrays of a file by their names."""
    statistics = {
        _STATISTICS + name: array for name, array in vars(own.spec.statistics).items()
    }
    return {**flatten(own.variables), **statistics}


def is_own(source: Source) -> bool:
    """Whether a file is of this layout, or of a later one."""
    said = source.metadata.get("format", "")
    return source.form == "safetensors" and said.startswith(FORMAT)


def read_config(path: Path, metadata: Mapping[str, str]) -> ConfigDict:
    """Returns the config in a file's metadata.

    Args:
      path: The file's; errors name it.
      metadata: As `metadata_of` makes them.

    Raises:
      InputError: They are incomplete, damaged, or of another version.
    """
    if metadata["format"] != FORMAT:
        raise InputError(
            f"{path} is of format {metadata['format']!r:.60}, this version reads "
            f"{FORMAT!r}; take the version that wrote it"
        )
    for key in _KEYS:
        if key not in metadata:
            raise InputError(
                f"{path} has no {key!r} in its metadata; export the run again"
            )
    try:
        config = config_of(json.loads(metadata["config"]))
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: 'config' in its metadata is damaged; export the run again"
        ) from error
    if config.model.name != metadata["network"]:
        raise InputError(
            f"{path} is of {metadata['network']!r:.60} and its config of "
            f"{config.model.name!r}; export the run again"
        )
    return config


def read_stated(path: Path, source: Source) -> tuple[ConfigDict, DataSpec]:
    """Returns config and data of the run that a file of other layout was made of.

    Args:
      path: The file's; errors name it.
      source: What it holds.

    Raises:
      InputError: As of `read_config` and `read_spec`.
    """
    config = read_config(path, source.metadata)
    found = source.metadata.get(_ENCODED)
    try:
        if found is None:
            raise ValueError(f"no {_ENCODED!r} in its metadata")
        with np.load(io.BytesIO(base64.b64decode(found, validate=True))) as stored:
            arrays = dict(stored)
    except Exception as error:  # on damaged bytes NumPy and zipfile raise any kind
        raise InputError(
            f"{path}: the statistics of its training images are missing or damaged "
            f"({str(error):.80}); export the run again"
        ) from error
    return config, read_spec(path, source.metadata["data"], arrays)


def encode_statistics(spec: DataSpec) -> dict[str, str]:
    """Returns what a file whose arrays are the layers' alone says of statistics."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **vars(spec.statistics))
    return {_ENCODED: base64.b64encode(buffer.getvalue()).decode()}


def read_spec(path: Path, text: str, arrays: Mapping[str, np.ndarray]) -> DataSpec:
    """Returns the specification of data in a file.

    Args:
      path: The file's; errors name it.
      text: That of its metadata.
      arrays: The statistics by name.

    Raises:
      InputError: It is damaged, or the statistics are not its own.
    """
    try:
        spec = DataSpec.of(text, Statistics.of(arrays))
        if spec.statistics.mean_image.shape[-1] != spec.image_shape[-1]:
            raise ValueError("statistics of other channels")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: its data's specification or statistics are damaged ({reason}); "
            "export the run again"
        ) from error
    return spec


def read_own(
    path: Path, source: Source, *, ignore: bool = False
) -> tuple[Own, list[str]]:
    """Makes of a file what it was made of, bit for bit.

    Args:
      path: The file's; errors name it.
      source: What it holds.
      ignore: Whether arrays may be left over.

    Returns:
      The network, and the names of the arrays that are left over.

    Raises:
      InputError: Arrays are missing, left over, of other shapes or types, or not
        finite; or as `read_config` and `read_spec` do.
    """
    config = read_config(path, source.metadata)
    arrays = dict(source.arrays)
    statistics = {
        name.removeprefix(_STATISTICS): arrays.pop(name)
        for name in source.arrays
        if name.startswith(_STATISTICS)
    }
    spec = read_spec(path, source.metadata["data"], statistics)
    try:
        shapes = variable_shapes(config, spec)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    wanted = flatten(shapes)
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise InputError(
            f"{path} is not all of {config.model.name}: {listed(missing)} of "
            f"{len(wanted)} arrays missing; export the run again"
        )
    left_over = [name for name in arrays if name not in wanted]
    check_left_over(path, left_over, config.model.name, ignore)
    differing = [
        f"{name} is {arrays[name].shape} {arrays[name].dtype}, not {one.shape} "
        f"{one.dtype}"
        for name, one in wanted.items()
        if (arrays[name].shape, arrays[name].dtype) != (one.shape, one.dtype)
    ]
    if differing:
        raise InputError(
            f"{path} is not as its config says: {listed(differing, '; ')}; export the "
            "run again"
        )
    for name in wanted:
        check_finite(path, name, arrays[name])
    leaves = traverse_util.flatten_dict(shapes)
    found = traverse_util.unflatten_dict({one: arrays[_name(one)] for one in leaves})
    weights = {"params": found.pop("params"), "model_state": found}
    return Own(config, spec, weights), left_over


def variable_shapes(config: ConfigDict, spec: DataSpec) -> dict[str, Any]:
    """Returns shapes and types of a network's variables."""
    model = create_configured(config).clone(training=False)
    shape = (1, *side_pair(config.data.image_size), spec.image_shape[-1])
    return model.variable_shapes(shape)


def conversion_of(own: Own, form: str, left_over: list[str]) -> Conversion:
    """Returns what the verification report is made of: arrays that are unchanged.

    Args:
      own: The network.
      form: What the source is, in words.
      left_over: Names of arrays that are left out.
    """
    settings = own.config.model
    params = flatten({"params": own.weights["params"]})
    arrays = [
        Mapped(
            name.replace(".", "/"),
            name,
            array.shape,
            str(array.dtype),
            (),
            array,
            is_state=name not in params,
        )
        for name, array in flatten(own.variables).items()
    ]
    return Conversion(
        settings.name,
        settings.num_classes,
        settings.width,
        form,
        arrays,
        left_over,
        is_own=True,
    )
