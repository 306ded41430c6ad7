"""The job: trains a network as a config says, in a folder of its own."""

import contextlib
import dataclasses
import shlex
from contextlib import closing
from pathlib import Path

import jax
from ml_collections import ConfigDict

from alexnet_jax.config import (
    default_config,
    differences,
    learning_rate,
    size_text,
    unread,
    validate,
)
from alexnet_jax.data import Data, DataSpec, check_workdir, create_data
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.inspection.collectives import bytes_by_device
from alexnet_jax.inspection.memory import fitting_batch_size
from alexnet_jax.loop import Trainer
from alexnet_jax.metrics import METRICS, shown_metrics, shows_top5
from alexnet_jax.models import Classifier, create_configured
from alexnet_jax.parallel import Parallel, create_parallel, multihost
from alexnet_jax.reporting.curves import draw_curves
from alexnet_jax.reporting.files import to_png
from alexnet_jax.run.checkpoints import RemoteCheckpoints
from alexnet_jax.run.checksums import step_folders
from alexnet_jax.run.folder import Folder, named_disk_errors, open_folder
from alexnet_jax.run.imported import imported_statistics
from alexnet_jax.run.layer_files import with_texts
from alexnet_jax.run.place import IMPORTED_FILE
from alexnet_jax.run.read import read_config
from alexnet_jax.run.rows import Row, best_of, is_evaluation, place_of, step_text
from alexnet_jax.run.signals import StopSignal, noted_signals
from alexnet_jax.run.weights import find_checkpoint, load_weights
from alexnet_jax.step import TrainState
from alexnet_jax.terminal.bar import spinner
from alexnet_jax.terminal.paths import expand, local_path
from alexnet_jax.transfer.freezing import Frozen, split
from alexnet_jax.transfer.settings import rates_of

# The keys that the shapes of all or many parameters depend on.
_SHAPING = {"data.image_size"} | {
    f"model.{name}" for name in ("name", "width", "normalization", "pooling", "links")
}


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> Row:
    """Trains to the config's end, resuming from the newest checkpoint if there is one.

    A run that has ended is reported and left unchanged.

    Args:
      config: As `config.default_config` lays it out.
      workdir: The run's folder; made if missing. `config.json`, `metrics.jsonl`,
        `curves.png`, `checkpoints/` and `tensorboard/` are written to it.

    Returns:
      `step` and, as `test/NAME`, the metrics of `eval.metrics` at the end (top-5 of
      more than ten classes only); `best/top1` and `best/epoch`. Processes other than
      the primary return nothing.

    Raises:
      InputError: A value cannot be used; nothing was trained.
      RunError: The run cannot continue; its last checkpoint is kept.
      Stopped: SIGINT or SIGTERM came; the state was saved.

    Examples:
      >>> config = default_config()
      >>> config.data.name, config.model.name = "digits", "lenet5"
      >>> config.data.image_size, config.num_epochs = 28, 1
      >>> result = train_and_evaluate(config, "runs/mine")
      device ...
      >>> list(result)
      ['step', 'test/loss', 'test/top1', 'best/top1', 'best/epoch']
    """
    if not hasattr(config, "items"):
        raise InputError(
            "config must be a ConfigDict, as default_config() returns one; got "
            f"{type(config).__name__}"
        )
    validate(config)
    multihost.start(config)
    workdir = local_path(workdir, "workdir")
    for key in ("data.data_dir", "data.manual_dir", "checkpoint.init_from"):
        group, name = key.split(".")
        if path := config[group][name]:
            expand(path, key)  # refused now, not after the data is prepared
    with (
        multihost.silence_other_processes(),
        multihost.named_process_errors(),
        contextlib.ExitStack() as stack,
    ):
        return _run(config, workdir, stack)


