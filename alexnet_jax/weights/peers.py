"""Logits of a picture by the tool that a file of weights is for, beside ours.

The tool gets the file itself, or the file's own arrays in their own layout, and the
picture in the file's order of colors: what was misread or misplaced here it does not
share. ONNX Runtime runs an ONNX file; PyTorch runs the published networks of all other
files, as `torch_networks` has them.
"""

import dataclasses
import functools
import importlib
import importlib.util
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.config import differences, side_pair
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import TORCHVISION_DEVIATION, TORCHVISION_MEAN
from alexnet_jax.errors import InputError
from alexnet_jax.models import Classifier, create_configured
from alexnet_jax.preprocessing.pipeline import make_preprocessing
from alexnet_jax.weights import torch_networks
from alexnet_jax.weights.conventions import TORCHVISION, Convention, of_state_dict
from alexnet_jax.weights.mapping import Conversion
from alexnet_jax.weights.onnx_inputs import image_size
from alexnet_jax.weights.own import Own
from alexnet_jax.weights.preprocessing import create_config
from alexnet_jax.weights.read import read_source

PICTURE = Path(__file__).parent / "picture.jpg"
_SHORT = 256  # side of the picture that torchvision resizes to
TOLERANCE = 1e-4  # of the largest logit; rounding is less than a tenth of it


class NotCompared(Exception):
    """There are no logits to compare with. Its text says why, and what would help."""


class NotRun(NotCompared):
    """The tool that a file is for cannot run it. Its text says how that failed."""


class Comparison(NamedTuple):
    """How far our logits of a picture are from another tool's.

    Attributes:
      difference: The largest, as a fraction of `largest`.
      largest: Absolute value of the other tool's logits.
      tool: Its name and version.
    """

    difference: float
    largest: float
    tool: str

    def check(self, path: Path) -> None:
        """Raises `InputError` if there is more between them than rounding."""
        if not self.difference <= TOLERANCE:  # nor is NaN
            raise InputError(
                f"{path}: logits of a picture differ by {self.difference:.1e} of the "
                f"largest from those of {self.tool}, by no more than {TOLERANCE:.0e} "
                "where both are the same network; it is of another network, or is not "
                "read as it was meant: do not rely on these weights"
            )


def compare(path: Path, conversion: Conversion, own: Own) -> Comparison:
    """Compares our logits of the picture that ships with another tool's.

    Args:
      path: The file.
      conversion: What became of it; its arrays are taken out.
      own: Our network. Its arrays are taken out too, so that memory need not hold them
        beside the tool's.

    Raises:
      NotCompared: The tool is not installed, or cannot run the file on a picture.
    """
    if conversion.is_own:
        raise NotCompared(f"{path} is this project's own, which no other tool runs")
    config, spec = own.config, own.spec
    is_onnx, network = conversion.form.startswith("ONNX"), conversion.network
    module, words = ("onnxruntime", "ONNX Runtime") if is_onnx else ("torch", "PyTorch")
    if not is_onnx and network not in torch_networks.NETWORKS:
        raise NotCompared(f"there is no {network} of PyTorch's or Caffe's own")
    if importlib.util.find_spec(module) is None:
        raise NotCompared(
            f"install {module}, and they are compared with those of {words}"
        )
    is_published = not [*differences(create_config(conversion), config)]
    size = side_pair(config.data.image_size)
    if is_onnx:
        size = image_size(path) or size
    conversion.arrays.clear()
    ours = _our_logits(own, size)
    source, convention = None, TORCHVISION
    if not conversion.form.startswith("PyTorch"):
        source, convention = read_source(path)
        if is_onnx:  # which is read by the tool itself
            source.arrays.clear()
    look = _look(network, convention, config, spec, is_published=is_published)
    # A copy, as PyTorch warns of what cannot be written to.
    image = np.array(look(size).transpose(2, 0, 1)[None], np.float32, order="C")
    try:
        tool: Any = importlib.import_module(module)
        if is_onnx:
            theirs = _onnx_logits(tool, path, image, _read(config, spec)[None])
        else:
            if source is None:
                arrays = torch_networks.load(tool, path)
                convention = of_state_dict(arrays)
            else:
                arrays = source.arrays
            theirs = torch_networks.logits(tool, network, convention, arrays, image)
    except NotCompared:
        raise
    except Exception as error:  # of any kind, by tools that are not ours
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        # An ONNX file is run whole by the tool that it is for.
        kind = NotRun if is_onnx else NotCompared
        raise kind(f"{words} does not run {path} ({reason})") from error
    if ours.shape != theirs.shape:
        raise NotCompared(
            f"{words} has {theirs.size:,} outputs with {path}, not {ours.size:,}"
        )
    if source and source.operations[-1:] == ("SOFTMAX",) and _are_shares(theirs):
        # Probabilities tell logits but for a number that is added to all.
        kept = theirs > np.finfo(np.float32).tiny
        theirs, ours = np.log(theirs[kept]), ours[kept]
        theirs, ours = theirs - theirs.mean(), ours - ours.mean()
    largest = float(np.abs(theirs).max())
    difference = float(np.abs(ours - theirs).max()) / (largest or 1.0)
    version = tool.__version__.partition("+")[0]
    return Comparison(difference, largest, f"{words} {version}")


