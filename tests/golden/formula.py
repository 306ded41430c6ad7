"""Weights and images from a formula, so that two frameworks can be given the same."""

import numpy as np

# name: (image size, (height, width, channels) that the first dense layer reads)
NETWORKS = {
    "alexnet_d2l": (67, (1, 1, 256)),
    "alexnet_half": (95, (2, 2, 128)),
    "lenet5": (28, (5, 5, 16)),
}
LABELS = (3, 7)


def waves(shape: tuple[int, ...], phase: float) -> np.ndarray:
    """Values in [-1, 1] without a pattern, the same on every machine."""
    index = np.arange(np.prod(shape), dtype=np.float64)
    return np.sin(phase + 1.7 * index + 1e-4 * index**1.5).reshape(shape)


def weights(shapes: dict[str, dict[str, tuple[int, ...]]]) -> dict:
    """Kernels of He's scale and small biases, for Flax's shapes of each layer."""
    made: dict[str, dict[str, np.ndarray]] = {}
    for phase, (layer, parts) in enumerate(sorted(shapes.items())):
        fan_in = np.prod(parts["kernel"][:-1])
        made[layer] = {
            "kernel": (waves(parts["kernel"], phase) * 2 / np.sqrt(fan_in)),
            "bias": waves(parts["bias"], phase + 0.5) * 0.1,
        }
        made[layer] = {k: v.astype(np.float32) for k, v in made[layer].items()}
    return made


def images(size: int) -> np.ndarray:
    """Two images, `(2, size, size, 1) float32` in [0, 1]."""
    return ((waves((2, size, size, 1), 0.3) + 1) / 2).astype(np.float32)
