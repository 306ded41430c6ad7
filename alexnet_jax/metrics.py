"""Sums over examples; a mean is taken once, on the host, from sums."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

Sums = dict[str, jax.Array]


def zero_sums() -> Sums:
    """Returns the sums of no example, each `() float32`."""
    return {name: jnp.zeros((), jnp.float32) for name in ("loss", "top1", "count")}


def classification_sums(logits: jax.Array, label: jax.Array, mask: jax.Array) -> Sums:
    """Sums softmax cross-entropy (nats), hits and examples where `mask` is true.

    Args:
      logits: `(B, num_classes) float32`.
      label: `(B,) int32` in [0, num_classes).
      mask: `(B,) bool`; false for padding.

    Returns:
      `loss`, `top1` and `count`, each `() float32` (exact up to 2**24 examples).
    """
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    hit = logits.argmax(axis=-1) == label
    # `where`, not a product: padding may hold inf or NaN.
    return {
        "loss": jnp.where(mask, loss, 0.0).sum(),
        "top1": (hit & mask).sum().astype(jnp.float32),
        "count": mask.sum().astype(jnp.float32),
    }


def top5_sum(logits: jax.Array, label: jax.Array, mask: jax.Array) -> jax.Array:
    """Counts examples whose label is among the five largest logits.

    Args:
      logits: `(B, num_classes) float32`; of fewer classes than five every label is.
      label: `(B,) int32`.
      mask: `(B,) bool`; false for padding.

    Returns:
      `() float32`.
    """
    _, best = jax.lax.top_k(logits, min(5, logits.shape[-1]))
    hit = (best == label[:, None]).any(axis=-1)
    return (hit & mask).sum().astype(jnp.float32)


def shows_top5(num_classes: int) -> bool:
    """Whether people are shown top-5, which of ten classes or fewer says little."""
    return num_classes > 10


def means(sums: Mapping[str, jax.Array | float]) -> dict[str, float]:
    """Divides the other sums by `count`; waits for the device.

    Returns:
      `loss` (nats) and `top1`, perhaps `top5` (fractions in [0, 1]), Python floats.
    """
    sums = jax.device_get(sums)
    count = float(sums["count"])
    return {name: float(sums[name]) / count for name in sums if name != "count"}