def _run(
    config_as_given: ConfigDict, workdir: Path, stack: contextlib.ExitStack
) -> Row:
    """Runs in each process; a phase that fails in one of them stops all."""
    config = multihost.agree(lambda: with_texts(config_as_given, workdir))
    multihost.check_same_config(config)
    model = create_configured(config)
    parallel = create_parallel(
        config.parallel.data,
        config.parallel.model,
        config.batch_size,
        config.model.name,
        model.towers,
    )

    multihost.agree(lambda: check_workdir(config.data, workdir))
    multihost.agree(lambda: _check_new(config, model, workdir))
    folder = multihost.agree(lambda: stack.enter_context(open_folder(workdir, config)))
    data = multihost.agree(lambda: _open_data(config, model, parallel))
    stack.enter_context(closing(data))
    data = dataclasses.replace(data, spec=_as_imported(data.spec, workdir))

    def create_trainer() -> Trainer:
        trainer = Trainer(
            config,
            model,
            data.train,
            data.test,
            parallel,
            statistics=lambda: data.spec.statistics,
        )
        folder.open_checkpoints()  # not before all else is known to be right
        return trainer

    trainer = multihost.agree(create_trainer)
    steps, whole = config.num_train_steps, config.num_epochs * trainer.steps_per_epoch
    if steps is not None and steps > whole:
        print(
            f"note      num_train_steps {steps:,} is not reached: num_epochs "
            f"{config.num_epochs:,} ends the run at step {whole:,}"
        )

    stack.enter_context(named_disk_errors(workdir))
    # Signals wait until the last checkpoint is written, not only the last step.
    stop = stack.enter_context(noted_signals())
    step = multihost.largest(folder.checkpoints.latest_step() or 0)
    if not step:
        _note_unread_of_files(config, data.spec)
    ended = step >= trainer.num_steps or _stops_early(folder, step)
    state = multihost.agree(lambda: _start(trainer, folder, data, step, ended))
    if state is None:
        rows = folder.ended_rows(step)
        if rows:
            folder.draw_curves(lambda: _curves(config.name, rows), missing=True)
        return _report(config, workdir, rows, earlier=step)
    state = trainer.put(multihost.from_primary(state))
    _announce(config, parallel, state, data, workdir, trainer.frozen)
    with closing(folder):  # a run has finished when its last checkpoint is on disk
        _fit(trainer, state, folder, stop)
    return _report(config, workdir, folder.rows)


def _note_unread_of_files(config: ConfigDict, spec: DataSpec) -> None:
    """Notes settings of image files that a data set of arrays does not read."""
    if spec.streamed:
        return
    defaults = default_config().data
    for key in ("stored_size", "fit", "resize", "workers", "on_broken"):
        if config.data[key] != defaults[key]:
            print(
                f"note      data.{key} is not read: the images of {config.data.name} "
                "are arrays of one size, no files"
            )


def _check_new(config: ConfigDict, model: Classifier, workdir: Path) -> None:
    """Notes what a new run does not read; checks where its weights come from.

    Raises:
      InputError: They are not there, or those of an import were not written.
    """
    if not multihost.is_primary() or step_folders(workdir / "checkpoints"):
        return
    for line in unread(config):
        print(f"note      {line}")
    if config.model.dropout_rate is not None and not hasattr(model, "dropout_rate"):
        print(f"note      model.dropout_rate is not read: {config.model.name} has none")
    if (workdir / IMPORTED_FILE).exists():
        raise InputError(
            f"workdir: {workdir} holds an import whose weights were not written; "
            "import them again into another folder, or delete imported.json to begin "
            "without"
        )
    if source := config.checkpoint.init_from:
        find_checkpoint(source, "checkpoint.init_from")


def _open_data(config: ConfigDict, model: Classifier, parallel: Parallel) -> Data:
    eval_batch_size = multihost.smallest(fitting_batch_size(config, model))
    with multihost.primary_first(), spinner("opening the data"):
        data = create_data(
            config.data,
            batch_size=config.batch_size,
            eval_batch_size=parallel.round_up(eval_batch_size),
            seed=config.seed,
        )
    needed = len(data.spec.class_names)
    if config.model.num_classes < needed:
        raise InputError(
            f"model.num_classes must be at least {needed}, the classes of "
            f"{config.data.name}; got {config.model.num_classes}: set "
            f"--config.model.num_classes={needed}"
        )
    # Measuring may take a pass over the images; then the others read what is kept.
    with multihost.primary_first():
        _ = data.spec.statistics
    return data


