"""The formats: each is written, opened again by the tool it is for, and compared."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import InputError, RunError
from alexnet_jax.exporting.libraries import require
from alexnet_jax.exporting.onnx_graph import write_onnx
from alexnet_jax.exporting.operations import Operation, list_operations
from alexnet_jax.exporting.safetensors_file import check_safetensors, write_safetensors
from alexnet_jax.exporting.stablehlo import call_stablehlo, write_stablehlo
from alexnet_jax.exporting.torch_module import write_torch
from alexnet_jax.inspection.tables import short_name
from alexnet_jax.preprocessing.pipeline import Pipeline, make_preprocessing
from alexnet_jax.step import make_forward
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights.own import Own, encode_statistics, metadata_of

_IMAGES = 2  # that the check compares
_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # of the largest number


class Check(NamedTuple):
    """What came of opening an export again.

    Attributes:
      by: The tool that opened it, or why none did.
      difference: The largest, as a share of the largest number; None if nothing was
        compared.
    """

    by: str
    difference: float | None

    @property
    def text(self) -> str:
        """Says so in a line."""
        if self.difference is None:
            return self.by
        if not self.difference:
            return f"{self.by}: equal bit for bit"
        return f"{self.by}: largest difference {self.difference:.1e} of the largest"


class Network:
    """A trained network, seen as what the formats are made of.

    Attributes:
      net: The network.
      pipeline: Its preprocessing.
      own: Its arrays, config and data.
      with_preprocessing: Whether stored bytes go in; `stablehlo` has no other form.
    """

    def __init__(self, net: TrainedModel, *, with_preprocessing: bool = False) -> None:
        """Takes a trained network."""
        self.net, self.with_preprocessing = net, with_preprocessing
        self.own = Own(net.config, net.spec, net.weights)
        self.pipeline: Pipeline = make_preprocessing(
            net.config, net.model, lambda: net.spec.statistics
        )

    @property
    def name(self) -> str:
        """The network's registered name; of a layer file, the file's without folder."""
        return short_name(self.net.config.model.name)

    @property
    def metadata(self) -> dict[str, str]:
        """What the files say of the run."""
        return metadata_of(self.net.config, self.net.spec)

    @cached_property
    def operations(self) -> list[Operation]:
        """The layers, for formats that have layers of their own."""
        height, width, channels = self.net.input_shape[1:]
        shape = (height, width, channels)
        return list_operations(self.net.model, self.own.variables, shape)

    @cached_property
    def image(self) -> np.ndarray:
        """Drawn images, `(N, h, w, C) uint8`, that the check compares."""
        shape = (_IMAGES, *self.net.spec.image_shape)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    @cached_property
    def seen(self) -> np.ndarray:
        """What the network sees of them, `(N, H, W, C) float32`."""
        return np.asarray(self.pipeline(jnp.asarray(self.image)))

    @cached_property
    def logits(self) -> np.ndarray:
        """What it answers, computed in float32: `(N, K)`."""
        # A GPU would round factors to TF32's ten bits.
        with jax.default_matmul_precision("highest"):
            return np.asarray(
                jax.jit(self.net.model.apply)(self.own.variables, self.seen)
            )

    def probabilities(self, image: jax.Array) -> jax.Array:
        """Maps stored images to probabilities, as evaluation does.

        Args:
          image: `(N, h, w, C) uint8`.

        Returns:
          `(N, K) float32`.
        """
        net = self.net
        forward = make_forward(
            net.model,
            self.pipeline,
            views=self.pipeline.views if net.views > 1 else None,
            dtype=net.config.dtype,
        )
        weights = net.weights
        logits = forward(weights["params"], weights["model_state"], image)
        return jax.nn.softmax(logits)


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        raise RunError(
            f"the export answers {found.shape} numbers, not {wanted.shape}; nothing "
            "was written"
        )
    return float(np.abs(found - wanted).max() / (np.abs(wanted).max() or 1.0))


def _write_safetensors(folder: Path, network: Network) -> list[str]:
    write_safetensors(folder, network.own)
    return []


def _check_safetensors(folder: Path, network: Network) -> Check:
    check_safetensors(folder, network.own)
    return Check("opened again by safetensors", 0.0)


def _write_stablehlo(folder: Path, network: Network) -> list[str]:
    shape = network.net.spec.image_shape
    return write_stablehlo(folder, network.probabilities, shape)


def _check_stablehlo(folder: Path, network: Network) -> Check:
    try:
        found = call_stablehlo(folder, network.image)
    except jax.errors.JaxRuntimeError as error:
        said = " ".join(str(error).split())[:160]
        raise RunError(
            f"model.stablehlo cannot be compiled here ({said}); nothing was written"
        ) from error
    wanted = network.net.predict(network.image).probabilities
    by = f"opened again by jax {jax.__version__}"
    return Check(by, _difference(found, wanted.astype(np.float32)))


def _write_torch(folder: Path, network: Network) -> list[str]:
    network.net.spec.save(folder)  # which a state dict has no room for
    return write_torch(folder, network.name, network.operations)


def _check_torch(folder: Path, network: Network) -> Check:
    torch = require("torch")
    names: dict[str, Any] = {"__name__": "network"}
    exec((folder / "network.py").read_text("utf-8"), names)  # what was just written
    module = names["create_network"]()
    state = torch.load(folder / "model.pth", weights_only=True)
    module.load_state_dict(state, strict=True)
    module.eval()
    with torch.no_grad():
        seen = network.seen.transpose(0, 3, 1, 2)
        found = module(torch.tensor(seen)).numpy()
    by = f"opened again by PyTorch {torch.__version__}"
    return Check(by, _difference(found, network.logits))


def _write_onnx(folder: Path, network: Network) -> list[str]:
    return write_onnx(
        folder,
        network.name,
        network.operations,
        pipeline=network.pipeline if network.with_preprocessing else None,
        image_shape=network.net.spec.image_shape,
        metadata=network.metadata | encode_statistics(network.net.spec),
    )


def _check_onnx(folder: Path, network: Network) -> Check:
    try:
        onnxruntime = require("onnxruntime")
    except InputError as error:
        return Check(f"not compared: {error}", None)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    image = network.image
    if not network.with_preprocessing:
        image = np.ascontiguousarray(network.seen.transpose(0, 3, 1, 2))
    (found,) = session.run(["logits"], {"image": image})
    by = f"opened again by onnxruntime {onnxruntime.__version__}"
    return Check(by, _difference(found, network.logits))


class Format(NamedTuple):
    """A format.

    Attributes:
      write: Writes it to a folder; returns notes, a line each.
      check: Opens it again.
    """

    write: Callable[[Path, Network], list[str]]
    check: Callable[[Path, Network], Check]


FORMATS = {
    "safetensors": Format(_write_safetensors, _check_safetensors),
    "torch": Format(_write_torch, _check_torch),
    "onnx": Format(_write_onnx, _check_onnx),
    "stablehlo": Format(_write_stablehlo, _check_stablehlo),
}


def write_and_check(
    form: str, folder: Path, network: Network
) -> tuple[list[str], Check]:
    """Writes a network in a format and opens it again.

    Args:
      form: A key of `FORMATS`.
      folder: Empty.
      network: The network.

    Returns:
      Notes on how layers were written, and what came of the check.

    Raises:
      InputError: The format cannot hold the network, or its library is missing.
      RunError: What was written answers otherwise than the network.
    """
    notes = FORMATS[form].write(folder, network)
    check = FORMATS[form].check(folder, network)
    allowed = _TOLERANCE[network.net.config.dtype if form == "stablehlo" else "float32"]
    if check.difference is not None and not check.difference <= allowed:
        raise RunError(f"{check.text}, more than {allowed:.0e}; nothing was written")
    return notes, check
