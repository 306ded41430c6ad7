"""The norm of each layer's gradient, so that a layer that saturates can be seen."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alexnet_jax.layers.towers import is_sharded
from alexnet_jax.parallel import Parallel
from alexnet_jax.step import TrainState


def make_gradient_norms(
    make_step: Callable[[optax.GradientTransformation], Callable],
    parallel: Parallel,
    tower_axis: str | None,
) -> Callable[[TrainState, Any, jax.Array], dict[str, float]]:
    """Returns `norms(state, batch, key) -> {"grad/conv1": ...}`, which waits for them.

    They are those of the step that starts from this state with this batch and key: of
    the mean loss over the global batch, with dropout, before decay and clipping.

    Args:
      make_step: Makes a train step with an optimizer.
      parallel: The devices.
      tower_axis: The axis of those that hold a tower each; None where one holds all.
    """
    tx = _keep_norms(tower_axis)
    step = parallel.compile_train(make_step(tx))

    def norms(state: TrainState, batch: Any, key: jax.Array) -> dict[str, float]:
        after = step(state.replace(opt_state=tx.init(state.params)), batch, key)
        found = jax.device_get(after.opt_state)
        return {f"grad/{layer}": float(norm) for layer, norm in found.items()}

    return norms


def _keep_norms(tower_axis: str | None) -> optax.GradientTransformation:
    """Returns an optimizer that moves nothing and whose state is the norms."""

    def kernels(tree: Any) -> dict[str, tuple[Any, jax.Array]]:
        named = {}
        for path, leaf in jax.tree.leaves_with_path(tree):
            *layer, name = (str(getattr(key, "key", key)) for key in path)
            if name == "kernel":
                named["/".join(layer)] = path, leaf
        return named

    def init(params: Any) -> dict[str, np.ndarray]:
        return dict.fromkeys(kernels(params), np.zeros((), np.float32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        norms = {}
        for layer, (path, leaf) in kernels(updates).items():
            square = jnp.square(leaf).sum()
            if tower_axis and is_sharded(path):
                square = jax.lax.psum(square, tower_axis)
            norms[layer] = jnp.sqrt(square)
        return jax.tree.map(jnp.zeros_like, updates), norms

    return optax.GradientTransformation(init, update)
