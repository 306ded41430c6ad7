"""The main job: trains a network as a config says, in a folder of its own."""

import contextlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jax
from ml_collections import ConfigDict

from alexnet_jax.config import validate
from alexnet_jax.data import DataInfo, Split, create_data
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.inspection.collectives import bytes_by_device
from alexnet_jax.loop import Trainer
from alexnet_jax.metrics import shows_top5
from alexnet_jax.models import create_configured
from alexnet_jax.parallel import Parallel, create_parallel
from alexnet_jax.parallel import multihost as processes
from alexnet_jax.reporting.curves import draw_curves
from alexnet_jax.run.checkpoints import Checkpoints, RemoteCheckpoints
from alexnet_jax.run.checksums import quarantine_damaged, step_folders
from alexnet_jax.run.records import (
    Row,
    RunWriter,
    check_same_run,
    is_evaluation,
    read_rows,
    workdir_lock,
)
from alexnet_jax.run.signals import StopSignal, noted_signals
from alexnet_jax.run.weights import find_checkpoint, load_weights
from alexnet_jax.step import TrainState


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> Row:
    """Trains to the config's end, going on from the newest checkpoint if there is one.

    A run that had reached its end is reported and left as it is.

    Args:
      config: As `config.default_config` lays it out.
      workdir: The run's folder; made if missing. `config.json`, `metrics.jsonl`,
        `curves.png`, `checkpoints/` and `tensorboard/` come to lie in it.

    Returns:
      `step`, `test/loss`, `test/top1` and, of more than ten classes, `test/top5` of
      the end; `best/top1` and `best/epoch`.

    Raises:
      InputError: A value cannot be used; nothing was changed.
      RunError: The run cannot go on; its last checkpoint is kept.
      Stopped: SIGINT or SIGTERM came; the state was saved.
    """
    validate(config)
    processes.start(config)
    workdir = Path(workdir).expanduser().absolute()
    with processes.silence_other_processes():
        return _train_and_evaluate(config, workdir)


