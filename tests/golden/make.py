"""Writes PyTorch's numbers for `test_golden.py`, in float64.

python -m tests.golden.make        (wants PyTorch; the tests do not)
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from alexnet_jax.models import MODELS, create_model
from benchmarks.torch_networks import torch_network
from tests.golden.formula import (
    LABELS,
    NORMS,
    POOLED_SIZES,
    fingerprint,
    images,
    norm_input,
    pool_input,
    weights,
)
from tests.models.table import TABLE

PATH = Path(__file__).parent / "torch.json"


def main() -> None:
    """Writes `torch.json`."""
    golden: dict[str, Any] = {
        "torch": torch.__version__,
        "networks": {name: numbers(name) for name in TABLE},
        "norms": {name: norm(*settings) for name, settings in NORMS.items()},
        "adaptive": {str(size): pooled(size) for size in POOLED_SIZES},
    }
    PATH.write_text(json.dumps(golden) + "\n")


def channels_first(array: np.ndarray) -> torch.Tensor:
    """`(B, H, W, C)` to `(B, C, H, W)`."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def channels_last(tensor: torch.Tensor) -> list:
    """`(B, C, H, W)` to `(B, H, W, C)`."""
    return tensor.detach().permute(0, 2, 3, 1).tolist()


def norm(convention: str, size: int, alpha: float, k: float) -> dict:
    """Returns the output, and the gradient of the output's part along a wave."""
    layer = torch.nn.LocalResponseNorm(
        size, alpha * size if convention == "paper" else alpha, 0.75, k
    )
    x = channels_first(norm_input()).requires_grad_()
    y = layer(x)
    (y * torch.cos(x)).sum().backward()
    return {"output": channels_last(y), "gradient": channels_last(x.grad)}


def pooled(size: int) -> list:
    """Returns `AdaptiveAvgPool2d(6)`'s output."""
    return channels_last(
        torch.nn.AdaptiveAvgPool2d(6)(channels_first(pool_input(size)))
    )


def numbers(name: str) -> dict:
    """Runs three steps of SGD in evaluation mode, so without a random mask."""
    case = TABLE[name].golden
    network = torch_network(name, case.image_size, width=case.width).double().eval()
    fields = {"width": case.width} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, num_classes=10, training=False, **fields)
    shapes = jax.eval_shape(
        lambda: model.init(
            jax.random.key(0), jnp.zeros((1, case.image_size, case.image_size, 1))
        )
    )["params"]
    made = weights(jax.tree.map(lambda leaf: leaf.shape, shapes))
    layers = dict(zip(sorted(made), weighted(network), strict=True))
    image = channels_first(images(case)).double()
    maps = maps_before_flatten(network, image)
    with torch.no_grad():
        for layer, parts in made.items():
            kernel = torch.from_numpy(parts["kernel"]).double()
            layers[layer].weight.copy_(to_torch(kernel, layers[layer], maps))
            layers[layer].bias.copy_(torch.from_numpy(parts["bias"]))
    label = torch.tensor(LABELS)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=case.learning_rate, momentum=0.9, weight_decay=5e-4
    )
    losses: list[float] = []
    result: dict[str, Any] = {"losses": losses}
    for _ in range(3):
        optimizer.zero_grad()
        logits = network(image)
        loss = torch.nn.functional.cross_entropy(logits, label)
        loss.backward()
        if not losses:
            result["logits"] = logits.tolist()
            result["gradients"] = {
                name: {
                    "kernel": fingerprint(to_flax(layer.weight.grad, layer, maps)),
                    "bias": fingerprint(layer.bias.grad.numpy()),
                }
                for name, layer in layers.items()
            }
        losses.append(loss.item())
        optimizer.step()
    return result


def weighted(network: torch.nn.Sequential) -> list[Any]:
    """Returns the layers that have weights."""
    kinds = torch.nn.Linear | torch.nn.Conv2d
    return [layer for layer in network if isinstance(layer, kinds)]


def maps_before_flatten(
    network: torch.nn.Sequential, image: torch.Tensor
) -> tuple[int, int, int]:
    """Returns channels, height and width of what the first dense layer reads."""
    place = next(i for i, m in enumerate(network) if isinstance(m, torch.nn.Flatten))
    with torch.no_grad():
        _, *maps = network[:place](image).shape
    return tuple(maps)


def to_torch(kernel: torch.Tensor, layer: Any, maps: tuple) -> torch.Tensor:
    """HWIO to OIHW; rows in H, W, C order to columns in C, H, W order."""
    if kernel.ndim == 4:
        return kernel.permute(3, 2, 0, 1)
    channels, height, width = maps
    if layer.in_features == channels * height * width and height * width > 1:
        kernel = kernel.reshape(height, width, channels, -1).permute(3, 2, 0, 1)
        return kernel.reshape(layer.weight.shape)
    return kernel.T


def to_flax(weight: torch.Tensor, layer: Any, maps: tuple) -> np.ndarray:
    """The reverse of `to_torch`."""
    if weight.ndim == 4:
        return weight.permute(2, 3, 1, 0).numpy()
    channels, height, width = maps
    if layer.in_features == channels * height * width and height * width > 1:
        weight = weight.reshape(-1, channels, height, width).permute(2, 3, 1, 0)
        return weight.reshape(layer.in_features, -1).numpy()
    return weight.T.numpy()


if __name__ == "__main__":
    main()