def _as_imported(spec: DataSpec, workdir: Path) -> DataSpec:
    """Returns the data's specification, with the statistics of imported weights."""
    found = imported_statistics(workdir, spec) if multihost.is_primary() else None
    if not multihost.largest(found is not None):
        return spec
    arrays = dataclasses.asdict(found or spec.statistics)
    statistics = Statistics(**multihost.from_primary(arrays))
    return dataclasses.replace(spec, measure=lambda: statistics)


def _start(
    trainer: Trainer, folder: Folder, data: Data, step: int, ended: bool
) -> TrainState | None:
    """Returns the state to train from, or None if the run has ended.

    In processes other than the primary it is a fresh one, whose arrays are replaced.
    """
    checkpoints = folder.checkpoints
    is_new = (
        not isinstance(checkpoints, RemoteCheckpoints)
        and checkpoints.latest_step() is None
    )
    # Weights that do not fit are refused before anything is kept.
    state = _first_state(trainer, folder.config) if is_new else None
    folder.keep_spec(data, step, ended=ended)
    if ended:
        return None
    if isinstance(checkpoints, RemoteCheckpoints):
        return trainer.draw()
    if not is_new:  # of step 0, if weights were brought in
        place = step_text(
            *(step, trainer.num_steps, trainer.steps_per_epoch),
            folder.config.num_epochs,
        )
        print(f"resuming  at {place}")
        return trainer.restore(checkpoints, step)
    return state


def _first_state(trainer: Trainer, config: ConfigDict) -> TrainState:
    """Returns the state of a new run, whose weights may be another run's."""
    source = config.checkpoint.init_from
    if not source:
        return trainer.draw()
    print(f"weights   from {source}")
    checkpoint, skipped = find_checkpoint(source, "checkpoint.init_from")
    for line in skipped:
        print(f"warning   {line}; skipped")
    remedy = _remedy(checkpoint, config)
    return trainer.start_from(load_weights(checkpoint), remedy, print)


def _remedy(checkpoint: Path, config: ConfigDict) -> str:
    """Returns what makes a network fit a checkpoint of another."""
    with contextlib.suppress(InputError):  # it may have no readable config
        theirs = read_config(checkpoint.parent.parent)
        keys = [
            shlex.quote(f"--config.{key}={one}")
            for key, old, new in differences(theirs, config)
            for one in [tuple(old) if isinstance(old, list) else old]
            if key in _SHAPING and old != new
        ]
        if keys:
            return f"set {' '.join(keys)}, as that run did, or choose another run"
    return "choose a run of the same network"


def _stops_early(folder: Folder, step: int) -> bool:
    """Whether a run ends at a step by `early_stop`; says so. The primary decides."""
    if folder.config.early_stop.patience is None:
        return False
    stopped = folder.stopped_early(step)
    if stopped:
        print(f"stopped   {stopped}", flush=True)
    return bool(multihost.largest(int(stopped is not None)))


def _fit(trainer: Trainer, state: TrainState, folder: Folder, stop: StopSignal) -> None:
    """Trains to the end and draws the curves."""
    seconds = folder.start_records(int(state.step))

    def draw() -> None:
        if rows := folder.rows:
            folder.draw_curves(lambda: _curves(folder.config.name, rows))

    try:
        trainer.fit(
            state,
            folder.write,
            folder.checkpoints,
            stop=stop,
            seconds=seconds,
            say=lambda text: print(text, flush=True),  # a pipe shows it at once
            stops_early=lambda step: _stops_early(folder, step),
        )
    except BaseException:
        with contextlib.suppress(OSError, RunError):  # the first error is to be said
            draw()
        raise
    draw()


