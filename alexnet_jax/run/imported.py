"""Writes the folder of a run whose weights come from elsewhere."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import side_pair, validate
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_configured
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.run.folder import open_folder
from alexnet_jax.run.place import named_disk_errors
from alexnet_jax.step import TrainState, create_state

_STEP = 1  # a run of no steps would begin afresh, with weights of its own


def write_run(
    workdir: Path,
    config: ConfigDict,
    spec: DataSpec,
    params: Mapping[str, Any],
    model_state: Mapping[str, Any] | None = None,
) -> None:
    """Writes the folder of a run that stands at its first step, with given weights.

    Args:
      workdir: The folder, absolute; it holds no run.
      config: The run's.
      spec: What the weights were trained on, with the statistics that images are
        normalized by.
      params: The network's, NumPy arrays, `float32`.
      model_state: Its mutable collections, such as `batch_stats`; None if it has none.

    Raises:
      InputError: The folder holds a run, or cannot be written.
      RunError: The disk is full, or the like.
    """
    validate(config)
    state = _state(config, spec, params)
    state = state.replace(model_state=dict(model_state or {}))
    with open_folder(workdir, config) as folder, named_disk_errors(workdir):
        folder.open_checkpoints()
        if folder.checkpoints.latest_step():
            raise InputError(
                f"--to: {workdir} holds a run already; choose another folder"
            )
        spec.save(workdir)
        with closing(folder):
            folder.start_records(0)
            folder.checkpoints.save(_STEP, state, {})


def _state(config: ConfigDict, spec: DataSpec, params: Mapping[str, Any]) -> TrainState:
    """Returns a state whose other arrays are zeros, as they are before a step."""
    model = create_configured(config)
    tx = create_optimizer(config.optim, create_schedule(config.optim, model.lr, 1, 1))
    shape = (1, *side_pair(config.data.image_size), spec.image_shape[-1])
    shapes = jax.eval_shape(
        lambda: create_state(model, tx, shape, jax.random.key(config.seed))
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return state.replace(step=np.array(_STEP, np.int32), params=dict(params))
