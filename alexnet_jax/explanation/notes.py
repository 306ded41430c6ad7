"""What is to be said of maps that show nothing, and when a map does."""

import numpy as np

from alexnet_jax.explanation.patches import Patch

# Log odds that vary less do not vary; those of a certain answer are rounding.
FLAT, _CERTAIN = 1e-3, 1e-12


def percent(probability: float) -> str:
    """Returns a probability as people read it; small ones keep two digits."""
    value = 100 * probability
    return f"{value:.1f} %" if value >= 0.1 or not value else f"{value:.2g} %"


def log_odds(probability: float | np.ndarray) -> np.ndarray:
    """Returns what a class's logit adds to, `() or (N,) float64`.

    A rare class's probability varies by little, its log odds as any other's.
    """
    inside = np.clip(np.float64(probability), np.finfo(np.float64).tiny, 1 - _CERTAIN)
    return np.log(inside) - np.log1p(-inside)


def occlusion_notes(probability: float, changes: np.ndarray, patch: Patch) -> list[str]:
    """Returns a line if the map shows nothing that speaks for the class."""
    if (np.abs(changes) < FLAT).all():
        return [
            f"the occlusion map is flat: whichever {patch.height}×{patch.width} patch "
            f"is covered, the probability stays {percent(probability)}"
        ]
    if changes.min() > -FLAT:
        return ["no patch lowers the probability when it is covered"]
    return []


def derivative_notes(
    gradient: np.ndarray, cam: np.ndarray | None, layer: str | None
) -> list[str]:
    """Returns a line for each map that shows nothing."""
    notes = []
    if not gradient.any():
        notes.append("the gradient is 0 at every pixel")
    if cam is None:
        notes.append(
            "there is no Grad-CAM: the network has no convolution whose maps are "
            "larger than 1×1"
        )
    elif not cam.any():
        notes.append(
            f"Grad-CAM is 0 everywhere: no map of {layer} speaks for the class"
        )
    return notes
