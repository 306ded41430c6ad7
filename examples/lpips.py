"""LPIPS: how different two pictures look, measured by AlexNet's features.

  python examples/lpips.py RUN PICTURE PICTURE [--linear=alex.pth]

RUN holds torchvision's AlexNet: `python -m alexnet_jax.convert FILE.pth
--to=RUN`. The pictures are compared at their own size, which must be the same.
The weights of the five layers are those of the `lpips` package (version 0.1)
if it is installed.

Both pictures go through the network as far as relu5. After each of the five
ReLUs the channels of every place are scaled to a vector of length 1; the
squared differences are weighted by channel, and averaged over places; the five
averages are added.

Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as
a Perceptual Metric"; richzhang/PerceptualSimilarity, lpips/lpips.py.
"""

import argparse
import importlib.metadata
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import relu

from alexnet_jax import cli, load
from alexnet_jax.data.decoding import BrokenImage, broken_images, read_pixels
from alexnet_jax.data.image_files import open_file
from alexnet_jax.errors import InputError
from alexnet_jax.models import Classifier
from alexnet_jax.terminal.paths import expand_home
from alexnet_jax.weights.read import read_source

# ImageNet's mean and deviation of red, green and blue, for images in [-1, 1].
_SHIFT = np.asarray([-0.030, -0.088, -0.188], np.float32).reshape(1, 1, 1, 3)
_SCALE = np.asarray([0.458, 0.448, 0.450], np.float32).reshape(1, 1, 1, 3)
_EPSILON = 1e-10


def lpips(
    model: Classifier,
    params: Any,
    linear: Sequence[Any] | None,
    one: Any,
    other: Any,
    *,
    spatial: bool = False,
) -> jax.Array:
    """Returns the distances of pairs of images; differentiable in the images.

    Args:
      model: torchvision's AlexNet, as `alexnet_jax.load(RUN).model`.
      params: Its parameters, as `alexnet_jax.load(RUN).weights["params"]`.
      linear: The weights of each layer's channels, as `read_linear` returns them; None
        for 1, the package's `lpips=False`.
      one: `(B, H, W, 3) float32` in [-1, 1], H and W at least 31.
      other: The images that those are compared with, of the same shape.
      spatial: Whether to return maps instead of their averages.

    Returns:
      `(B,) float32`, at least 0; maps are `(B, H, W)`.

    Raises:
      InputError: The images are of another shape or dtype, or too small; `linear` is
        not of this network's channels.
    """
    for image in (one, other):
        is_float = jnp.issubdtype(image.dtype, jnp.floating)
        if one.shape != image.shape or image.shape[3:] != (3,) or not is_float:
            raise InputError(
                "images must be two arrays (B, H, W, 3) of floats in [-1, 1], of one "
                f"shape; got {one.shape} {one.dtype} and {other.shape} {other.dtype}"
            )
    pairs = zip(_maps(model, params, one), _maps(model, params, other), strict=True)
    squares = [(_to_length_1(x) - _to_length_1(y)) ** 2 for x, y in pairs]
    channels = [(square.shape[-1],) for square in squares]
    linear = [jnp.ones(shape) for shape in channels] if linear is None else linear
    if channels != [np.shape(weight) for weight in linear]:
        raise InputError(
            f"linear must have weights for {[c for (c,) in channels]} channels, which "
            f"the network has; got {[np.shape(weight) for weight in linear]}"
        )
    total = jnp.zeros(one.shape[: 3 if spatial else 1], jnp.float32)
    for square, weight in zip(squares, linear, strict=True):
        weight = jnp.asarray(weight, jnp.float32)
        distance = jnp.matmul(square, weight, precision="highest")  # (B, h, w)
        if spatial:
            total += jax.image.resize(distance, one.shape[:3], "bilinear")
        else:
            total += distance.mean(axis=(1, 2))
    return total


