"""A run's records: config, metrics by step, TensorBoard events."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import jax
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from alexnet_jax import __version__
from alexnet_jax.atomic import atomic_write

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


class Records:
    """Writes a run's records.

    `config.json` holds the config as run and the libraries' versions; `metrics.jsonl`
    an object a line; `tensorboard/` the same scalars.

    Attributes:
      rows: All rows of the run, those from before it was resumed included.
    """

    def __init__(self, workdir: Path, config: ConfigDict, step: int) -> None:
        """Opens the records and drops rows past `step`.

        Args:
          workdir: The run's folder, locked.
          config: The run's config.
          step: The step that the run resumes from; 0 for a new run.
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
        with atomic_write(workdir / "config.json") as part:
            part.write_text(json.dumps(record, indent=2) + "\n")
        self._path = workdir / "metrics.jsonl"
        self.rows = [row for row in read_rows(self._path) if row["step"] <= step]
        with atomic_write(self._path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self._file = self._path.open("a")
        self._board = (
            SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
            if config.log.tensorboard
            else None
        )

    def close(self) -> None:
        """Closes the files; a second call does nothing."""
        self._file.close()
        if self._board:
            self._board.close()
            self._board = None

    def write(self, row: Row) -> None:
        """Appends a row, at once on disk. `row["step"]` grows from row to row."""
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board:
            for name, value in row.items():
                if name not in ("step", "epoch", "time_s"):
                    self._board.add_scalar(name, value, row["step"])


def is_evaluation(row: Row) -> bool:
    """Whether a row holds a test result."""
    return "test/top1" in row


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
