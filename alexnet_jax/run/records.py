"""A run's records: config, metrics by step, TensorBoard events."""

import contextlib
import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from ml_collections import ConfigDict

from alexnet_jax import __version__
from alexnet_jax.atomic import (
    damaged_name,
    free_place,
    open_append,
    read_regular,
    write_all,
    write_file,
)
from alexnet_jax.run.rows import (
    METRICS_FILE,
    Row,
    Stored,
    is_evaluation,
    parse_rows,
    to_text,
)
from alexnet_jax.terminal.text import counted

if TYPE_CHECKING:
    from alexnet_jax.run.board import Board

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
        self, workdir: Path, config: ConfigDict, step: int, stored: Stored
    ) -> None:
        """Opens the records and drops rows past `step`; see `restore_rows`.

        Args:
          workdir: The run's folder, locked.
          config: The run's config.
          step: The step that the run resumes from; 0 for a new run.
          stored: Rows that the checkpoints hold.

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
        self._path = workdir / METRICS_FILE
        self.rows = restore_rows(self._path, step, stored)
        self._lines = [to_text([row]) for row in self.rows]
        self._file, self._length = open_append(self._path), len(self.text)
        self._board = None
        with contextlib.ExitStack() as opened:
            opened.callback(self._file.close)
            if config.log.tensorboard:
                self._board = _open_board(workdir / "tensorboard", step + 1)
            opened.pop_all()

    @property
    def text(self) -> bytes:
        """What `metrics.jsonl` holds."""
        return "".join(self._lines).encode()

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
        is_whole = self._is_whole()
        self.rows.append(row)
        self._lines.append(to_text([row]))
        if is_whole:
            line = self._lines[-1].encode()
            write_all(self._file, line)
            self._length += len(line)
        else:  # somebody moved, deleted or changed it
            print(f"warning   {self._path} was moved or changed; written anew")
            self._file.close()
            self._write_all()
        if self._board:
            self._board.write(row)

    def _is_whole(self) -> bool:
        """Whether the file is where it was, and as long as what was written."""
        with contextlib.suppress(OSError):
            found, opened = self._path.lstat(), os.fstat(self._file.fileno())
            return os.path.samestat(found, opened) and opened.st_size == self._length
        return False

    def _write_all(self) -> None:
        """Replaces the file and opens it to append."""
        content = self.text
        write_file(self._path, content)
        self._file, self._length = open_append(self._path), len(content)


def _open_board(folder: Path, step: int) -> "Board":
    # Its library imports PyTorch where that is: 0.7 GB that nothing else needs.
    from alexnet_jax.run.board import Board

    return Board(folder, step)


def restore_rows(path: Path, step: int, stored: Stored) -> list[Row]:
    """Returns the rows of a run up to a step; writes the file anew if it has not these.

    Warns of what is damaged or missing. A file with damaged rows, or with results of a
    run that begins anew, is kept beside it, as `metrics.jsonl.damaged`.

    Args:
      path: The file, which may be missing.
      step: The last row's, at most.
      stored: Rows that the checkpoints hold; they have checksums, the file has none.

    Raises:
      OSError: The file cannot be written.
    """
    content = b""
    with contextlib.suppress(OSError):  # missing, or not to be read
        content = read_regular(path)
    found = parse_rows(content)
    rows = {row["step"]: row for row in found.rows if row["step"] <= step}
    true = {row["step"]: row for row in stored.rows if row["step"] <= step}
    differing = [
        n for n in true if n in rows and to_text([rows[n]]) != to_text([true[n]])
    ]
    faults = [found.fault] if found.fault else []
    if step == 0 and any(map(is_evaluation, found.rows)):
        count = counted(len(found.rows), "row")
        faults.append(
            f"{METRICS_FILE}: no checkpoint reaches its {count}; the run begins anew"
        )
    if differing:
        faults.append(
            f"{METRICS_FILE}: the rows of step {_listed(differing)} are not as their "
            "checkpoint has them; taken from there"
        )
    if faults:
        copy = free_place(damaged_name(path))
        write_file(copy, content)
        kept = f"the file as it was is {copy.name}"
        print(f"warning   {path.parent / '; '.join(faults)}; {kept}")
    if missing := [n for n in true if n not in rows]:
        others = "" if stored.are_all else "; others may be lost"
        print(
            f"warning   {path} lacks the rows of step {_listed(missing)}; taken from "
            f"the checkpoints{others}"
        )
    elif step and not rows and not stored.are_all:
        print(f"warning   {path} has no rows up to step {step:,}; they are lost")
    whole = [row for _, row in sorted((rows | true).items())]
    text = to_text(whole)
    if text.encode() != content or path.is_symlink() or not path.exists():
        write_file(path, text)
    return whole


def _listed(steps: Iterable[float]) -> str:
    return ", ".join(f"{step:,}" for step in sorted(steps))
