"""A run's folder: locked, checked to be this run's, opened for writing."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ml_collections import ConfigDict

from alexnet_jax.atomic import read_regular, write_file
from alexnet_jax.data import Data
from alexnet_jax.data.spec import STATISTICS_FILE
from alexnet_jax.errors import InputError
from alexnet_jax.parallel.multihost import is_primary
from alexnet_jax.run.checkpoints import Checkpoints, RemoteCheckpoints
from alexnet_jax.run.kept import KEPT_FILES, check_same_run, kept_spec
from alexnet_jax.run.place import (
    CURVES_FILE,
    Place,
    clear_foreign,
    clear_places,
    named_disk_errors,
    raise_open_files,
    workdir_lock,
)
from alexnet_jax.run.quarantine import quarantine_damaged
from alexnet_jax.run.records import Records, restore_rows
from alexnet_jax.run.rows import METRICS_FILE, Row, scan_rows, stopped_early

_PNG_END = b"IEND\xaeB`\x82"


class Folder(Protocol):
    """A run's folder, as a process of the run has it.

    Attributes:
      path: The folder, absolute.
      config: The run's.
      checkpoints: The run's, once they are open.
      rows: All rows of the run's records, once these are open.
    """

    path: Path
    config: ConfigDict
    checkpoints: Checkpoints | RemoteCheckpoints

    @property
    def rows(self) -> list[Row]:
        """All rows of the run's records."""

    def open_checkpoints(self) -> None:
        """Opens the checkpoints; moves damaged ones aside.

        Raises:
          InputError: None is intact.
          RunError: The folder cannot be written.
        """

    def keep_spec(self, data: Data, step: int, *, ended: bool) -> None:
        """Keeps the input specification, which predictions need.

        Args:
          data: What the run reads now.
          step: The step that the run resumes from; 0 for a new run, and for one that
            has its first weights from elsewhere.
          ended: Whether the run has ended; then nothing is compared.

        Raises:
          InputError: The run began with other data, or with other statistics of it.
        """

    def start_records(self, step: int) -> float:
        """Opens the records; drops rows past `step`.

        Returns:
          The seconds that the run took before.
        """

    def ended_rows(self, step: int) -> list[Row]:
        """Returns the rows of a run that ended at a step before.

        What is missing or damaged is written anew as the checkpoints have it.

        Raises:
          OSError: It cannot be written.
        """

    def stopped_early(self, step: int) -> str | None:
        """Says how a run stopped early up to a step, as `rows.stopped_early` does."""

    def write(self, row: Row) -> None:
        """Appends a row to the records, once these are open.

        Raises:
          RunError: The folder was moved or deleted.
        """

    def draw_curves(self, draw: Callable[[], bytes], *, missing: bool = False) -> None:
        """Writes the learning curves.

        Args:
          draw: Returns a PNG file.
          missing: Only if there are none, or the file is cut short.
        """

    def close(self) -> None:
        """Waits until all is written; a second call does nothing.

        Raises:
          RunError: A checkpoint could not be written.
        """


