"""Checkpoints: the newest ones and the best, written beside the training by Orbax."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from alexnet_jax.step import TrainState
from alexnet_jax.writer import Row


def _test_accuracy(row: Row) -> float:
    # A checkpoint between epochs has none, and cannot become the best.
    return row.get("test/top1", -1.0)


class Checkpoints:
    """The checkpoints of a run, in `folder/STEP/`.

    Saving copies the state to the host and writes it in the background; `close` waits
    for the last write to end.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        """Opens the folder, which is made if it is missing.

        Args:
          folder: Absolute.
          keep: How many of the newest stay. The one with the best test accuracy stays
            besides. (Orbax's `max_to_keep` with `best_fn` would delete the newest.)
        """
        policies = [LatestN(keep), BestN(get_metric_fn=_test_accuracy, n=1)]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policies),
            best_fn=_test_accuracy,  # without it Orbax does not write the metrics
            cleanup_tmp_directories=True,  # what a killed process left half written
        )
        self._manager = ocp.CheckpointManager(folder, options=options)

    def close(self) -> None:
        """Waits until all is written."""
        self._manager.close()

    def latest_step(self) -> int | None:
        """Returns the newest checkpoint's step, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Returns the step with the best test accuracy, or None."""
        return self._manager.best_step()

    def save(self, step: int, state: TrainState, row: Row) -> None:
        """Saves a state; returns when it is copied to the host.

        Args:
          step: Its step, greater than every saved one.
          state: On any number of devices.
          row: The metrics of this step, `test/top1` among them if it was evaluated;
            else empty.
        """
        saved = self._manager.save(step, args=ocp.args.StandardSave(state), metrics=row)
        if not saved:  # Orbax is silent about it
            raise RuntimeError(f"checkpoint {step} was not saved: a newer one exists")

    def restore(self, step: int, shapes: TrainState, sharding: Sharding) -> TrainState:
        """Loads a state.

        Args:
          step: One of `steps()`.
          shapes: Its structure, with a `jax.ShapeDtypeStruct` for each array.
          sharding: Where the arrays are put.
        """
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=sharding
            ),
            shapes,
        )
        return self._manager.restore(step, args=ocp.args.StandardRestore(target))


def has_checkpoint(folder: Path) -> bool:
    """Whether a finished checkpoint lies in a folder, which may be missing."""
    return folder.is_dir() and any(child.name.isdigit() for child in folder.iterdir())
