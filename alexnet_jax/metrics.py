"""The loss that is trained, and the metrics of an evaluation, by name.

A new metric is an entry of `METRICS`; a new loss belongs in `create_loss`. Both are
sums over examples: a mean is taken once, on the host, from sums.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from alexnet_jax.errors import InputError

Sums = dict[str, jax.Array]
# logits (B, K) float32, label (B,) int32 -> (B,) float32, nats
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns softmax cross-entropy, `(B,)` in nats, of `(B, K)` and labels `(B,)`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def create_loss(optim: ConfigDict) -> Loss:
    """Returns the loss that training minimizes, one value per example.

    With `label_smoothing` s the target is 1 - s for the label plus s / K for each of
    the K classes. `train/loss` is this loss; `test/loss` is plain cross-entropy.

    Args:
      optim: `config.optim`.

    Source: Szegedy et al. 2016, §7; as PyTorch's `CrossEntropyLoss`.
    """
    if not optim.label_smoothing:
        return cross_entropy

    def smoothed(logits: jax.Array, label: jax.Array) -> jax.Array:
        one_hot = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
        target = optax.smooth_labels(one_hot, optim.label_smoothing)
        return optax.softmax_cross_entropy(logits, target)

    return smoothed


NO_EXAMPLES = "data.on_broken: no image is left to evaluate on; all of them are broken"


def zero_sums() -> Sums:
    """Returns the training sums of no example, each `() float32`."""
    return {name: jnp.zeros((), jnp.float32) for name in ("loss", "top1", "count")}


def training_sums(
    loss: Loss, logits: jax.Array, label: jax.Array, mask: jax.Array
) -> Sums:
    """Sums the loss, the correct predictions and the examples where `mask` is true.

    Args:
      loss: From `create_loss`.
      logits: `(B, K) float32`.
      label: `(B,) int32` in [0, K).
      mask: `(B,) bool`; false for padding.

    Returns:
      `loss`, `top1` and `count`, each `() float32` (exact up to 2**24 examples).
    """
    return {
        "loss": masked_sum(loss(logits, label), mask),
        "top1": masked_sum(_top1(logits, label), mask),
        "count": mask.sum().astype(jnp.float32),
    }


def masked_sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Sums `(B, ...)` over the examples where `mask`, `(B,) bool`, is true."""
    mask = mask.reshape((-1, *[1] * (values.ndim - 1)))
    # `where`, not a product: padding may hold inf or NaN.
    return jnp.where(mask, values, 0.0).sum(axis=0)


class Metric(NamedTuple):
    """What an evaluation measures.

    Attributes:
      title: What the terminal and reports call it.
      unit: `%` for a fraction that people are shown in percent, or `nats`.
      per_example: `(logits (B, K) float32, label (B,) int32)` → `(B,)` or `(B, ...)
        float32`, summed on the devices over all true examples.
      finish: `(sum, number of examples)`, NumPy arrays in float64 → the metric.
    """

    title: str
    unit: str
    per_example: Callable[[jax.Array, jax.Array], jax.Array]
    finish: Callable[[np.ndarray, float], float]


def _mean(total: np.ndarray, count: float) -> float:
    return float(total / count)


def _top1(logits: jax.Array, label: jax.Array) -> jax.Array:
    best = logits.argmax(axis=-1).astype(label.dtype)
    return (best == label).astype(jnp.float32)


def _top5(logits: jax.Array, label: jax.Array) -> jax.Array:
    # With fewer than five classes every label is among them.
    _, best = jax.lax.top_k(logits, min(5, logits.shape[-1]))
    best = best.astype(label.dtype)
    return (best == label[:, None]).any(axis=-1).astype(jnp.float32)


