"""Whether a network's probabilities can be believed: bins of confidence, a diagram."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_jax.metrics import by_confidence, calibration_error


class Calibration(NamedTuple):
    """What predictions of similar confidence amount to, by bin of confidence.

    Source: Guo et al. 2017, §2.

    Attributes:
      predictions: How many are in each bin, `(M,) int64`.
      confidence: Their mean confidence, `(M,) float64`; NaN of an empty bin.
      accuracy: The fraction of them that is correct, likewise.
      error: The expected calibration error, a fraction: `METRICS["ece"]`.
      bias: Mean confidence less accuracy, of all; above 0 for overconfidence.
    """

    predictions: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float
    bias: float


def calibration(logits: np.ndarray, label: np.ndarray) -> Calibration:
    """Bins predictions by their confidence.

    Args:
      logits: `(N, K) float32`.
      label: `(N,) int32`.
    """
    shares = jax.jit(by_confidence)(jnp.asarray(logits), jnp.asarray(label))
    total = np.asarray(shares).astype(np.float64).sum(axis=0)
    count, confidence, correct = total
    full = np.where(count > 0, count, np.nan)
    return Calibration(
        count.astype(np.int64),
        confidence / full,
        correct / full,
        calibration_error(total, len(label)),
        float((confidence.sum() - correct.sum()) / len(label)),
    )


def draw_calibration(found: Calibration) -> Figure:
    """Draws the accuracy of each bin of confidence, above how many predictions it has.

    A bar that ends below the diagonal is of predictions that are too confident.
    """
    figure = Figure(figsize=(4.6, 4.6), layout="constrained", dpi=120)
    accuracy, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = len(found.predictions)
    middles = (np.arange(bins) + 0.5) / bins
    bars = {"width": 0.9 / bins}
    accuracy.bar(middles, found.accuracy, color="C0", label="accuracy", **bars)
    ink = matplotlib.rcParams["text.color"]
    accuracy.plot([0, 1], [0, 1], "--", color=ink, lw=1, label="confidence = accuracy")
    accuracy.plot(
        found.confidence, found.accuracy, "o", ms=4, color="C1", label="mean confidence"
    )
    accuracy.set_ylabel("accuracy")
    accuracy.set_xlim(0, 1)
    accuracy.set_ylim(0, 1)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy.legend(loc="upper left", fontsize=9)
    counts.bar(middles, found.predictions, color="C0", **bars)
    counts.set_ylabel("predictions")
    counts.set_xlabel("confidence")
    counts.xaxis.set_major_formatter(PercentFormatter(1.0))
    counts.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (accuracy, counts):
        axes.set_axisbelow(True)
        axes.grid(alpha=0.15)
    return figure


def verdict(found: Calibration) -> str:
    """Returns a sentence on confidence and accuracy, in numbers."""
    accuracy = np.nansum(found.accuracy * found.predictions) / found.predictions.sum()
    points = 100 * abs(found.bias)
    said = f"mean confidence {100 * (accuracy + found.bias):.1f} %, accuracy "
    said += f"{100 * accuracy:.1f} %: "
    if points < 0.05:
        return f"{said}neither over- nor underconfident on average"
    kind = "overconfident" if found.bias > 0 else "underconfident"
    return f"{said}{kind} by {points:.1f} percentage points"
