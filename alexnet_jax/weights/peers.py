"""Logits of a picture by the tool that a file of weights is for, beside ours.

The tool gets the file itself, or the file's own arrays in their own layout, and the
picture in the file's order of colors: what was misread or misplaced here it does not
share. ONNX Runtime runs an ONNX file; PyTorch runs the published networks of all other
files, as `torch_networks` has them.
"""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.config import side_pair
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import TORCHVISION_DEVIATION, TORCHVISION_MEAN
from alexnet_jax.errors import InputError
from alexnet_jax.models import Classifier, create_configured
from alexnet_jax.preprocessing.pipeline import make_preprocessing
from alexnet_jax.weights import torch_networks
from alexnet_jax.weights.conventions import Convention
from alexnet_jax.weights.mapping import Conversion
from alexnet_jax.weights.source import Source

PICTURE = Path(__file__).parent / "picture.jpg"
_SHORT = 256  # side of the picture that torchvision resizes to
TOLERANCE = 1e-3  # of the largest logit; rounding is less than a hundredth of it

# From a size, height and width, to the picture as a file's network sees it,
# `(1, 3, *size) float32`.
_MakeInput = Callable[[tuple[int, int]], np.ndarray]


class NotCompared(Exception):
    """There are no logits to compare with. Its text says why, and what would help."""


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


def compare(
    path: Path,
    source: Source,
    convention: Convention,
    conversion: Conversion,
    config: ConfigDict,
    spec: DataSpec,
) -> Comparison:
    """Compares our logits of the picture that ships with another tool's.

    Args:
      path: The file.
      source: What was read of it; its arrays may have been taken out.
      convention: Its layout.
      conversion: The weights that it became.
      config: Of the run that is made of them.
      spec: What they were trained on.

    Raises:
      NotCompared: The tool is not installed, or cannot run the file on a picture.
    """
    is_onnx = source.form.startswith("ONNX")
    module, words = ("onnxruntime", "ONNX Runtime") if is_onnx else ("torch", "PyTorch")
    if not is_onnx and conversion.network not in torch_networks.NETWORKS:
        raise NotCompared(f"PyTorch is given no {conversion.network} here")
    if importlib.util.find_spec(module) is None:
        raise NotCompared(
            f"install {module}, and they are compared with those of {words}"
        )
    make_input = _input_of(conversion.network, convention, config, spec)
    size = side_pair(config.data.image_size)
    try:
        tool: Any = importlib.import_module(module)
        if is_onnx:
            theirs, size = _onnx_logits(tool, path, make_input, size)
            is_softmax = source.operations[-1:] == ("SOFTMAX",)
        else:
            theirs = torch_networks.logits(
                tool,
                path,
                conversion.network,
                convention,
                make_input(size),
                is_torch=source.form.startswith("PyTorch"),
            )
            is_softmax = False
    except NotCompared:
        raise
    except Exception as error:  # of any kind, by tools that are not ours
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise NotCompared(f"{words} does not run {path} ({reason})") from error
    version = f"{words} {tool.__version__.partition('+')[0]}"
    ours = _our_logits(conversion, config, spec, size)
    if ours.shape != theirs.shape:
        raise NotCompared(
            f"{words} has {theirs.size:,} outputs with {path}, not {ours.size:,}"
        )
    if is_softmax:  # which tells logits but for a number added to all
        kept = theirs > np.finfo(np.float32).tiny
        theirs, ours = np.log(theirs[kept]), ours[kept]
        theirs, ours = theirs - theirs.mean(), ours - ours.mean()
    largest = float(np.abs(theirs).max())
    difference = float(np.abs(ours - theirs).max())
    return Comparison(difference / (largest or 1.0), largest, version)


def _our_logits(
    conversion: Conversion, config: ConfigDict, spec: DataSpec, size: tuple[int, int]
) -> np.ndarray:
    """Returns ours, `(K,)`, of the picture as `predict` reads and scales it.

    Raises:
      NotCompared: At that size the network has other shapes.
    """
    model, image = _as_ours(config, spec, size)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    params = conversion.params
    if jax.tree.map(np.shape, shapes) != jax.tree.map(np.shape, params):
        raise NotCompared(f"the file's network takes images of {size[0]}×{size[1]}")
    apply = jax.jit(lambda params, image: model.apply({"params": params}, image))
    return np.asarray(apply(params, image))[0]


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


def _input_of(
    network: str, convention: Convention, config: ConfigDict, spec: DataSpec
) -> _MakeInput:
    """Returns what makes the input that a file's network was published to see."""

    def of_torchvision(size: tuple[int, int]) -> np.ndarray:
        with Image.open(PICTURE) as image:
            short = min(image.size)
            sides = [
                256 if side == short else 256 * side // short for side in image.size
            ]
            resized = image.resize(sides, Image.Resampling.BILINEAR)
        seen = _center(np.asarray(resized), size) / np.float32(255)
        mean, deviation = TORCHVISION_MEAN / 255, TORCHVISION_DEVIATION / 255
        return (seen - mean) / deviation

    def of_caffe(size: tuple[int, int]) -> np.ndarray:
        image = _read(config, spec).astype(np.float32)
        return _center((image - spec.statistics.mean_image)[..., ::-1], size)

    def ours(size: tuple[int, int]) -> np.ndarray:
        return np.asarray(_as_ours(config, spec, size)[1])[0]

    made = ours
    if network == "alexnet_torchvision":
        made = of_torchvision
    elif convention.is_bgr:
        made = of_caffe
    return lambda size: np.ascontiguousarray(
        made(size).transpose(2, 0, 1)[None], np.float32
    )


def _center(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = (
        (side - new) // 2 for side, new in zip(image.shape, size, strict=False)
    )
    return image[top : top + size[0], left : left + size[1]]


def _onnx_logits(
    onnxruntime: Any, path: Path, make_input: _MakeInput, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns what ONNX Runtime makes of the picture, `(K,)`, and at which size.

    Raises:
      NotCompared: The graph takes something else than one image of floats.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    # Weights are not laid out anew, which would hold them twice.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    inputs: list[Any] = session.get_inputs()
    if [(one.type, len(one.shape)) for one in inputs] != [("tensor(float)", 4)]:
        taken = ", ".join(f"{one.type} {one.shape}" for one in inputs)
        raise NotCompared(f"{path} takes {taken}, not images of float32")
    count, _, *sides = inputs[0].shape
    if all(isinstance(side, int) for side in sides):
        size = sides[0], sides[1]
    image = make_input(size)
    if isinstance(count, int):
        image = np.repeat(image, count, axis=0)
    (first, *_) = session.run(None, {inputs[0].name: image})
    return np.asarray(first, np.float32).reshape(len(image), -1)[0], size
