"""Checkpoints: the newest ones and the best, written beside the training by Orbax."""

import contextlib
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from alexnet_jax.atomic import atomic_folder, remove_folder, write_file
from alexnet_jax.errors import RunError
from alexnet_jax.parallel.multihost import to_host
from alexnet_jax.run.checksums import (
    find_difference,
    find_missing_arrays,
    step_folders,
    write_checksums,
)
from alexnet_jax.run.memory import release_freed_memory
from alexnet_jax.run.place import Place
from alexnet_jax.run.quarantine import set_aside
from alexnet_jax.run.quiet import silence_writers
from alexnet_jax.run.rows import (
    METRICS_FILE,
    ROW_ITEM,
    Row,
    Stored,
    is_row,
    read_kept_row,
    scan_rows,
)
from alexnet_jax.run.weights import (
    check_same_arrays,
    load_arrays,
    single_process_options,
)
from alexnet_jax.step import TrainState

_MAX_UNWRITTEN = 2
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # as TensorStore names it


class _Unshared(np.ndarray):
    """An array that nobody changes, of which Orbax need not make a copy of its own."""

    def __deepcopy__(self, memo: Any) -> "_Unshared":
        return self

    @classmethod
    def of(cls, array: np.ndarray) -> np.ndarray:
        """Returns a view of an array."""
        return array.view(cls)


class Checkpoints:
    """The checkpoints of a run, in `folder/STEP/`.

    Saving copies the state to the host; a thread writes it. `close` waits
    for the last write to end.

    Attributes:
      kept_files: Returns the content of the run's small files by name, which each
        checkpoint keeps.
    """

    def __init__(
        self, folder: Path, keep: int, check_place: Callable[[], None] = lambda: None
    ) -> None:
        """Opens the folder, which is made if it is missing.

        Args:
          folder: Absolute; its checkpoints are intact (`quarantine_damaged`).
          keep: How many of the newest are kept, besides the one with the best test
            accuracy.
          check_place: Raises an error if the run's folder is not where it was.
        """
        silence_writers()
        folder.mkdir(parents=True, exist_ok=True)
        self.kept_files: Callable[[], dict[str, bytes]] = dict
        self._folder, self._keep = folder, keep
        self._check_workdir, self._place = check_place, Place(folder)
        self._rows = {
            n: read_kept_row(path) for n, path in step_folders(folder).items()
        }
        # The thread below writes: Orbax's own would print the traceback of a full disk.
        self._writer = _create_writer()
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
            self._writer.close()
            self._place.close()

    def latest_step(self) -> int | None:
        """Returns the newest checkpoint's step, or None."""
        return max(self._rows, default=None)

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in order."""
        return sorted(self._rows)

    def rows(self) -> Stored:
        """Returns the rows of metrics that the checkpoints hold."""
        rows = {step: row for step, row in self._rows.items() if is_row(row)}
        kept = self._folder / str(self.latest_step()) / METRICS_FILE
        if are_all := kept.is_file():
            rows |= {int(row["step"]): row for row in scan_rows(kept).rows}
        return Stored([row for _, row in sorted(rows.items())], are_all)

    def best_step(self) -> int | None:
        """Returns the step with the best test accuracy, or None."""
        # A checkpoint between epochs has none, and cannot become the best.
        accuracy = {n: row.get("test/top1", -1.0) for n, row in self._rows.items()}
        return max(accuracy, key=lambda step: (accuracy[step], step), default=None)

    def best_top1(self) -> float:
        """Returns the best test accuracy, -1 if there is none."""
        rows = self._rows.values()
        return max((row.get("test/top1", -1.0) for row in rows), default=-1.0)

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
        copy = serialization.to_state_dict(jax.tree.map(_Unshared.of, to_host(state)))
        kept = self.kept_files()
        self._unwritten.append(self._thread.submit(self._write, step, copy, row, kept))
        return time.perf_counter() - start

    def _write(
        self, step: int, state: dict[str, Any], row: Row, kept: dict[str, bytes]
    ) -> None:
        self._check_place()
        # Orbax finds a full disk, too, but not before it has written.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise OSError(
                f"No space left: {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
            )
        latest = self.latest_step()
        if latest is not None and step <= latest:
            raise ValueError(f"step {step} is not after step {latest}")
        start = time.perf_counter()
        folder = self._folder / str(step)
        with atomic_folder(folder) as part:
            self._writer.save(
                part,
                args=ocp.args.Composite(
                    default=ocp.args.StandardSave(state),
                    metrics=ocp.args.JsonSave(row),
                ),
            )
            for name, content in kept.items():
                write_file(part / name, content)
            release_freed_memory()  # before the arrays are read back
            fault = find_missing_arrays(part) or find_difference(part, state)
            if fault is not None:
                raise OSError(f"read back, {fault}")
            write_checksums(part, time.perf_counter() - start)
            self._check_place()
            if os.path.lexists(folder):  # a foreign file, or the like
                set_aside(folder)
        self._rows[step] = row
        self._delete_others()

    def _check_place(self) -> None:
        self._check_workdir()
        self._place.check()

    def _delete_others(self) -> None:
        """Deletes all but the newest checkpoints and the best."""
        kept = {*self.steps()[-self._keep :], self.best_step()}
        for step in self.steps():
            if step not in kept:
                self._check_place()
                del self._rows[step]
                with contextlib.suppress(FileNotFoundError):  # deleted by somebody else
                    remove_folder(self._folder / str(step))

    def _await(self, at_most: int) -> None:
        """Waits until at most so many are unwritten, and for those that are done."""
        while self._unwritten and (
            len(self._unwritten) > at_most or self._unwritten[0].done()
        ):
            try:
                self._unwritten.popleft().result()
            except RunError:
                raise
            except Exception as error:  # Orbax and TensorStore raise any kind
                kept = self.latest_step()
                last = f"the last one is of step {kept}"
                if kept is None:
                    last = "there is none yet"
                raise RunError(
                    f"checkpoint: {self._folder} cannot be written ({_reason(error)}); "
                    f"{last}; make room or repair the folder; "
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
        stored = load_arrays(self._folder / str(step))
        expected = serialization.to_state_dict(shapes)
        check_same_arrays(
            stored,
            expected,
            f"checkpoint {self._folder / str(step)}",
            "choose another --workdir, or the model that wrote it",
        )
        return serialization.from_state_dict(shapes, stored)


def _create_writer() -> ocp.Checkpointer:
    """Returns what writes a state and its row, without the other processes."""
    alone = single_process_options()  # of several, only the primary is here
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
        default=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        metrics=ocp.JsonCheckpointHandler(ROW_ITEM, multiprocessing_options=alone),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _reason(error: Exception) -> str:
    """Returns what went wrong, in a few words."""
    text = " ".join(str(error).split())
    if found := _OS_ERROR.search(text):  # the end of a long text with long paths
        return os.strerror(int(found[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text[:300]


class RemoteCheckpoints:
    """What processes other than the primary have in place of `Checkpoints`.

    Attributes:
      kept_files: Read by nobody.
    """

    def __init__(self) -> None:
        """Keeps no files."""
        self.kept_files: Callable[[], dict[str, bytes]] = dict

    def close(self) -> None:
        """Does nothing."""

    def latest_step(self) -> None:
        """Returns None."""

    def rows(self) -> Stored:
        """Returns none."""
        return Stored([], are_all=True)

    def best_top1(self) -> float:
        """Returns -1: the primary decides what is saved."""
        return -1.0

    def save(self, step: int, state: TrainState, row: Row) -> float:
        """Hands the primary this process's part of a state; returns 0 s."""
        to_host(state)
        return 0.0