def _maps(model: Classifier, params: Any, image: jax.Array) -> list[jax.Array]:
    """Returns the outputs of the first five ReLUs; no layer after them is computed."""

    def relus(model: Classifier, x: jax.Array) -> list[jax.Array]:
        outputs = (y for layer, y in model.layer_outputs(x) if layer is relu)
        return list(islice(outputs, 5))

    scaled = (jnp.asarray(image, jnp.float32) - _SHIFT) / _SCALE
    with jax.default_matmul_precision("highest"):
        maps: Any = model.apply({"params": params}, scaled, method=relus)
    return maps


def _to_length_1(x: jax.Array) -> jax.Array:
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    # The root has no derivative where all channels are 0.
    length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return x / (length + _EPSILON)


def read_linear(path: Path | None = None) -> list[np.ndarray]:
    """Reads the weights of the layers' channels; PyTorch is not needed.

    Args:
      path: `lpips/weights/v0.1/alex.pth`; the installed package's if not given.

    Returns:
      Five arrays `(C,) float32`.

    Raises:
      InputError: The package is not installed, or the file holds something else.
    """
    if path is None:
        try:  # not by `import`, which finds this file of the same name
            package = importlib.metadata.distribution("lpips")
        except importlib.metadata.PackageNotFoundError:
            raise InputError(
                "--linear must name LPIPS' alex.pth where the package lpips is not "
                "installed; pip install lpips, or give its lpips/weights/v0.1/alex.pth"
            ) from None
        path = Path(str(package.locate_file("lpips/weights/v0.1/alex.pth")))
    arrays = read_source(path)[0].arrays
    found = [
        array.reshape(-1).astype(np.float32)
        for place in range(5)
        for name, array in sorted(arrays.items())
        if name.startswith(f"lin{place}.") and array.shape == (1, array.size, 1, 1)
    ]
    if len(found) != 5 or not all(np.isfinite(weight).all() for weight in found):
        raise InputError(
            f"--linear: {path} must hold the finite weights lin0 to lin4, (1, C, 1, 1) "
            f"each; it holds {', '.join(arrays) or 'nothing'}"[:400]
        )
    return found


def read_image(path: Path) -> np.ndarray:
    """Reads a picture as `(1, H, W, 3) float32` in [-1, 1]; raises `InputError`."""
    try:
        with broken_images(), open_file(path) as file:
            picture, notes = read_pixels(file)
            picture = picture.convert("RGB")
    except BrokenImage as error:
        raise InputError(f"{path}: {error.line}") from error
    for note in notes:
        cli.warn(f"{path}: {note}")
    return np.asarray(picture, np.float32)[None] / np.float32(127.5) - np.float32(1)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the distance of the two pictures that the arguments name."""
    parser = cli.Parser("lpips", __doc__)
    parser.prog = "python examples/lpips.py"
    add = parser.add_argument
    add("run", type=cli.path, metavar="RUN", help=cli.CHECKPOINT_HELP)
    add("pictures", type=cli.path, nargs=2, metavar="PICTURE", help="of one size")
    add(
        "--linear",
        type=cli.path,
        metavar="FILE",
        help="the weights of channels (default: the installed lpips package's)",
    )
    options: argparse.Namespace = parser.parse_args(argv)
    linear = read_linear(options.linear and expand_home(options.linear, "--linear"))
    one, other = (read_image(path) for path in options.pictures)
    if one.shape != other.shape:
        sizes = [f"{image.shape[2]}×{image.shape[1]}" for image in (one, other)]
        raise InputError(
            f"PICTURE: the two must be of one size; got {' and '.join(sizes)} pixels; "
            "resize one"
        )
    network = load(options.run)
    for line in network.skipped:
        cli.warn(f"{line}; skipped")
    name, channels = network.config.model.name, network.spec.image_shape[-1]
    if name != "alexnet_torchvision" or channels != 3:
        raise InputError(
            "RUN must be of alexnet_torchvision and images of 3 channels; got "
            f"{name} and {channels}; python -m alexnet_jax.convert makes a run of "
            "torchvision's weights"
        )
    function = jax.jit(lpips, static_argnums=0)
    distance = function(network.model, network.weights["params"], linear, one, other)
    print(f"lpips     {float(distance[0]):.6f}")


if __name__ == "__main__":
    main()