def _curves(name: str, rows: list[Row]) -> bytes:
    return to_png(draw_curves({name: [rows]}, name))


def _announce(
    config: ConfigDict,
    parallel: Parallel,
    state: TrainState,
    data: Data,
    workdir: Path,
    frozen: Frozen,
) -> None:
    """Prints what is about to run: device, model, data and folder, a line each."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    height, width, channels = data.spec.image_shape
    size, canvas = config.data.image_size, config.augment.canvas
    shown = size_text(size) + (f" of {size_text(canvas)}" if canvas else "")
    print(f"device    {parallel.describe()}")
    print(f"model     {config.model.name}, {parameters:,} parameters, {config.dtype}")
    if frozen:
        held = sum(
            leaf.size for leaf in jax.tree.leaves(split(state.params, frozen)[1])
        )
        print(f"frozen    {', '.join(sorted(frozen))}: {held:,} parameters")
    if config.optim.params is not None:
        print(f"rates     {_rates_text(config.optim)}")
    if rates := rates_of(config.optim.rates):
        listed = ", ".join(f"{layer} × {rate:g}" for layer, rate in rates.items())
        print(f"rates     {listed}")
    print(
        f"data      {data.spec.name}, {data.train.num_examples:,} train and "
        f"{data.test.num_examples:,} test images, {height}×{width}×{channels} shown at "
        f"{shown}, from {data.folder}"
    )
    memory = bytes_by_device(state)
    if len(memory) > 1:
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6
        each = ", ".join(f"{count / 1e6:.1f}" for count in sorted({*memory.values()}))
        print(f"state     {each} MB on each device, {whole:.1f} MB in total")
    print(f"workdir   {workdir}", flush=True)


def _rates_text(optim: ConfigDict) -> str:
    """Returns what a layer-parameter file decides, and what it does not."""
    name = Path(optim.params).name
    if optim.learning_rate is None:
        return f"{name}: as written"
    rate = learning_rate(optim)
    return (
        f"{rate:g} for kernels, {2 * rate:g} for biases; momentum and decay of {name}"
    )


def _report(
    config: ConfigDict, workdir: Path, rows: list[Row], earlier: int | None = None
) -> Row:
    """Prints and returns the result of a run that ends, or ended earlier at a step."""
    if not multihost.is_primary():
        return {}
    result = _result(config, workdir, rows)
    when = "" if earlier is None else f"earlier, at step {earlier:,}: "
    if earlier is not None and result["step"] != earlier:
        when = f"earlier, at step {earlier:,}; at step {result['step']:,} "
    print(f"finished  {when}{_describe(config, result, rows)}")
    if earlier is not None:
        print(f"workdir   {workdir}, left as it is")
    return result


def _result(config: ConfigDict, workdir: Path, rows: list[Row]) -> Row:
    evaluated = [row for row in rows if is_evaluation(row)]
    if not evaluated:
        raise InputError(
            f"workdir: {workdir} is finished, but its metrics.jsonl holds no result; "
            "set num_epochs or num_train_steps higher to go on, or to start over "
            "choose another --workdir"
        )
    best = best_of(evaluated)
    hidden = set() if shows_top5(config.model.num_classes) else {"test/top5"}
    last = {
        name: value
        for name, value in evaluated[-1].items()
        if name == "step" or (name.startswith("test/") and name not in hidden)
    }
    return last | {"best/top1": best["test/top1"], "best/epoch": best["epoch"]}


def _describe(config: ConfigDict, result: Row, rows: list[Row]) -> str:
    shown = shown_metrics(result, config.model.num_classes)
    losses = {metric.title for metric in METRICS.values() if metric.unit == "nats"}
    metrics = ", ".join(f"{k} {v}" for k, v in shown.items() if k not in losses)
    best = best_of(rows)
    return f"test {metrics}, best {best['test/top1']:.4f} at {place_of(best)}"
