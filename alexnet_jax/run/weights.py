"""Weights of another run: finding, loading and comparing them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import traverse_util

from alexnet_jax.errors import InputError
from alexnet_jax.optim import evaluated_params
from alexnet_jax.run.checksums import ARRAYS, find_fault, is_step, step_folders
from alexnet_jax.terminal.paths import local_path


def single_process_options() -> ocp.options.MultiprocessingOptions:
    """Returns Orbax's options for a process that works without the others."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    process = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=process,
        active_processes={process},
        barrier_sync_key_prefix=f"process{process}",
    )


def check_same_arrays(
    stored: Mapping[str, Any], expected: Mapping[str, Any], what: str, remedy: str
) -> None:
    """Checks that a checkpoint's arrays have a network's names and shapes.

    Args:
      stored: The checkpoint's tree.
      expected: The network's tree.
      what: What an error calls the checkpoint.
      remedy: What an error says to do.

    Raises:
      InputError: They do not; the arrays that differ are named.
    """
    there, here = (
        {"/".join(path): leaf.shape for path, leaf in _flatten(tree).items()}
        for tree in (stored, expected)
    )
    differing = [
        f"{name} is {there.get(name, 'missing')} in the checkpoint, "
        f"{here.get(name, 'missing')} in the model"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            f"{what} is of another model: {'; '.join(differing[:3])}{more}; {remedy}"
        )


def _flatten(tree: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    leaves = traverse_util.flatten_dict(dict(tree))
    return {path: leaf for path, leaf in leaves.items() if leaf is not None}


def find_checkpoint(
    source: str | Path, what: str = "checkpoint"
) -> tuple[Path, list[str]]:
    """Finds a run's newest intact checkpoint, or looks at the one that is named.

    Args:
      source: `WORKDIR` or `WORKDIR/checkpoints/STEP`.
      what: What an error calls it.

    Returns:
      Its folder, absolute, and what is wrong with newer ones, a line each.

    Raises:
      InputError: No intact checkpoint is there.
    """
    path = local_path(source, what)
    steps = step_folders(path / "checkpoints")
    is_one = not steps and is_step(path)
    faults: list[str] = []
    for folder in [path] if is_one else reversed(steps.values()):
        fault = find_fault(folder)
        if fault is None:
            return folder, faults
        faults.append(f"checkpoint of step {folder.name}: {fault}")
    listed = f" ({'; '.join(faults)})" if faults else ""
    if runs := sorted(path.glob("*-*/checkpoints")):
        raise InputError(
            f"{what}: {path} holds several runs, of seeds or other values; give one of "
            f"them, such as {runs[0].parent}"
        )
    if path.is_file() or any(path.glob("model.*")):  # weights of another kind
        raise InputError(
            f"{what}: {path} is no run; make one of its weights: "
            f"python -m alexnet_jax.convert {path} --to=WORKDIR"
        )
    raise InputError(
        f"{what}: {path} holds no intact checkpoint{listed}; give a run's workdir, "
        "or WORKDIR/checkpoints/STEP"
    )


def load_arrays(folder: Path) -> dict[str, Any]:
    """Loads a checkpoint's state.

    Args:
      folder: The checkpoint's.

    Returns:
      Nested dicts of NumPy arrays.
    """
    # Not by a CheckpointManager, which logs warnings where it may only read.
    options = single_process_options()
    with ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer:
        return checkpointer.restore(folder / ARRAYS)


def load_weights(folder: Path) -> dict[str, Any]:
    """Loads what a network needs of a checkpoint: what was evaluated.

    Args:
      folder: From `find_checkpoint`.

    Returns:
      `params` and `model_state`, nested dicts of NumPy arrays.
    """
    state = load_arrays(folder)
    params, model_state = (state.get(name) or {} for name in ("params", "model_state"))
    return {
        "params": evaluated_params(params, state.get("opt_state")),
        "model_state": model_state,
    }
