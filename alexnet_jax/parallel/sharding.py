"""Sharding: the names of the devices' axes, and which arrays towers divide."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_jax.layers.towers import REPLICATED
from alexnet_jax.models import Classifier

Batch = dict[str, np.ndarray]

DATA, MODEL = "data", "model"


def with_axes(model: Classifier, **axes: str | None) -> Classifier:
    """Sets the devices' axes in a network, where it has fields for them.

    Args:
      model: Any network.
      **axes: `tower_axis` and `batch_axis`, names of axes or None.
    """
    known: Any = {name: axis for name, axis in axes.items() if hasattr(model, name)}
    return model.clone(**known)


def is_sharded(path: Sequence[Any]) -> bool:
    """Whether each tower holds a part of an array of a state.

    Args:
      path: Its keys, as `jax.tree_util.tree_map_with_path` gives them. Kernels and
        biases of every layer but fc8 are divided along their last axis, and so are
        BatchNorm's scales and statistics and what the optimizer keeps for them.
    """
    names = [str(getattr(key, "key", "")) for key in path]
    divided = "kernel", "bias", "scale", "mean", "var"
    return names[-1] in divided and names[-2] != REPLICATED
