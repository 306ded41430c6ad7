"""The published networks in PyTorch, with the arrays of a file as the file has them.

Written from their definitions, not from this project's layers.

Source:
  pytorch/vision, `models/alexnet.py`; BVLC/caffe, `models/bvlc_alexnet` and
  `models/bvlc_reference_caffenet`, `train_val.prototxt`.
"""

import argparse
import contextlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.weights.conventions import Convention
from alexnet_jax.weights.state_dicts import plain_names, unwrap

NETWORKS = ("alexnet_torchvision", "alexnet_caffe", "caffenet")


def logits(
    torch: Any,
    network: str,
    convention: Convention,
    arrays: Mapping[str, Any],
    image: np.ndarray,
) -> np.ndarray:
    """Returns the logits of a published network, by PyTorch.

    Args:
      torch: PyTorch, which takes seconds to be imported and is not required.
      network: One of `NETWORKS`.
      convention: The layout of the arrays.
      arrays: A file's by its own names, NumPy's or PyTorch's.
      image: `(1, 3, h, w) float32`, in the file's order of colors.

    Returns:
      `(K,) float32`.

    Raises:
      Exception: Of any kind, as PyTorch does.
    """

    def array(layer: str, part: int) -> Any:
        names = convention.names.get(layer, (f"{layer}.weight", f"{layer}.bias"))
        found = arrays[names[part]]
        if isinstance(found, torch.Tensor):
            return found.float()
        return torch.from_numpy(np.array(found, np.float32))

    def convolution(x: Any, layer: str, stride: int = 1, padding: int = 0) -> Any:
        kernel, bias = array(layer, 0), array(layer, 1).reshape(-1)
        if not convention.channels_first:
            kernel = kernel.permute(3, 2, 0, 1)
        groups = x.shape[1] // kernel.shape[1]
        return torch.nn.functional.conv2d(
            x, kernel, bias, stride=stride, padding=padding, groups=groups
        ).relu()

    def dense(x: Any, layer: str) -> Any:
        kernel, bias = array(layer, 0), array(layer, 1).reshape(-1)
        kernel = kernel.reshape(kernel.shape[-2:])  # of Caffe's older blobs
        if not convention.channels_first:
            kernel = kernel.T
        return torch.nn.functional.linear(x, kernel, bias)

    with torch.inference_mode():
        x = _features(
            torch.nn.functional, network, convolution, torch.from_numpy(image)
        )
        if not convention.channels_first:  # nor are the rows of fc6
            x = x.permute(0, 2, 3, 1)
        x = dense(x.flatten(1), "fc6").relu()
        x = dense(x, "fc7").relu()
        return dense(x, "fc8")[0].numpy()


def _features(
    functional: Any, network: str, convolution: Callable[..., Any], x: Any
) -> Any:
    """Returns what the first dense layer reads, `(1, maps, 6, 6)`."""
    of_caffe = network != "alexnet_torchvision"

    def pool(x: Any) -> Any:  # Caffe rounds up
        return functional.max_pool2d(x, 3, 2, ceil_mode=of_caffe)

    def normalize(x: Any) -> Any:
        return functional.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

    def reduce(x: Any) -> Any:
        if not of_caffe:
            return pool(x)
        return normalize(pool(x)) if network == "caffenet" else pool(normalize(x))

    x = reduce(convolution(x, "conv1", 4, 0 if of_caffe else 2))
    x = reduce(convolution(x, "conv2", 1, 2))
    for layer in ("conv3", "conv4", "conv5"):
        x = convolution(x, layer, 1, 1)
    x = pool(x)
    return x if of_caffe else functional.adaptive_avg_pool2d(x, 6)


def load(torch: Any, path: Path) -> Mapping[str, Any]:
    """Reads a state dict by PyTorch itself, of tensors alone.

    Raises:
      Exception: Of any kind, as PyTorch does.
    """
    # What torchvision's script notes of its command, which is data alone.
    allow = getattr(torch.serialization, "safe_globals", contextlib.nullcontext)
    with allow([argparse.Namespace]):
        found = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    found = unwrap(found)
    names = plain_names(found)
    return {names[str(name)]: one for name, one in found.items()}
