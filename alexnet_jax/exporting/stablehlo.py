"""A network as StableHLO, by `jax.export`: stored bytes in, probabilities out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from alexnet_jax.atomic import read_regular, write_file
from alexnet_jax.exporting.libraries import require

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(
    folder: Path, function: Callable[[jax.Array], jax.Array], image_shape: Sequence[int]
) -> list[str]:
    """Writes `model.stablehlo`, for CPUs, NVIDIA GPUs and TPUs at once.

    Its arrays become constants, so that the file is all that serving needs. Writing
    holds them six times: 1.9 GB and 2 s for 61 million parameters on two CPU cores.

    Args:
      folder: Where to.
      function: Of images `(N, h, w, C) uint8`, for any N.
      image_shape: `(h, w, C)`.

    Returns:
      Notes: what reads the file.

    Raises:
      InputError: `flatbuffers`, which JAX does not bring, is not installed.
      OSError: The file cannot be written.
    """
    require("flatbuffers")
    (count,) = export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((count, *image_shape), jnp.uint8)
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(image)
    write_file(folder / FILE, bytes(exported.serialize()))
    return [
        f"written by jax {jax.__version__} with calling convention "
        f"{exported.calling_convention_version}; jax reads it for at least six months "
        "of later versions"
    ]


def call_stablehlo(folder: Path, image: np.ndarray) -> np.ndarray:
    """Opens `model.stablehlo` again and returns what it makes of images.

    Args:
      folder: Where it is.
      image: `(N, h, w, C) uint8`.
    """
    content = bytearray(read_regular(folder / FILE))
    return np.asarray(export.deserialize(content).call(image))
