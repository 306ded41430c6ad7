"""Detects a run that diverges and names the first layer whose output is not finite."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from ml_collections import ConfigDict

from alexnet_jax.errors import NotFiniteError
from alexnet_jax.models.classifier import Classifier, layer_name
from alexnet_jax.step import TrainState


def check_finite(state: TrainState, learning_rate: float | None) -> None:
    """Checks that all steps so far were finite; waits for the device.

    Args:
      state: The state after any step.
      learning_rate: For the message; None if there is one for each array.

    Raises:
      NotFiniteError: The loss or the update of a step was not finite.
    """
    if step := int(state.first_bad):
        remedy = (
            "Set optim.learning_rate, below the rates of optim.params, and with it"
            if learning_rate is None
            else f"Lower optim.learning_rate ({learning_rate:g}) or set"
        )
        raise NotFiniteError(
            f"loss: step {step} has a loss or an update that is not finite; earlier "
            f"checkpoints are kept. {remedy} "
            "optim.warmup_steps; --config.debug.nans=True names the layer"
        )


def look_at_layers(
    model: Classifier,
    config: ConfigDict,
    before: TrainState,
    after: TrainState,
    image: jax.Array,
) -> None:
    """Names the layer where NaN or inf first occurred in a step; slow.

    Args:
      model: The network.
      config: The run's config.
      before: The state before the step.
      after: The state after it.
      image: The step's preprocessed images, `(B, H, W, C) float32`.

    Raises:
      NotFiniteError: The step's loss or its update is not finite. The message names
        the first layer whose output (without dropout) is not finite, else the first
        parameter that is not finite after the update.
    """
    if not int(after.first_bad):
        return
    found = _bad_layer(model, config, before, image)
    found = found or _bad_parameter(after) or "the loss, with dropout"
    raise NotFiniteError(
        f"loss: step {int(after.first_bad)} has a loss or an update that is not "
        f"finite; the first to go wrong is {found}; lower optim.learning_rate or "
        "set optim.warmup_steps"
    )


def _bad_layer(
    model: Classifier, config: ConfigDict, state: TrainState, image: jax.Array
) -> str | None:
    def look(model: Classifier, x: jax.Array) -> str | None:
        for index, (layer, output) in enumerate(model.layer_outputs(x), start=1):
            if not bool(jnp.isfinite(output).all()):
                return f"the output of layer {index}, {layer_name(layer)}"
        return None

    # From the host's copy of the state, and so on one device.
    params, model_state = jax.device_get((state.params, state.model_state))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, config.dtype), params)
    found: Any = model.clone(training=False).apply(
        {"params": params, **model_state}, image.astype(config.dtype), method=look
    )
    return found


def _bad_parameter(state: TrainState) -> str | None:
    for path, leaf in traverse_util.flatten_dict(state.params).items():
        if not bool(jnp.isfinite(leaf).all()):
            return f"the update of {'/'.join(path)}"
    return None
