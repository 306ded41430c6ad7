import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.metrics import classification_sums, means, top5_sum


def test_sums_by_hand():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]]))
    label = jnp.array([0, 1, 1], jnp.int32)
    sums = classification_sums(logits, label, jnp.array([True, True, True]))
    assert float(sums["loss"]) == pytest.approx(-np.log(0.7 * 0.3 * 0.5))
    assert (float(sums["top1"]), float(sums["count"])) == (2, 3)
    assert means(sums)["top1"] == pytest.approx(2 / 3)


def test_padding_counts_nowhere_even_if_it_is_nan():
    logits = jnp.array([[2.0, 0.0], [jnp.nan, jnp.nan]])
    label = jnp.array([0, 0], jnp.int32)
    sums = classification_sums(logits, label, jnp.array([True, False]))
    assert float(sums["loss"]) == pytest.approx(np.log(1 + np.exp(-2)))
    assert (float(sums["top1"]), float(sums["count"])) == (1, 1)


def test_top5_by_hand():
    logits = jnp.array([[6.0, 5, 4, 3, 2, 1]] * 3 + [[jnp.nan] * 6])
    label = jnp.array([0, 4, 5, 0], jnp.int32)
    mask = jnp.array([True, True, True, False])
    assert float(top5_sum(logits, label, mask)) == 2
    assert float(top5_sum(logits[:, :3], jnp.zeros(4, jnp.int32), mask)) == 3
