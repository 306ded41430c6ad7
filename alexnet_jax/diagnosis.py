"""Where a run went wrong: the first layer whose output is not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from alexnet_jax.augment import scale_and_resize
from alexnet_jax.models import Classifier
from alexnet_jax.step import TrainState


def find_first_bad(
    model: Classifier,
    state: TrainState,
    image: np.ndarray,
    *,
    image_size: int,
    dtype: str,
) -> str:
    """Names the first parameter or, layer by layer, the first output with NaN or inf.

    Args:
      model: The network.
      state: The state *before* the step whose loss was not finite.
      image: That step's images, `(B, h, w, C) uint8`.
      image_size: Height and width that the network sees, in pixels.
      dtype: `config.dtype`.

    Returns:
      Such as `parameter fc6/kernel, after the update before` or `output of conv3 ...`.
    """
    for path, leaf in traverse_util.flatten_dict(state.params).items():
        if not np.isfinite(leaf).all():
            return f"parameter {'/'.join(path)}, after the update before"
    compute_dtype = jnp.dtype(dtype)
    resized = scale_and_resize(jnp.asarray(image), image_size)

    def look(model: Classifier, x: jax.Array) -> str | None:
        for index, (layer, output) in enumerate(model.layer_outputs(x), start=1):
            if not np.isfinite(np.asarray(output, np.float32)).all():
                name = getattr(layer, "name", None) or getattr(
                    layer, "__name__", type(layer).__name__
                )
                return f"output of layer {index}, {name}"
        return None

    params = jax.tree.map(lambda leaf: leaf.astype(compute_dtype), state.params)
    variables: Any = {"params": params, **state.model_state}
    found: Any = model.clone(training=False).apply(
        variables, resized.astype(compute_dtype), method=look
    )
    return found or "no layer's output without dropout; the loss or its gradient"
