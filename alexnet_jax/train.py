"""The main job: trains a network as a config says, in a folder of its own."""

import contextlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jax
from ml_collections import ConfigDict

from alexnet_jax import processes
from alexnet_jax.checkpoint import Checkpoints, TakesPart
from alexnet_jax.config import validate
from alexnet_jax.data import Batches, DataInfo, create_data
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.models import MODELS, SWITCHES, Classifier, create_model
from alexnet_jax.parallel import Parallel, create_parallel
from alexnet_jax.report import draw_curves
from alexnet_jax.seal import set_damaged_aside, step_folders
from alexnet_jax.signals import StopSignal, noted_signals
from alexnet_jax.step import TrainState
from alexnet_jax.traffic import bytes_by_device
from alexnet_jax.trainer import Trainer
from alexnet_jax.weights import load_weights
from alexnet_jax.writer import Row, RunWriter, check_same_run, claimed, read_rows


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> Row:
    """Trains to the config's end, going on from the newest checkpoint if there is one.

    A run that had reached its end is reported and left as it is.

    Args:
      config: As `config.default_config` lays it out.
      workdir: The run's folder; made if missing. `config.json`, `metrics.jsonl`,
        `curves.png`, `checkpoints/` and `tensorboard/` come to lie in it.

    Returns:
      `step`, `test/loss` and `test/top1` of the end, `best/top1` and `best/epoch`.

    Raises:
      InputError: A value cannot be used; nothing was changed.
      RunError: The run cannot go on; its last checkpoint is kept.
      Stopped: SIGINT or SIGTERM came; the state was saved.
    """
    validate(config)
    processes.start(config)
    workdir = Path(workdir).expanduser().absolute()
    with processes.primary_speaks():
        return _train_and_evaluate(config, workdir)


@contextlib.contextmanager
def _faults_named(workdir: Path) -> Iterator[None]:
    """Answers a full disk, or a process that went away, with a line."""
    try:
        yield
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
    primary, together = processes.is_primary(), processes.together
    model = _create_model(config)
    parallel = create_parallel(
        config.parallel.data,
        config.parallel.model,
        config.batch_size,
        config.model.name,
    )

    def open_data() -> tuple[Batches, Batches, DataInfo]:
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
        together(lambda: _claim(stack, workdir, config) if primary else None)
        data = together(open_data)
        trainer = together(lambda: Trainer(config, model, *data[:2], parallel))
        stack.enter_context(_faults_named(workdir))
        checkpoints = together(lambda: _open_checkpoints(workdir, config))
        # Signals wait until the last checkpoint is written, not only the last step.
        stop = stack.enter_context(noted_signals())
        stack.enter_context(closing(checkpoints))
        start = processes.largest(checkpoints.latest_step() or 0)
        if start >= trainer.num_steps:
            return _report_finished(workdir, start) if primary else {}
        state = together(lambda: _start(config, trainer, checkpoints, start))
        state = trainer.place(processes.from_primary(state))
        _announce(config, parallel, state, data, workdir)
        rows = _fit(config, trainer, state, checkpoints, workdir, stop)
    if not primary:
        return {}
    result = _result(rows, workdir)
    print(f"finished  {_describe(result)}")
    return result


def _claim(stack: contextlib.ExitStack, workdir: Path, config: ConfigDict) -> None:
    """Keeps other runs out of the folder, if it is this config's or empty."""
    stack.enter_context(claimed(workdir))
    check_same_run(workdir, config, bool(step_folders(workdir / "checkpoints")))


def _open_checkpoints(workdir: Path, config: ConfigDict) -> Checkpoints | TakesPart:
    if not processes.is_primary():
        return TakesPart()
    folder = workdir / "checkpoints"
    set_damaged_aside(folder)
    return Checkpoints(folder, config.checkpoint.keep)


def _start(
    config: ConfigDict,
    trainer: Trainer,
    checkpoints: Checkpoints | TakesPart,
    step: int,
) -> TrainState:
    """Returns the state to go on from; in other processes than the primary, any."""
    if isinstance(checkpoints, TakesPart):
        return trainer.draw()
    if step:
        print(f"resuming  at step {step:,} of {trainer.num_steps:,}")
        return trainer.restore(checkpoints, step)
    if config.checkpoint.init_from:
        print(f"weights   from {config.checkpoint.init_from}")
        return trainer.start_from(load_weights(config.checkpoint.init_from))
    return trainer.draw()


def _fit(
    config: ConfigDict,
    trainer: Trainer,
    state: TrainState,
    checkpoints: Checkpoints | TakesPart,
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
                draw_curves(writer.rows, workdir / "curves.png", config.name)
    return writer.rows


def _print_now(text: str) -> None:
    print(text, flush=True)  # a pipe, too, shows it as it comes


def _report_finished(workdir: Path, step: int) -> Row:
    """Says what came of a run that had ended before."""
    result = _result(read_rows(workdir / "metrics.jsonl"), workdir)
    print(f"finished  before, at step {step:,}: {_describe(result)}")
    print(f"workdir   {workdir}, left as it is")
    return result


def _create_model(config: ConfigDict) -> Classifier:
    fields = {
        "lr": config.optim.learning_rate,
        "num_classes": config.model.num_classes,
        "initializer": config.model.init,
        **{switch: config.model[switch] for switch in SWITCHES},
    }
    network = MODELS.get(config.model.name)
    if hasattr(network, "dropout_rate"):
        fields["dropout_rate"] = config.model.dropout_rate
    if hasattr(network, "width"):
        fields["width"] = config.model.width
    elif network is not None and config.model.width != 1:
        raise InputError(
            f"model.width must be 1 with {config.model.name}, which has one width; "
            f"got {config.model.width}"
        )
    return create_model(config.model.name, **fields)


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
    data: tuple[Batches, Batches, DataInfo],
    workdir: Path,
) -> None:
    """Prints what is about to run: device, model, data and folder, a line each."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    train, test, info = data
    height, width, channels = info.image_shape
    print(f"device    {parallel.describe()}")
    print(f"model     {config.model.name}, {parameters:,} parameters, {config.dtype}")
    print(
        f"data      {info.name}, {len(train.label):,} train and {len(test.label):,} "
        f"test images, {height}×{width}×{channels} shown at {config.data.image_size}×"
        f"{config.data.image_size}, from {info.folder}"
    )
    memory = bytes_by_device(state)
    if len(memory) > 1:
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6
        each = ", ".join(f"{count / 1e6:.1f}" for count in sorted({*memory.values()}))
        print(
            f"state     {each} MB on each of the devices, {whole:.1f} MB in one piece"
        )
    print(f"workdir   {workdir}", flush=True)


def _result(rows: list[Row], workdir: Path) -> Row:
    evaluated = [row for row in rows if "test/top1" in row]
    if not evaluated:
        raise InputError(
            f"workdir: {workdir} is finished, but its metrics.jsonl holds no result; "
            "start afresh in another --workdir"
        )
    best = max(evaluated, key=lambda row: row["test/top1"])
    last = {name: evaluated[-1][name] for name in ("step", "test/loss", "test/top1")}
    return last | {"best/top1": best["test/top1"], "best/epoch": best["epoch"]}


def _describe(result: Row) -> str:
    return (
        f"test top-1 {result['test/top1']:.4f}, "
        f"best {result['best/top1']:.4f} at epoch {result['best/epoch']:.4g}"
    )