@contextlib.contextmanager
def _faults_named(workdir: Path) -> Iterator[None]:
    """Answers a full disk, or a process that went away, with a line."""
    try:
        yield
    except BrokenPipeError:  # of stdout, not of the folder
        raise
    except OSError as error:
        raise RunError(
            f"workdir: {workdir} cannot be written ({error.strerror or error}); "
            "make room or mend the folder, and the same command goes on from its "
            "last checkpoint"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        text = " ".join(str(error).split())
        raise RunError(
            f"parallel: another process ended, or cannot be reached ({text[:160]}); "
            "what was saved is kept; start all processes again with the same command"
        ) from error


def _train_and_evaluate(config: ConfigDict, workdir: Path) -> Row:
    """Does so in each process; other ones than the primary return nothing."""
    processes.check_same_config(config)
    primary, agree = processes.is_primary(), processes.agree
    model = create_configured(config)
    parallel = create_parallel(
        config.parallel.data,
        config.parallel.model,
        config.batch_size,
        config.model.name,
    )

    def open_data() -> tuple[Split, Split, DataInfo]:
        with processes.primary_first():
            data = create_data(
                config.data,
                batch_size=config.batch_size,
                eval_batch_size=parallel.round_up(config.eval.batch_size),
                seed=config.seed,
            )
        _check_classes(config, data[-1])
        return data

    with contextlib.ExitStack() as stack:
        agree(lambda: _claim(stack, workdir, config) if primary else None)
        data = agree(open_data)
        for split in data[:2]:
            stack.enter_context(closing(split))
        trainer = agree(lambda: Trainer(config, model, *data[:2], parallel))
        stack.enter_context(_faults_named(workdir))
        checkpoints = agree(lambda: _open_checkpoints(workdir, config))
        # Signals wait until the last checkpoint is written, not only the last step.
        stop = stack.enter_context(noted_signals())
        stack.enter_context(closing(checkpoints))
        start = processes.largest(checkpoints.latest_step() or 0)
        finished = start >= trainer.num_steps
        agree(lambda: _keep_inputs(workdir, data, start, finished) if primary else None)
        if finished:
            return _report_finished(config, workdir, start) if primary else {}
        state = agree(lambda: _start(config, trainer, checkpoints, start))
        state = trainer.place(processes.from_primary(state))
        _announce(config, parallel, state, data, workdir)
        rows = _fit(config, trainer, state, checkpoints, workdir, stop)
    if not primary:
        return {}
    result = _result(rows, workdir, config.model.num_classes)
    print(f"finished  {_describe(result)}")
    return result


def _claim(stack: contextlib.ExitStack, workdir: Path, config: ConfigDict) -> None:
    """Keeps other runs out of the folder, if it is this config's or empty."""
    stack.enter_context(workdir_lock(workdir))
    check_same_run(workdir, config, bool(step_folders(workdir / "checkpoints")))


def _keep_inputs(
    workdir: Path, data: tuple[Split, Split, DataInfo], start: int, finished: bool
) -> None:
    """Leaves what predictions need; checks that a run goes on with what it began with.

    Raises:
      InputError: The data set is another, or was measured anew, since the run began.
    """
    train, _, info = data
    kept = None
    if start:
        with contextlib.suppress(InputError):
            kept = DataSpec.load(workdir)
    if kept and finished:
        return
    inputs = DataSpec(
        info.name, info.class_names, train.image_shape, train.statistics()
    )
    if kept is None:
        inputs.save(workdir)
    elif not kept.same_as(inputs):
        raise InputError(
            f"data.data_dir: {info.folder} is not what {workdir} was trained on so far "
            f"({kept.data}), or its statistics were measured anew; bring it back, or "
            "start afresh in another --workdir"
        )


def _open_checkpoints(
    workdir: Path, config: ConfigDict
) -> Checkpoints | RemoteCheckpoints:
    if not processes.is_primary():
        return RemoteCheckpoints()
    folder = workdir / "checkpoints"
    quarantine_damaged(folder)
    return Checkpoints(folder, config.checkpoint.keep)


def _start(
    config: ConfigDict,
    trainer: Trainer,
    checkpoints: Checkpoints | RemoteCheckpoints,
    step: int,
) -> TrainState:
    """Returns the state to go on from; in other processes than the primary, any."""
    if isinstance(checkpoints, RemoteCheckpoints):
        return trainer.draw()
    if step:
        print(f"resuming  at step {step:,} of {trainer.num_steps:,}")
        return trainer.restore(checkpoints, step)
    if config.checkpoint.init_from:
        source = config.checkpoint.init_from
        print(f"weights   from {source}")
        folder, passed_over = find_checkpoint(source, "checkpoint.init_from")
        for line in passed_over:
            print(f"warning   {line}; passed over")
        return trainer.start_from(load_weights(folder))
    return trainer.draw()


def _fit(
    config: ConfigDict,
    trainer: Trainer,
    state: TrainState,
    checkpoints: Checkpoints | RemoteCheckpoints,
    workdir: Path,
    stop: StopSignal,
) -> list[Row]:
    """Trains to the end; returns all rows of the run, in the primary."""
    if not processes.is_primary():
        trainer.fit(state, lambda row: None, checkpoints, stop=stop)
        return []
    with closing(RunWriter(workdir, config, int(state.step))) as writer:
        try:
            seconds = writer.rows[-1]["time_s"] if writer.rows else 0.0
            trainer.fit(
                state,
                writer.write,
                checkpoints,
                stop=stop,
                seconds=seconds,
                say=_print_now,
            )
        finally:
            if writer.rows:
                curves = draw_curves({config.name: [writer.rows]}, config.name)
                curves.savefig(workdir / "curves.png")
    return writer.rows


def _print_now(text: str) -> None:
    print(text, flush=True)  # a pipe, too, shows it as it comes


def _report_finished(config: ConfigDict, workdir: Path, step: int) -> Row:
    """Says what came of a run that had ended before."""
    rows = read_rows(workdir / "metrics.jsonl")
    result = _result(rows, workdir, config.model.num_classes)
    print(f"finished  before, at step {step:,}: {_describe(result)}")
    print(f"workdir   {workdir}, left as it is")
    return result


def _check_classes(config: ConfigDict, info: DataInfo) -> None:
    needed = len(info.class_names)
    if config.model.num_classes < needed:
        raise InputError(
            f"model.num_classes must be at least {needed}, the classes of "
            f"{config.data.name}; got {config.model.num_classes}"
        )


def _announce(
    config: ConfigDict,
    parallel: Parallel,
    state: TrainState,
    data: tuple[Split, Split, DataInfo],
    workdir: Path,
) -> None:
    """Prints what is about to run: device, model, data and folder, a line each."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    train, test, info = data
    height, width, channels = info.image_shape
    size, canvas = config.data.image_size, config.augment.canvas
    shown = f"{size}×{size}" + (f" of {canvas}×{canvas}" if canvas else "")
    print(f"device    {parallel.describe()}")
    print(f"model     {config.model.name}, {parameters:,} parameters, {config.dtype}")
    print(
        f"data      {info.name}, {train.num_examples:,} train and "
        f"{test.num_examples:,} test images, {height}×{width}×{channels} shown at "
        f"{shown}, from {info.folder}"
    )
    memory = bytes_by_device(state)
    if len(memory) > 1:
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6
        each = ", ".join(f"{count / 1e6:.1f}" for count in sorted({*memory.values()}))
        print(
            f"state     {each} MB on each of the devices, {whole:.1f} MB in one piece"
        )
    print(f"workdir   {workdir}", flush=True)


def _result(rows: list[Row], workdir: Path, num_classes: int) -> Row:
    evaluated = [row for row in rows if is_evaluation(row)]
    if not evaluated:
        raise InputError(
            f"workdir: {workdir} is finished, but its metrics.jsonl holds no result; "
            "start afresh in another --workdir"
        )
    best = max(evaluated, key=lambda row: row["test/top1"])
    names = ["step", "test/loss", "test/top1"]
    if shows_top5(num_classes):
        names.append("test/top5")
    last = {name: evaluated[-1][name] for name in names}
    return last | {"best/top1": best["test/top1"], "best/epoch": best["epoch"]}


def _describe(result: Row) -> str:
    top5 = f"top-5 {result['test/top5']:.4f}, " if "test/top5" in result else ""
    return (
        f"test top-1 {result['test/top1']:.4f}, {top5}"
        f"best {result['best/top1']:.4f} at epoch {result['best/epoch']:.4g}"
    )