class RunFolder:
    """The folder in the primary process: only this process writes to it."""

    def __init__(self, path: Path, config: ConfigDict) -> None:
        self.path, self.config = path, config
        self.checkpoints: Checkpoints | RemoteCheckpoints = RemoteCheckpoints()
        self._records: Records | None = None
        self._place = Place(path)

    @property
    def rows(self) -> list[Row]:
        return self._records.rows if self._records else []

    def open_checkpoints(self) -> None:
        folder = self.path / "checkpoints"
        with named_disk_errors(self.path):
            quarantine_damaged(folder)
            keep = self.config.checkpoint.keep
            self.checkpoints = Checkpoints(folder, keep, self._place.check)

    def keep_spec(self, data: Data, step: int, *, ended: bool) -> None:
        is_new = step == 0 and self.checkpoints.latest_step() is None
        kept = None if is_new else kept_spec(self.path)
        if kept is None:
            if not is_new:
                print(
                    f"warning   {self.path}: data.json or statistics.npz cannot be "
                    "read; written anew, as the data is now"
                )
            self._keep_division(data, is_new)
            data.spec.save(self.path)
        elif not ended and not kept.matches(data.spec):
            ours, theirs = kept.statistics.source, data.spec.statistics.source
            if kept == data.spec and ours != theirs:
                raise InputError(
                    f"data.data_dir: {self.path} was trained with statistics {ours}, "
                    f"those of {data.folder} are now {theirs}; copy "
                    f"{self.path / STATISTICS_FILE} to {data.statistics_file} to keep "
                    "the run's, or choose another --workdir to start over"
                )
            raise InputError(
                f"data.data_dir: {data.folder} is not what {self.path} was trained on "
                f"so far ({kept.name}), or its statistics were measured again since; "
                "restore the data, or choose another --workdir to start over"
            )
        elif not ended:
            if kept.files and kept.files != data.spec.files:
                print(
                    "note      data.manual_dir: its files are not those of the run so "
                    "far (names, labels, sizes or times differ); its results mix both"
                )
            self._keep_division(data, is_new)

    def _keep_division(self, data: Data, is_new: bool) -> None:
        if data.division is not None:
            if not is_new:
                data.division.check(self.path)
            data.division.save(self.path)

    def start_records(self, step: int) -> float:
        records = Records(self.path, self.config, step, self.checkpoints.rows())
        kept = {name: (self.path / name).read_bytes() for name in KEPT_FILES}
        self.checkpoints.kept_files = lambda: kept | {METRICS_FILE: records.text}
        self._records = records
        seconds = [row["time_s"] for row in self.rows if "time_s" in row]
        return seconds[-1] if seconds and math.isfinite(seconds[-1]) else 0.0

    def ended_rows(self, step: int) -> list[Row]:
        return restore_rows(self.path / METRICS_FILE, step, self.checkpoints.rows())

    def stopped_early(self, step: int) -> str | None:
        rows = self.rows or [
            *scan_rows(self.path / METRICS_FILE).rows,
            *self.checkpoints.rows().rows,  # they have checksums, the file has none
        ]
        rows = [row for row in rows if row["step"] <= step]
        return stopped_early(rows, self.config.early_stop.patience)

    def write(self, row: Row) -> None:
        assert self._records is not None
        self._place.check()
        self._records.write(row)

    def draw_curves(self, draw: Callable[[], bytes], *, missing: bool = False) -> None:
        file = self.path / CURVES_FILE
        if missing:
            with contextlib.suppress(OSError):
                if read_regular(file).endswith(_PNG_END):
                    return
        self._place.check()
        write_file(file, draw())

    def close(self) -> None:
        try:
            if self._records:
                self._records.close()
            self.checkpoints.close()
        finally:
            self._place.close()


class RemoteFolder:
    """The folder in any other process, which neither reads nor writes it."""

    def __init__(self, path: Path, config: ConfigDict) -> None:
        self.path, self.config = path, config
        self.checkpoints: Checkpoints | RemoteCheckpoints = RemoteCheckpoints()
        self.rows: list[Row] = []

    def open_checkpoints(self) -> None: ...

    def keep_spec(self, data: Data, step: int, *, ended: bool) -> None: ...

    def start_records(self, step: int) -> float:
        return 0.0

    def ended_rows(self, step: int) -> list[Row]:
        return []

    def stopped_early(self, step: int) -> str | None:
        return None

    def write(self, row: Row) -> None: ...

    def draw_curves(
        self, draw: Callable[[], bytes], *, missing: bool = False
    ) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def open_folder(path: Path, config: ConfigDict) -> Iterator[Folder]:
    """Opens and locks a run's folder; made if missing. Only the primary does so.

    Args:
      path: Absolute.
      config: The run's.

    Raises:
      InputError: The folder cannot be written, another run is writing to it, or it
        holds another config's run, or another program's `config.json`.
      RunError: A file of the folder cannot be read, moved or written.
    """
    if not is_primary():
        yield RemoteFolder(path, config)
        return
    raise_open_files()
    with workdir_lock(path):
        with named_disk_errors(path):
            clear_places(path)
            config = check_same_run(path, config)
            clear_foreign(path)
        with contextlib.closing(RunFolder(path, config)) as folder:
            yield folder
