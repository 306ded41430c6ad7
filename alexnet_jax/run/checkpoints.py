"""Checkpoints: the newest ones and the best, written beside the training by Orbax."""

import shutil
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import serialization
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from alexnet_jax.errors import RunError
from alexnet_jax.parallel.multihost import to_host
from alexnet_jax.run.checksums import write_checksums
from alexnet_jax.run.records import Row
from alexnet_jax.run.weights import check_same_arrays, single_process_options
from alexnet_jax.step import TrainState

_MAX_UNWRITTEN = 2


def _test_accuracy(row: Row) -> float:
    # A checkpoint between epochs has none, and cannot become the best.
    return row.get("test/top1", -1.0)


class Checkpoints:
    """The checkpoints of a run, in `folder/STEP/`.

    Saving copies the state to the host; a thread writes it. `close` waits
    for the last write to end.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        """Opens the folder, which is made if it is missing.

        Args:
          folder: Absolute; its checkpoints are intact (`quarantine_damaged`).
          keep: How many of the newest are kept, besides the one with the best test
            accuracy. (Orbax's `max_to_keep` with `best_fn` would delete the newest.)
        """
        policies = [LatestN(keep), BestN(get_metric_fn=_test_accuracy, n=1)]
        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            create=False,  # Orbax would ask the other processes
            preservation_policy=AnyPreservationPolicy(policies),
            best_fn=_test_accuracy,  # without it Orbax does not write the metrics
            cleanup_tmp_directories=True,  # what a killed process left half written
            # The thread below writes: Orbax's own would print the traceback of a full
            # disk, and could not write checksums afterwards.
            enable_async_checkpointing=False,
            # Of several processes only the primary is here.
            multiprocessing_options=single_process_options(),
        )
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder, options=options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._unwritten: deque[Future[None]] = deque()
        self._closed = False

    def close(self) -> None:
        """Waits until all is written; a second call does nothing.

        Raises:
          RunError: A write failed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._await(0)
        finally:
            self._thread.shutdown()
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

    def save(self, step: int, state: TrainState, row: Row) -> float:
        """Saves a state; returns when it is copied to the host.

        Only a disk that has fallen two checkpoints behind is waited for.

        Args:
          step: Its step, greater than every saved one.
          state: On any number of devices.
          row: The metrics of this step, `test/top1` among them if it was evaluated;
            else empty.

        Returns:
          The seconds for which training was held up.

        Raises:
          RunError: An earlier write failed.
        """
        start = time.perf_counter()
        self._await(_MAX_UNWRITTEN)
        # A copy even where the device is the host: training reuses that memory.
        copy = serialization.to_state_dict(to_host(state))
        self._unwritten.append(self._thread.submit(self._write, step, copy, row))
        return time.perf_counter() - start

    def _write(self, step: int, state: dict[str, Any], row: Row) -> None:
        # Orbax finds a full disk, too, but prints a traceback from each of its threads.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise OSError(
                f"No space left: {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
            )
        start = time.perf_counter()
        saved = self._manager.save(step, args=ocp.args.StandardSave(state), metrics=row)
        if not saved:  # Orbax is silent about it
            raise RuntimeError(f"a newer one than {step} exists")
        write_checksums(self._folder / str(step), time.perf_counter() - start)

    def _await(self, at_most: int) -> None:
        """Waits until at most so many are unwritten, and for those that are done."""
        while self._unwritten and (
            len(self._unwritten) > at_most or self._unwritten[0].done()
        ):
            try:
                self._unwritten.popleft().result()
            except Exception as error:  # Orbax and TensorStore raise any kind
                text = " ".join(str(error).split())
                kept = self.latest_step()
                raise RunError(
                    f"checkpoint: {self._folder} cannot be written ({text[:300]}); "
                    f"the last one is of step {kept}; make room or repair the folder; "
                    "the same command resumes from there"
                ) from error

    def restore(self, step: int, shapes: TrainState) -> TrainState:
        """Loads a state, in NumPy arrays.

        Args:
          step: One of `steps()`.
          shapes: Its structure, with a `jax.ShapeDtypeStruct` for each array.

        Raises:
          InputError: The checkpoint is of another model.
        """
        stored = self._manager.restore(step, args=ocp.args.StandardRestore())
        expected = serialization.to_state_dict(shapes)
        check_same_arrays(
            stored,
            expected,
            f"checkpoint {self._folder / str(step)}",
            "choose another --workdir, or the model that wrote it",
        )
        return serialization.from_state_dict(shapes, stored)


class RemoteCheckpoints:
    """What processes other than the primary have in place of `Checkpoints`."""

    def close(self) -> None:
        """Does nothing."""

    def latest_step(self) -> None:
        """Returns None."""

    def save(self, step: int, state: TrainState, row: Row) -> float:
        """Hands the primary this process's part of a state; returns 0 s."""
        to_host(state)
        return 0.0
