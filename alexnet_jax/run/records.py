"""What a run leaves in its folder besides checkpoints: config, metrics, TensorBoard."""

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from alexnet_jax import __version__
from alexnet_jax.config import differences
from alexnet_jax.errors import InputError

Row = dict[str, float]

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


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Makes the run's folder and keeps other runs out of it while the context lasts.

    Raises:
      InputError: The folder cannot be written, or another run is in it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("a")
    except OSError as error:
        raise InputError(
            f"workdir: {workdir} cannot be written ({error.strerror}); "
            "choose another --workdir"
        ) from error
    with lock:  # closing it gives it up, as does any end of the process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"workdir: another run is writing to {workdir}; wait for its end, or "
                "choose another --workdir"
            ) from error
        yield


def check_same_run(workdir: Path, config: ConfigDict, has_checkpoint: bool) -> None:
    """Checks that what lies in a folder is this config's run.

    Args:
      workdir: The folder.
      config: The run's config.
      has_checkpoint: Whether there is a state to go on from.

    Raises:
      InputError: It is another config's.
    """
    if not has_checkpoint:
        return
    try:
        old = json.loads((workdir / "config.json").read_text())["config"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"workdir: {workdir} holds checkpoints but no readable config.json, so "
            "whether they are this run's is unknown; choose another --workdir"
        ) from error
    changed = [
        f"{key} was {before!r}, is {after!r}"
        for key, before, after in differences(old, _as_json(config))
    ]
    if changed:
        raise InputError(
            f"workdir: {workdir} holds another config's run: {'; '.join(changed)}; "
            "choose another --workdir, or the old values"
        )
    epochs = old["num_epochs"], config.num_epochs
    stretched = config.optim.schedule in ("cosine", "one_weird_trick")
    if stretched and epochs[0] != epochs[1]:
        print(
            f"note      the run was to be {epochs[0]} epochs long and is now "
            f"{epochs[1]}: from here on its learning rates are those of the new "
            f"{config.optim.schedule}"
        )


def _as_json(config: ConfigDict) -> dict[str, Any]:
    # By way of JSON, so that a tuple equals the list that it was stored as.
    return json.loads(json.dumps(config.to_dict()))


class RunWriter:
    """Writes a run's records.

    `config.json` holds the config as run and the libraries' versions; `metrics.jsonl`
    an object a line; `tensorboard/` the same scalars.

    Attributes:
      rows: All rows of the run, those of its earlier lives included.
    """

    def __init__(self, workdir: Path, config: ConfigDict, step: int) -> None:
        """Opens the records and drops what lies past `step`.

        Args:
          workdir: The run's folder, claimed.
          config: The run's config.
          step: The step that the run goes on from; 0 for a new one.
        """
        record = {
            "config": _as_json(config),
            "versions": {
                "alexnet_jax": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in _LIBRARIES},
            },
            "devices": sorted({device.device_kind for device in jax.devices()}),
        }
        write_whole(workdir / "config.json", json.dumps(record, indent=2) + "\n")
        self._path = workdir / "metrics.jsonl"
        self.rows = [row for row in read_rows(self._path) if row["step"] <= step]
        write_whole(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._file = self._path.open("a")
        self._board = (
            SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
            if config.log.tensorboard
            else None
        )

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board:
            self._board.close()

    def write(self, row: Row) -> None:
        """Appends a row, at once on disk. `row["step"]` grows from row to row."""
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board:
            for name, value in row.items():
                if name not in ("step", "epoch", "time_s"):
                    self._board.add_scalar(name, value, row["step"])


def read_rows(path: Path) -> list[Row]:
    """Reads `metrics.jsonl`; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def is_evaluation(row: Row) -> bool:
    """Whether a row holds results on the test split."""
    return any(name.startswith("test/") for name in row)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is whole at every moment."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
