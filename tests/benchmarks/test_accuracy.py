"""How much quick forms are rounded, and the table of it."""

from pathlib import Path

import jax.numpy as jnp
import pytest

from alexnet_jax.layers.conv import Conv
from benchmarks import accuracy
from tests.helpers import noise

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_was_measured():
    log = (ROOT / "results/benchmark-accuracy/log.txt").read_text()
    table = log[log.index("| network") :].strip()
    assert table.count("| all |") == len(accuracy.MODELS)
    assert table in (ROOT / "docs/performance.md").read_text()


@pytest.mark.slow
def test_errors_are_against_float64():
    """Of Winograd's algorithm more than of XLA's form; of a wrong function all."""
    conv, x = Conv(32, (3, 3), name="conv"), noise(2, 13, 13, 32)
    weights = {
        "params": {"kernel": noise(3, 3, 32, 32), "bias": jnp.zeros(32, jnp.float32)}
    }
    ours, plain = accuracy.measure(conv.apply, weights, x)
    for one, other in zip(ours, plain, strict=True):
        assert 1e-8 < other < one < 1e-4

    def wrong(weights, x):
        y = conv.apply(weights, x)
        return y if x.dtype == "float64" else 1.01 * y

    for errors in accuracy.measure(wrong, weights, x):
        assert all(0.009 < error < 0.011 for error in errors)