def _by_class(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns `(B, 2, K)`: each label one-hot, and the same where it is predicted."""
    of_class = jax.nn.one_hot(label, logits.shape[-1], dtype=jnp.float32)
    return jnp.stack([of_class, of_class * _top1(logits, label)[:, None]], axis=1)


def _mean_of_classes(total: np.ndarray, count: float) -> float:
    examples, correct = total[:, total[0] > 0]  # classes without examples do not count
    return float((correct / examples).mean())


CALIBRATION_BINS = 15  # of equal width


def by_confidence(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Puts each prediction into a bin of its confidence, the top probability.

    Bin m of M, from 0 on, holds confidences in (m / M, (m + 1) / M].

    Args:
      logits: `(B, K) float32`.
      label: `(B,) int32`.

    Returns:
      `(B, 3, CALIBRATION_BINS) float32`, 0 but in an example's bin: there 1, the
      confidence, and 1 if the prediction is correct.
    """
    confidence = jax.nn.softmax(logits).max(axis=-1).astype(jnp.float32)
    place = jnp.ceil(confidence * CALIBRATION_BINS).astype(jnp.int32) - 1
    place = place.clip(0, CALIBRATION_BINS - 1)
    values = jnp.stack(
        [jnp.ones_like(confidence), confidence, _top1(logits, label)], axis=1
    )
    in_bin = jax.nn.one_hot(place, CALIBRATION_BINS, dtype=jnp.float32)
    return values[:, :, None] * in_bin[:, None, :]


def calibration_error(total: np.ndarray, count: float) -> float:
    """Returns the expected calibration error, a fraction, from sums of bins."""
    _, confidence, correct = total
    return float(np.abs(confidence - correct).sum() / count)


# By name; records hold them as `test/NAME`. Of equal logits that of the lower label
# comes first.
METRICS: dict[str, Metric] = {
    "loss": Metric("loss", "nats", cross_entropy, _mean),
    "top1": Metric("top-1", "%", _top1, _mean),
    "top5": Metric("top-5", "%", _top5, _mean),
    # The mean over the classes of their top-1: all classes count the same.
    "balanced": Metric("balanced", "%", _by_class, _mean_of_classes),
    # The expected calibration error (Guo et al. 2017, §2): over bins of the predicted
    # class's probability, the mean distance of this confidence from the accuracy.
    "ece": Metric("ECE", "%", by_confidence, calibration_error),
}


def check_metrics(names: Sequence[str]) -> None:
    """Checks the names of `config.eval.metrics`.

    Raises:
      InputError: One is unknown.
    """
    for name in names:
        if name not in METRICS:
            raise InputError(
                f"eval.metrics must name metrics of {tuple(METRICS)}; got {name!r}"
            )


def metric_sums(
    names: Iterable[str], logits: jax.Array, label: jax.Array, mask: jax.Array
) -> Sums:
    """Sums metrics over the examples where `mask` is true.

    Args:
      names: Keys of `METRICS`.
      logits: `(B, K) float32`.
      label: `(B,) int32` in [0, K).
      mask: `(B,) bool`; false for padding.

    Returns:
      A sum by name, and `count`, `() float32`.
    """
    sums = {
        name: masked_sum(METRICS[name].per_example(logits, label), mask)
        for name in names
    }
    return sums | {"count": mask.sum().astype(jnp.float32)}


def add_sums(total: Mapping[str, Any], sums: Sums) -> dict[str, Any]:
    """Adds sums on the host, in float64; waits for the device.

    Args:
      total: The sums so far; empty at first.
      sums: From `metric_sums`.
    """
    found = jax.device_get(sums)
    return {
        name: total.get(name, 0.0) + value.astype(np.float64)
        for name, value in found.items()
    }


def finish_metrics(total: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of all examples.

    Args:
      total: From `add_sums`.

    Raises:
      InputError: There is no example.
    """
    count = float(total["count"])
    if not count:
        raise InputError(NO_EXAMPLES)
    return {
        name: METRICS[name].finish(value, count)
        for name, value in total.items()
        if name != "count"
    }


def means(sums: Mapping[str, jax.Array | float]) -> dict[str, float]:
    """Divides training sums by their `count`; waits for the device.

    Returns:
      `loss` (nats) and `top1` (a fraction), Python floats; NaN of no example.
    """
    sums = jax.device_get(sums)
    count = float(sums["count"]) or math.nan
    return {name: float(sums[name]) / count for name in sums if name != "count"}


def shows_top5(num_classes: int) -> bool:
    """Whether people are shown top-5, which of ten classes or fewer says little."""
    return num_classes > 10


def shown_metrics(row: Mapping[str, float], num_classes: int) -> dict[str, str]:
    """Returns the metrics of a row that people are shown, as text by title.

    Args:
      row: A record; its `test/...` entries are read.
      num_classes: Classes of the network.
    """
    return {
        metric.title: f"{row[f'test/{name}']:.4f}"
        for name, metric in METRICS.items()
        if f"test/{name}" in row and (name != "top5" or shows_top5(num_classes))
    }


def confusion(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Counts predictions, `(K, K)`: true classes in rows, predicted ones in columns.

    Args:
      logits: `(N, K) float32`.
      label: `(N,) int32`.
    """
    classes = logits.shape[1]
    cells = label.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


class ClassScores(NamedTuple):
    """How well each class is recognized, `(K,)` each.

    Attributes:
      examples: How many there are, int64.
      precision: Of those that are predicted to be of the class, the fraction that is;
        float64, NaN where none is predicted.
      recall: Of the class's examples the fraction that is predicted; NaN without any.
      f1: The harmonic mean of the two; NaN where there are neither examples nor
        predictions.
      confused_with: The class that is most often predicted in its place; -1 for none.
      confusions: How often.
    """

    examples: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    confused_with: np.ndarray
    confusions: np.ndarray


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Scores each class.

    Args:
      matrix: From `confusion`.
    """
    count, predicted, correct = (
        matrix.sum(axis=1),
        matrix.sum(axis=0),
        matrix.diagonal(),
    )

    def share(parts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return parts / np.where(whole > 0, whole, np.nan)

    others = matrix - np.diag(correct)
    worst = others.argmax(axis=1)
    confusions = others.max(axis=1)
    return ClassScores(
        count,
        share(correct, predicted),
        share(correct, count),
        share(2 * correct, count + predicted),
        np.where(confusions > 0, worst, -1),
        confusions,
    )
