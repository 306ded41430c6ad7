"""A run's folder: locked, checked to be this run's, opened for writing."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ml_collections import ConfigDict

from alexnet_jax.config import differences
from alexnet_jax.data import Data, DataSpec
from alexnet_jax.data.spec import STATISTICS_FILE
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.parallel.multihost import is_primary
from alexnet_jax.run.checkpoints import Checkpoints, RemoteCheckpoints
from alexnet_jax.run.checksums import quarantine_damaged, step_folders
from alexnet_jax.run.records import Records, Row


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
          step: The step that the run resumes from; 0 for a new run.
          ended: Whether the run has ended; then nothing is compared.

        Raises:
          InputError: The run began with other data, or with other statistics of it.
        """

    def start_records(self, step: int) -> float:
        """Opens the records; drops rows past `step`.

        Returns:
          The seconds that the run took before.
        """

    def write(self, row: Row) -> None:
        """Appends a row to the records, once these are open."""

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

    @property
    def rows(self) -> list[Row]:
        return self._records.rows if self._records else []

    def open_checkpoints(self) -> None:
        folder = self.path / "checkpoints"
        with named_disk_errors(self.path):
            quarantine_damaged(folder)
            self.checkpoints = Checkpoints(folder, self.config.checkpoint.keep)

    def keep_spec(self, data: Data, step: int, *, ended: bool) -> None:
        kept = None
        if step:
            with contextlib.suppress(InputError):
                kept = DataSpec.load(self.path)
        if kept is None:
            data.spec.save(self.path)
        elif not ended and not kept.matches(data.spec):
            ours, theirs = kept.statistics.source, data.spec.statistics.source
            if kept == data.spec and ours != theirs:
                raise InputError(
                    f"data.data_dir: {self.path} was trained with statistics {ours}, "
                    f"those of {data.folder} are now {theirs}; copy "
                    f"{self.path / STATISTICS_FILE} there to keep the run's, or choose "
                    "another --workdir to start over"
                )
            raise InputError(
                f"data.data_dir: {data.folder} is not what {self.path} was trained on "
                f"so far ({kept.name}), or its statistics were measured again since; "
                "restore the data, or choose another --workdir to start over"
            )

    def start_records(self, step: int) -> float:
        self._records = Records(self.path, self.config, step)
        return self.rows[-1]["time_s"] if self.rows else 0.0

    def write(self, row: Row) -> None:
        assert self._records is not None
        self._records.write(row)

    def close(self) -> None:
        if self._records:
            self._records.close()
        self.checkpoints.close()


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

    def write(self, row: Row) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def open_folder(path: Path, config: ConfigDict) -> Iterator[Folder]:
    """Opens and locks a run's folder; made if missing. Only the primary does so.

    Args:
      path: Absolute.
      config: The run's.

    Raises:
      InputError: The folder cannot be written, another run is writing to it, or it
        holds another config's run.
    """
    if not is_primary():
        yield RemoteFolder(path, config)
        return
    with workdir_lock(path):
        check_same_run(path, config, bool(step_folders(path / "checkpoints")))
        with contextlib.closing(RunFolder(path, config)) as folder:
            yield folder


@contextlib.contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """Turns a failed write to a run's folder into one line.

    Raises:
      RunError: A file could not be written.
    """
    try:
        yield
    except BrokenPipeError:  # of standard output, not of the folder
        raise
    except OSError as error:
        raise RunError(
            f"workdir: {path} cannot be written ({error.strerror or error}); make room "
            "or repair the folder; the same command resumes from the last checkpoint"
        ) from error


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Makes the run's folder and locks it for other runs while the context lasts.

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
    """Checks that a folder holds this config's run, if any.

    Args:
      workdir: The folder.
      config: The run's config.
      has_checkpoint: Whether there is a state to resume from.

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
        for key, before, after in differences(old, config)
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
            f"note      num_epochs was {epochs[0]}, is {epochs[1]}: from this step on "
            f"the learning rates follow the new {config.optim.schedule}"
        )
