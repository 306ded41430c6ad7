"""The folder of a run whose first weights come from elsewhere."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.atomic import locked, read_regular, write_file
from alexnet_jax.config import side_pair, validate
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.models import create_configured
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.run.folder import open_folder
from alexnet_jax.run.place import IMPORTED_FILE, LOCK_FILE, RUN_FILES
from alexnet_jax.step import TrainState, create_state
from alexnet_jax.transfer.freezing import frozen_layers, split
from alexnet_jax.transfer.layer_updates import updates_of

_STEP = 0  # that none was taken is what a resumed run goes on from


@dataclasses.dataclass(frozen=True)
class Imported:
    """Where a run's first weights come from.

    Attributes:
      source: The name of the file, or of a run's folder.
      form: What it is, in words.
      bytes: Its size; None for a folder.
      sha256: Of all of it, hexadecimal; None for a folder.
      mean: The name of the file of a mean image that came with it, if any.
      arrays: By our name the file's, and what was done to it.
      left_out: The file's arrays that the network has no place for.
      assumed: Whether the file does not say what the network was trained on, so that
        the data of the run's config are a guess.
    """

    source: str
    form: str
    bytes: int | None
    sha256: str | None
    mean: str | None = None
    arrays: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    assumed: bool = False

    def save(self, workdir: Path) -> None:
        """Writes `imported.json`."""
        text = json.dumps(dataclasses.asdict(self), indent=1)  # a name may be no UTF-8
        write_file(workdir / IMPORTED_FILE, text + "\n")


def read_imported(workdir: Path) -> Imported | None:
    """Returns where a run's first weights come from.

    Returns:
      None for a run that drew its own, and where `imported.json` cannot be read.
    """
    try:
        record = json.loads(read_regular(workdir / IMPORTED_FILE))
        arrays = {name: (str(a), str(b)) for name, (a, b) in record["arrays"].items()}
        return Imported(
            source=str(record["source"]),
            form=str(record["form"]),
            bytes=None if record["bytes"] is None else int(record["bytes"]),
            **{name: _text(record.get(name)) for name in ("sha256", "mean")},
            arrays=arrays,
            left_out=tuple(map(str, record.get("left_out", ()))),
            assumed=record.get("assumed") is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def imported_statistics(workdir: Path, spec: DataSpec) -> Statistics | None:
    """Returns the statistics that a run's first weights came with.

    Training goes on with these, whichever the data set's own are.

    Args:
      workdir: The run's.
      spec: Of the data that it reads now.

    Returns:
      None for a run that drew its own weights, or one on other data.
    """
    if read_imported(workdir) is not None:
        with contextlib.suppress(InputError):
            kept = DataSpec.load(workdir)
            return kept.statistics if kept == spec else None
    return None


@contextlib.contextmanager
def new_run(
    workdir: Path,
    config: ConfigDict,
    spec: DataSpec,
    params: Mapping[str, Any],
    model_state: Mapping[str, Any] | None = None,
    imported: Imported | None = None,
) -> Iterator[None]:
    """Writes the folder of a run that has taken no step yet, with given weights.

    The folder stays locked while the context lasts. If that ends in an error, what was
    written is removed, and nothing else.

    Args:
      workdir: The folder, absolute; it holds no run.
      config: The run's.
      spec: What the weights were trained on, with the statistics that images are
        normalized by.
      params: The network's, NumPy arrays, `float32`.
      model_state: Its mutable collections, such as `batch_stats`; None if it has none.
      imported: Where the weights come from.

    Raises:
      InputError: The folder holds a run, or cannot be written.
      RunError: The disk is full, or the like.
    """
    validate(config)
    state = _state(config, spec, params)
    state = state.replace(model_state=dict(model_state or {}))
    made = [one for one in (workdir, *workdir.parents) if not one.exists()]
    lock = workdir / LOCK_FILE
    new_lock = None if lock.exists() else lock
    with contextlib.ExitStack() as stack:
        stack.enter_context(_removed_on_error(made, new_lock))
        with _errors_of_to(workdir):
            folder = stack.enter_context(open_folder(workdir, config))
            stack.enter_context(_cleared_on_error(workdir))
            folder.open_checkpoints()
            if folder.checkpoints.latest_step() is not None:
                raise InputError(
                    f"--to: {workdir} holds a run already; choose another folder"
                )
            spec.save(workdir)
            if imported is not None:
                imported.save(workdir)
            with closing(folder):
                folder.start_records(0)
                folder.checkpoints.save(_STEP, state, {})
        yield


@contextlib.contextmanager
def _errors_of_to(workdir: Path) -> Iterator[None]:
    """Brings errors of a run's folder into the words of `convert`, whose flag is --to.

    Raises:
      InputError: The folder is not one that can be taken.
      RunError: The disk is full, or the like.
    """
    try:
        yield
    except InputError as error:
        text = str(error).replace("--workdir", "--to")
        raise InputError(re.sub("^workdir: ", "--to: ", text)) from error
    except (OSError, RunError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error
        reason = getattr(cause, "strerror", None) or str(cause or error)
        raise RunError(
            f"--to: {workdir} cannot be written ({reason}); make room, or choose "
            "another folder"
        ) from error


@contextlib.contextmanager
def _removed_on_error(made: Sequence[Path], lock: Path | None) -> Iterator[None]:
    """Removes a lock and folders that were made, if the context ends in an error.

    Args:
      made: The folders, the innermost first; those that are empty.
      lock: The lock's file, unless another process holds it now.
    """
    try:
        yield
    except BrokenPipeError:  # whoever reads the report has enough of it
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            if lock is not None and lock.exists():
                with locked(lock):
                    lock.unlink()
            for one in made:
                one.rmdir()
        raise


@contextlib.contextmanager
def _cleared_on_error(workdir: Path) -> Iterator[None]:
    """Removes what a run writes into its folder, if the context ends in an error.

    Args:
      workdir: The folder, locked.
    """
    folders = [workdir / name for name in ("checkpoints", "tensorboard")]

    def present() -> dict[Path, tuple[int, int] | None]:
        return {
            below: _number(below) for one in folders for below in (one, *one.rglob("*"))
        }

    before = present()
    files = {workdir / name: _content(workdir / name) for name in RUN_FILES}
    try:
        yield
    except BrokenPipeError:
        raise
    except BaseException:
        # By number, too, as what was in the way may have been moved aside.
        for one, number in sorted(present().items(), reverse=True):
            if before.get(one) != number:
                with contextlib.suppress(OSError):
                    is_folder = one.is_dir() and not one.is_symlink()
                    one.rmdir() if is_folder else one.unlink()
        for file, content in files.items():
            with contextlib.suppress(OSError):
                if content is None:
                    file.unlink(missing_ok=True)
                elif _content(file) != content:
                    write_file(file, content)
        raise


def _content(file: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        return read_regular(file)
    return None


def _number(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        stat = path.lstat()
        return stat.st_dev, stat.st_ino
    return None


def _state(config: ConfigDict, spec: DataSpec, params: Mapping[str, Any]) -> TrainState:
    """Returns a new run's state with these weights."""
    model = create_configured(config)
    updates = updates_of(model, config.optim.params)
    schedule = create_schedule(config.optim, model.lr, 1, 1, updates)
    tx = create_optimizer(config.optim, schedule, updates=updates)
    shape = (1, *side_pair(config.data.image_size), spec.image_shape[-1])
    variables = model.variable_shapes(shape)
    frozen = frozen_layers(config.optim, variables.pop("params"), variables)
    shapes = jax.eval_shape(
        lambda: create_state(model, tx, shape, jax.random.key(config.seed), frozen)
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    # Not all of an optimizer's begins at 0: the plateau rule's least error does not.
    small = jax.tree.map(
        lambda leaf: np.zeros((1,) * leaf.ndim, leaf.dtype), state.params
    )
    first = tx.init(split(small, frozen)[0])
    opt_state = jax.tree.map(_filled, state.opt_state, first)
    step = np.array(_STEP, np.int32)
    return state.replace(step=step, params=dict(params), opt_state=opt_state)


def _filled(zeros: np.ndarray, small: Any) -> np.ndarray:
    """Returns an array like the first, of the one value that the other has."""
    value = np.asarray(small).reshape(-1)[0]
    return np.full_like(zeros, value) if value else zeros
