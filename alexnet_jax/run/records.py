"""A run's records: config, metrics by step, TensorBoard events."""

import contextlib
import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import jax
from ml_collections import ConfigDict

from alexnet_jax import __version__
from alexnet_jax.atomic import (
    damaged_name,
    free_place,
    open_append,
    real_folder,
    write_all,
    write_file,
)
from alexnet_jax.run.board import Board
from alexnet_jax.run.rows import (
    FILE_NAME,
    Row,
    is_evaluation,
    read_rows,
    scan_rows,
    to_text,
)

__all__ = ["Records", "Row", "is_evaluation", "read_rows"]

CONFIG_FILE = "config.json"

_LIBRARIES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "ml_collections",
    "numpy",
)


class Records:
    """Writes a run's records.

    `config.json` holds the config as run and the libraries' versions; `metrics.jsonl`
    an object a line; `tensorboard/` the same scalars.

    Attributes:
      rows: All rows of the run, those from before it was resumed included.
    """

    def __init__(
        self, workdir: Path, config: ConfigDict, step: int, stored: Iterable[Row] = ()
    ) -> None:
        """Opens the records and drops rows past `step`.

        A file with damaged lines is kept as `metrics.jsonl.damaged`.

        Args:
          workdir: The run's folder, locked.
          config: The run's config.
          step: The step that the run resumes from; 0 for a new run.
          stored: Rows that the checkpoints hold, taken if the file lacks them.

        Raises:
          OSError: A file cannot be written.
        """
        record = {
            "config": config.to_dict(),
            "versions": {
                "alexnet_jax": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in _LIBRARIES},
            },
            "devices": sorted({device.device_kind for device in jax.devices()}),
        }
        write_file(workdir / CONFIG_FILE, json.dumps(record, indent=2) + "\n")
        self._path = workdir / FILE_NAME
        self.rows = whole_rows(self._path, step, stored, keep_damaged=True)
        write_file(self._path, to_text(self.rows))
        self._board: Board | None = None
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(open_append(self._path))
            if config.log.tensorboard:
                self._board = Board(real_folder(workdir / "tensorboard"), step + 1)
            opened.pop_all()

    def close(self) -> None:
        """Closes the files; a second call does nothing."""
        self._file.close()
        if self._board:
            self._board.close()

    def write(self, row: Row) -> None:
        """Appends a row, at once in the file. `row["step"]` grows from row to row.

        Raises:
          OSError: It cannot be written.
        """
        self.rows.append(row)
        if self._is_in_place():
            write_all(self._file, to_text([row]).encode())
        else:  # somebody moved or deleted it
            print(f"warning   {self._path} was moved or deleted; written anew")
            self._file.close()
            write_file(self._path, to_text(self.rows))
            self._file = open_append(self._path)
        if self._board:
            self._board.write(row)

    def _is_in_place(self) -> bool:
        with contextlib.suppress(OSError):
            found = self._path.lstat()
            return os.path.samestat(found, os.fstat(self._file.fileno()))
        return False


def whole_rows(
    path: Path, step: int, stored: Iterable[Row], *, keep_damaged: bool = False
) -> list[Row]:
    """Returns the rows of a run up to a step; warns of what is damaged or missing.

    Args:
      path: The file, which may be missing.
      step: The last row's, at most.
      stored: Rows that the checkpoints hold.
      keep_damaged: Whether a copy of a file with damaged lines is kept beside it.
    """
    found = scan_rows(path)
    if found.fault is not None:
        kept = ""
        if keep_damaged:
            copy = free_place(damaged_name(path))
            write_file(copy, path.read_bytes())
            kept = f"; the file as it was is {copy.name}"
        print(f"warning   {path.parent / found.fault}{kept}")
    rows = {row["step"]: row for row in found.rows if row["step"] <= step}
    missing = {row["step"]: row for row in stored if row["step"] not in rows}
    if missing:
        steps = ", ".join(f"{number:,}" for number in sorted(missing))
        print(
            f"warning   {path} lacks rows; those of step {steps} are taken from the "
            "checkpoints, others are lost"
        )
    return [row for _, row in sorted((rows | missing).items())]