def _are_shares(outputs: np.ndarray) -> bool:
    """Whether a graph's first output are probabilities; logits may come first."""
    return bool((outputs >= 0).all() and abs(outputs.sum() - 1) < TOLERANCE)


def _our_logits(own: Own, size: tuple[int, int]) -> np.ndarray:
    """Returns ours, `(K,)`, of the picture as `predict` reads and scales it.

    Raises:
      NotCompared: At that size the network has other shapes.
    """
    model, image = _as_ours(own.config, own.spec, size)
    shapes = model.variable_shapes(image.shape)
    variables: dict[str, Any] = dict(own.variables)
    if jax.tree.map(np.shape, shapes) != jax.tree.map(np.shape, variables):
        raise NotCompared(f"the file's network takes images of {size[0]}×{size[1]}")
    # A GPU would round factors to TF32's ten bits.
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(model.apply)(_take(variables), image))[0]


def _take(variables: dict[str, Any]) -> dict[str, Any]:
    """Takes arrays out of the dicts that hold them, to the device.

    By `device_put`: what `jnp.array` copies would lie beside its copy for a while.
    """
    taken = {}
    leaves = traverse_util.flatten_dict(variables)
    for path in [*leaves]:
        *inner, last = path
        holder = functools.reduce(operator.getitem, inner, variables)
        del holder[last]
        taken[path] = jax.device_put(leaves.pop(path))
    return traverse_util.unflatten_dict(taken)


def _as_ours(
    config: ConfigDict, spec: DataSpec, size: tuple[int, int]
) -> tuple[Classifier, jax.Array]:
    """Returns our network, and the picture as it sees it, `(1, *size, 3)`."""
    model = create_configured(config).clone(training=False)
    preprocess = make_preprocessing(config, model, lambda: spec.statistics)
    preprocess = dataclasses.replace(preprocess, size=size)
    return model, preprocess(jnp.asarray(_read(config, spec)[None]))


def _read(config: ConfigDict, spec: DataSpec) -> np.ndarray:
    """Returns the picture as `predict` reads it."""
    data = config.data
    return read_picture(PICTURE, spec, fit=data.fit, way=data.resize).image


def _look(
    network: str,
    convention: Convention,
    config: ConfigDict,
    spec: DataSpec,
    *,
    is_published: bool,
) -> Callable[[tuple[int, int]], np.ndarray]:
    """Returns what makes the picture, `(*size, 3)`, that a file's network is to see.

    One that was published sees it as there, written out; a run's as the run has it.
    """

    def of_torchvision(size: tuple[int, int]) -> np.ndarray:
        with Image.open(PICTURE) as image:
            short = min(image.size)
            sides = [_SHORT * side // short for side in image.size]
            resized = image.resize(sides, Image.Resampling.BILINEAR)
        seen = _center(np.asarray(resized), size) / np.float32(255)
        mean, deviation = TORCHVISION_MEAN / 255, TORCHVISION_DEVIATION / 255
        return (seen - mean) / deviation

    def of_caffe(size: tuple[int, int]) -> np.ndarray:
        image = _read(config, spec).astype(np.float32)
        return _center((image - spec.statistics.mean_image)[..., ::-1], size)

    def ours(size: tuple[int, int]) -> np.ndarray:
        return np.asarray(_as_ours(config, spec, size)[1])[0]

    if is_published and network == "alexnet_torchvision":
        return of_torchvision
    return of_caffe if is_published and convention.is_bgr else ours


def _center(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = (
        (side - new) // 2 for side, new in zip(image.shape, size, strict=False)
    )
    return image[top : top + size[0], left : left + size[1]]


def _onnx_logits(
    onnxruntime: Any, path: Path, image: np.ndarray, stored: np.ndarray
) -> np.ndarray:
    """Returns what ONNX Runtime makes of an image, `(K,)`.

    Args:
      onnxruntime: The library.
      path: The file.
      image: `(1, C, h, w) float32`, for a graph without preprocessing.
      stored: `(1, h, w, C) uint8`, for one with it.

    Raises:
      NotCompared: The graph takes something else.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    # Weights are not laid out anew, which would hold them twice.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    inputs = session.get_inputs()
    kinds = [(one.type, len(one.shape)) for one in inputs]
    if kinds == [("tensor(uint8)", 4)]:
        image = stored
    elif kinds != [("tensor(float)", 4)]:
        taken = ", ".join(f"{one.type} {one.shape}" for one in inputs)
        raise NotCompared(f"{path} takes {taken}, not images")
    count = inputs[0].shape[0]
    if isinstance(count, int):
        image = np.repeat(image, count, axis=0)
    (first, *_) = session.run(None, {inputs[0].name: image})
    return np.asarray(first, np.float32).reshape(len(image), -1)[0]
