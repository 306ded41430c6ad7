"""Weights and images from a formula, so that two frameworks can be given the same."""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """What a network is compared at.

    Attributes:
      image_size: Height and width, in pixels.
      width: Of the network.
      contrast: What images in [-1, 1] are multiplied by; without it, normalisation of
        networks that take 0 to 255 would do nothing.
      learning_rate: Of the three steps.
    """

    image_size: int
    width: float = 1.0
    contrast: float = 1.0
    learning_rate: float = 0.01


LABELS = (3, 7)
# (convention, size, alpha, k) of normalisations over `norm_input()`; PyTorch divides
# alpha by the size, so the paper's plain sum is its alpha times the size.
NORMS = {
    "paper 5": ("paper", 5, 1e-4, 2.0),
    "paper 3": ("paper", 3, 1e-4, 2.0),
    "2012 5": ("2012", 5, 1e-4, 2.0),
    "2012 4": ("2012", 4, 1e-4, 2.0),
    "caffe 5": ("caffe", 5, 1e-4, 1.0),
    "torch 5": ("torch", 5, 1e-4, 1.0),
    "torch 2": ("torch", 2, 1e-4, 1.0),
    "torch 4": ("torch", 4, 1e-4, 1.0),
}
POOLED_SIZES = (1, 2, 5, 6, 7, 13)


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


def images(case: Case) -> np.ndarray:
    """Two images, `(2, size, size, 1) float32`: in [0, 1], or ± `contrast`."""
    wave = waves((2, case.image_size, case.image_size, 1), 0.3)
    scaled = (wave + 1) / 2 if case.contrast == 1 else wave * case.contrast
    return scaled.astype(np.float32)


def fingerprint(array: np.ndarray) -> list[float]:
    """The norm of an array in Flax's layout, and its part along a wave of norm 1."""
    wide = np.asarray(array, np.float64)
    wave = waves(wide.shape, 0.7)
    return [
        float(np.linalg.norm(wide)),
        float((wide * wave).sum() / np.linalg.norm(wave)),
    ]


def norm_input() -> np.ndarray:
    """`(2, 3, 2, 12) float64`, large enough for alpha to matter."""
    return 100 * waves((2, 3, 2, 12), 0.1)


def pool_input(size: int) -> np.ndarray:
    """`(1, size, size, 2) float64`."""
    return waves((1, size, size, 2), 0.2)
