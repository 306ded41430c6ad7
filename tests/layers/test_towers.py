"""Normalization across towers: what a window reaches must be there."""

import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.towers import NormAcrossTowers


@pytest.mark.parametrize(("size", "maps"), [(5, 1), (9, 3)])
def test_a_window_wider_than_a_tower_is_refused(size, maps):
    """`tests/parallel/test_towers.py` has those that fit, on devices."""
    layer = NormAcrossTowers(LocalResponseNorm("caffe", size=size), "tower")
    line = f"^parallel.model must be 1: a window of {size} maps"
    with pytest.raises(InputError, match=line):
        jax.vmap(layer, axis_name="tower")(jnp.zeros((2, 3, maps)))
