"""The training loop: steps, evaluation, records and checkpoints, in order."""

import functools
import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from alexnet_jax.config import side_pair
from alexnet_jax.data import Split
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.feeding.feeds import create_feed
from alexnet_jax.inspection.layers import describe
from alexnet_jax.inspection.memory import check_memory
from alexnet_jax.inspection.nonfinite import check_finite, look_at_layers
from alexnet_jax.metrics import (
    Sums,
    add_sums,
    check_metrics,
    create_loss,
    finish_metrics,
    means,
)
from alexnet_jax.models import Classifier
from alexnet_jax.models.classifier import check_classifier
from alexnet_jax.optim import (
    create_optimizer,
    create_schedule,
    evaluated_params,
    rate_of_step,
    update_plateau,
)
from alexnet_jax.parallel import Parallel
from alexnet_jax.parallel.multihost import is_primary, largest
from alexnet_jax.preprocessing.pipeline import make_preprocessing
from alexnet_jax.run.checkpoints import Checkpoints, RemoteCheckpoints
from alexnet_jax.run.events import Due, Events
from alexnet_jax.run.interval import Interval
from alexnet_jax.run.memory import release_freed_memory
from alexnet_jax.run.progress import Meter, epoch_line, speed_text
from alexnet_jax.run.rows import Row, step_text
from alexnet_jax.run.signals import Stopped, StopSignal
from alexnet_jax.step import (
    Norms,
    TrainState,
    augmentation_key,
    create_state,
    make_eval_step,
    make_train_step,
)
from alexnet_jax.terminal.bar import Bar, spinner
from alexnet_jax.terminal.text import terminal_width
from alexnet_jax.transfer import freezing
from alexnet_jax.transfer.layer_updates import updates_of
from alexnet_jax.transfer.settings import patterns_of
from alexnet_jax.transfer.weights import take_layers

# To ask the other processes takes a moment, in which the devices wait.
_AGREE_EVERY_STEPS = 10
_TESTS_AHEAD = 2  # test steps that are queued for a GPU; each holds its batch there
MAX_STEPS = 2**31
# XLA's settings: no additions in an order left to chance, no algorithm chosen by
# measuring. Its own matrix products have none that is not, so cuBLAS computes them.
_DETERMINISTIC = {
    "xla_gpu_deterministic_ops": True,
    "xla_gpu_enable_triton_gemm": False,
}


class Trainer:
    """A network, its data and its steps on the devices.

    Attributes:
      steps_per_epoch: Steps in an epoch, the padded last one included.
      num_steps: The step that the run ends at.
      tx: The optimizer.
      frozen: Names of the layers that do not learn.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: Classifier,
        train: Split,
        test: Split,
        parallel: Parallel,
        key: jax.Array | None = None,
        tx: optax.GradientTransformation | None = None,
        statistics: Callable[[], Statistics] | None = None,
    ) -> None:
        """Builds the optimizer and the steps.

        Args:
          config: A validated config.
          model: The network, `training=True`.
          train: Training batches.
          test: Test batches.
          parallel: The devices.
          key: Typed PRNG key, `()`; that of `config.seed` if not given.
          tx: The optimizer, instead of that of `config.optim`.
          statistics: Returns those that images are scaled by, instead of those of
            `train`.

        Raises:
          InputError: The model is no `Classifier` with a `net`, the images are too
            small for it or too few for a batch, it returns something else than
            `num_classes` logits, a metric or the channels of the images do not fit, or
            `optim.freeze`, `optim.rates` or `optim.params` do not fit its layers.
        """
        self.steps_per_epoch = len(train)
        self.num_steps = config.num_epochs * self.steps_per_epoch
        if config.num_train_steps is not None:
            self.num_steps = min(self.num_steps, config.num_train_steps)
        self._events = Events(config, self.steps_per_epoch, self.num_steps)
        self._config, self._model, self._parallel = config, model, parallel
        self._train, self._test = train, test
        sides = side_pair(config.data.image_size)
        self._input_shape = (1, *sides, train.image_shape[-1])
        layers = _check(config, model, train, self._input_shape)
        _check_parts(config, parallel.round_up(1))
        # The optimizer is the one reader of `lr`.
        updates = updates_of(model, config.optim.params)
        schedule = create_schedule(
            config.optim, model.lr, self.steps_per_epoch, config.num_epochs, updates
        )
        by_file = updates is not None and config.optim.learning_rate is None
        self._rate = None if by_file else model.lr
        self._rate_of_step = None
        if tx is None and not by_file:
            self._rate_of_step = rate_of_step(schedule, config.optim.decay_rate)
        local_model = parallel.local_model(model)
        tower_axis = getattr(local_model, "tower_axis", None)
        self.tx = tx or create_optimizer(config.optim, schedule, tower_axis, updates)
        # A step's key is a function of (seed, step), so none is saved.
        key = jax.random.key(config.seed) if key is None else key
        self._init_key, step_key = jax.random.split(key)
        self.frozen = freezing.NONE
        if config.optim.freeze or config.optim.rates:
            shapes = jax.eval_shape(self.draw)
            self.frozen = freezing.frozen_layers(
                config.optim, shapes.params, shapes.model_state
            )
        self._step_key = parallel.replicate(step_key)
        self._test_slice = parallel.local_slice(test.batch_size)
        self._preprocess = make_preprocessing(
            config, model, statistics or train.statistics
        )
        self._preprocess.check_channels(train.image_shape[-1])
        self._feed = create_feed(
            config, train, parallel, self._step_key, self._step_flop
        )
        self._train_step = make_train_step(
            local_model,
            self.tx,
            self._preprocess,
            augment=self._preprocess.augmented,
            loss=create_loss(config.optim),
            dtype=config.dtype,
            steps_per_epoch=self.steps_per_epoch,
            log_every_steps=config.log.every_steps,
            gradient_norms=config.log.gradients,
            frozen=self.frozen,
            accumulate_steps=config.optim.accumulate_steps,
            axis_name=parallel.axis_name,
        )
        eval_step = make_eval_step(
            local_model,
            self._preprocess,
            views=self._preprocess.views if config.eval.views > 1 else None,
            metrics=config.eval.metrics,
            dtype=config.dtype,
            axis_name=parallel.axis_name,
        )
        check_memory(
            config,
            jax.eval_shape(self.draw),
            layers,
            train.image_shape,
            data=parallel.round_up(1),
            eval_batch_size=test.batch_size,
            frozen=self.frozen,
        )
        self._evaluation: Any = parallel.compile_eval(eval_step)
        self._eval_step: Callable = self._evaluation  # until it is compiled ahead

    def draw(self) -> TrainState:
        """Draws a fresh state, by the run's seed."""
        return create_state(
            self._model, self.tx, self._input_shape, self._init_key, self.frozen
        )

    def put(self, state: TrainState) -> TrainState:
        """Puts a state, the same in every process, on the run's devices."""
        return self._parallel.put(state)

    def restore(self, checkpoints: Checkpoints, step: int) -> TrainState:
        """Loads a checkpoint, whichever devices wrote it."""
        return checkpoints.restore(step, jax.eval_shape(self.draw))

    def start_from(
        self, weights: dict[str, Any], remedy: str, say: Callable[[str], None]
    ) -> TrainState:
        """Draws a fresh state and puts another run's weights in, where they fit.

        Args:
          weights: From `weights.load_weights`.
          remedy: What an error says to do.
          say: Takes the lines that name what is taken and what is not.

        Raises:
          InputError: Nothing fits, or `checkpoint.init_layers` names what does not.
        """
        state = self.draw()
        drawn = {"params": state.params, "model_state": state.model_state}
        patterns = patterns_of(self._config.checkpoint.init_layers)
        channels = self._input_shape[-1]
        taken = take_layers(weights, drawn, patterns, channels, remedy)
        for line in taken.lines:
            say(f"weights   {line}")
        if stuck := [layer for layer in taken.fresh if layer in self.frozen]:
            say(f"warning   {', '.join(stuck)}: drawn fresh and frozen")
        return state.replace(**taken.weights)

    def evaluate(self, state: TrainState) -> Row:
        """Returns `test/NAME` for each of `eval.metrics`, and `eval_s`.

        Of the parameters' averages, where `optim.ema` is set.
        """
        start, sums = time.perf_counter(), list[Sums]()
        params = evaluated_params(state.params, state.opt_state)
        ahead = 0 if jax.default_backend() == "cpu" else _TESTS_AHEAD  # as _Fit says
        with Bar(len(self._test), "batches") as bar:
            for step in range(len(self._test)):
                host_batch = self._test.batch(step, self._test_slice)
                batch = self._parallel.shard_batch(host_batch)
                sums.append(self._eval_step(params, state.model_state, batch))
                jax.block_until_ready(sums[max(0, step - ahead)])
                if is_primary():
                    bar.update(step + 1, "testing")
        # They stay on the devices until now; added in float64, whatever the batches.
        total = functools.reduce(add_sums, jax.device_get(sums), dict[str, Any]())
        row = {f"test/{name}": value for name, value in finish_metrics(total).items()}
        return row | {"eval_s": time.perf_counter() - start}

    def _step_flop(self) -> float:
        """Returns the operations of a step's products on a device, without overhead."""
        macs = sum(row.macs for row in describe(self._model, self._input_shape))
        return 6 * macs * self._config.batch_size / self._parallel.round_up(1)

    def _compile(
        self, state: TrainState, step: int
    ) -> tuple[dict[int, Callable], float]:
        """Compiles all steps ahead, so that no speed contains it.

        Returns:
          Training steps, by how many a dispatch has, and the seconds that it took.
        """
        start = time.perf_counter()
        # To look at the layers, the state before the step is needed.
        donate = not self._config.debug.nans
        train_step = self._feed.wrap(self._train_step)
        wrapped: Any = self._parallel.compile_train(train_step, donate=donate)
        deterministic = self._config.debug.deterministic
        is_gpu = jax.default_backend() == "gpu"
        options = _DETERMINISTIC if deterministic and is_gpu else None
        compiled = {}
        for count in {1, self._feed.most}:
            if step + count > self.num_steps:
                continue
            sent = self._feed.send(step, count)
            lowered = wrapped.lower(state, sent, self._feed.shared)
            compiled[count] = lowered.compile(options)
        test = self._parallel.shard_batch(self._test.batch(0, self._test_slice))
        traced = self._evaluation.lower(state.params, state.model_state, test)
        self._eval_step = traced.compile(options)
        release_freed_memory()
        return compiled, time.perf_counter() - start

    def fit(
        self,
        state: TrainState,
        write: Callable[[Row], None],
        checkpoints: Checkpoints | RemoteCheckpoints | None = None,
        *,
        stop: StopSignal,
        seconds: float = 0.0,
        say: Callable[[str], None] = print,
        window: Callable[[Row], None] | None = None,
        stops_early: Callable[[int], bool] = lambda step: False,
    ) -> TrainState:
        """Trains from a state to `num_steps`.

        Args:
          state: Fresh or restored; its memory is used up.
          write: Takes a row at each epoch's end and every `log.every_steps`.
          checkpoints: Takes the state as `config.checkpoint` says, and at the end; None
            saves nothing.
          stop: Ends the run after the step in which a signal comes.
          seconds: What the run took before.
          say: Takes the lines that a person reads.
          window: Takes, before each row, `epoch` and the training metrics over the
            steps since the last row, where an epoch's row has those of the epoch.
          stops_early: Whether the run ends at a step, asked after each evaluated epoch;
            the same in every process.

        Returns:
          The state at the end.

        Raises:
          Stopped: SIGINT or SIGTERM came; the state was saved.
          RunError: The loss is not finite, all images of an epoch are broken, or a
            checkpoint cannot be written.
        """
        start = step = int(state.step)
        with spinner("compiling"):
            train_steps, compile_s = self._compile(state, start)
        say(f"compiled  in {compile_s:.1f} s")
        fit = _Fit(
            *(self, train_steps, write, checkpoints, stop, seconds, say, window, start)
        )
        with closing(fit.bar):
            while step < self.num_steps:
                count = self._events.count(step, self._feed.most)
                state, norms = fit.advance(state, step, count)
                step += count
                due = self._events.due(step)
                row = fit.record(state, norms, step, due)
                if due.epoch:
                    state = fit.after_epoch(state, row)
                ended = due.evaluate and step < self.num_steps and stops_early(step)
                fit.save(state, row, step, due._replace(save=due.save or ended), count)
                fit.progress(state, step)
                if ended:
                    break
        return state


class _Fit:
    """What one call of `Trainer.fit` does at a step, and its clocks."""

    def __init__(
        self,
        trainer: Trainer,
        train_steps: dict[int, Callable],
        write: Callable[[Row], None],
        checkpoints: Checkpoints | RemoteCheckpoints | None,
        stop: StopSignal,
        seconds: float,
        say: Callable[[str], None],
        window: Callable[[Row], None] | None,
        start: int,
    ) -> None:
        self._trainer, self._config = trainer, trainer._config
        self._train_steps, self._write, self._say = train_steps, write, say
        self._checkpoints, self._stop, self._window = checkpoints, stop, window
        # On CPUs steps queued ahead gain nothing; each holds its workspace, and
        # processes lock up if one runs ahead of the other's collectives.
        self._waits = jax.default_backend() == "cpu"
        self._began = time.perf_counter() - seconds
        self._meter, self._save_s = Meter(), 0.0
        best = checkpoints.best_top1() if checkpoints else -1.0
        self._interval = Interval(self._config.checkpoint.every_seconds, best)
        self._epoch_mark = self._window_mark = self._meter.mark()
        self._numbers: tuple[str, ...] = ()
        self.bar = Bar(trainer.num_steps, "steps", start)
        if is_primary():  # the first step may take long
            self.bar.update(start, self._epoch_label(start + 1))
            self.bar.draw()

    def advance(
        self, state: TrainState, step: int, count: int
    ) -> tuple[TrainState, Norms]:
        """Trains so many steps from a step on.

        Returns:
          The new state and the norms of the last step's gradients.
        """
        trainer, before = self._trainer, state
        for one in range(step, step + count):
            self._meter.add(trainer._train.count(one))
        feed = trainer._feed
        sent = feed.send(step, count)
        state, norms = self._train_steps[count](state, sent, feed.shared)
        if self._waits:
            jax.block_until_ready(state)
        if self._config.debug.nans:
            image = trainer._preprocess.augmented(
                jnp.asarray(trainer._train.batch(step)["image"]),
                augmentation_key(trainer._step_key, step),
                0,
                step // trainer.steps_per_epoch,
            )
            look_at_layers(trainer._model, self._config, before, state, image)
        return state, norms

    def record(self, state: TrainState, norms: Norms, step: int, due: Due) -> Row:
        """Writes the row of a step and returns it; an empty one if none is due.

        Raises:
          RunError: The loss is not finite, or all images of the epoch are broken.
        """
        if not (due.epoch or due.window):
            return {}
        trainer = self._trainer
        check_finite(state, trainer._rate)  # waits for the device
        self._meter.pause()
        row = {"step": step, "epoch": step / trainer.steps_per_epoch}
        recent = row | _train_means(state.window_sums)
        if self._window and not _is_empty(recent):
            self._window(recent)
        row = row | _train_means(state.epoch_sums) if due.epoch else recent
        if _is_empty(row):
            if due.epoch:
                raise RunError(
                    f"data.on_broken: all training images of the epoch up to step "
                    f"{step} are broken; prepare the data again"
                )
            return {}
        if due.evaluate:
            row |= trainer.evaluate(state)
        if trainer._rate_of_step:
            row["learning_rate"] = trainer._rate_of_step(step, state.opt_state)
        found = jax.device_get(norms)
        row |= {f"grad/{layer}": float(norm) for layer, norm in found.items()}
        mark = self._epoch_mark if due.epoch else self._window_mark
        row |= {
            "images_per_s": self._meter.images_per_s(mark),
            "save_s": self._save_s,
            "time_s": time.perf_counter() - self._began,
        }
        self._write(row)
        self._save_s = 0.0
        self._window_mark = self._meter.mark()
        return row

    def after_epoch(self, state: TrainState, row: Row) -> TrainState:
        """Prints the epoch's line and lowers the rate on a plateau."""
        self._epoch_mark = self._meter.mark()
        trainer = self._trainer
        self._say(
            epoch_line(
                *(row, self._config.num_epochs, trainer._model.num_classes),
                terminal_width(),
            )
        )
        opt_state = update_plateau(
            state.opt_state,
            row,
            self._config.optim,
            put=trainer._parallel.put,
            say=self._say,
        )
        return state.replace(opt_state=opt_state)

    def save(
        self, state: TrainState, row: Row, step: int, due: Due, count: int
    ) -> None:
        """Saves the state after so many steps, if that is due or a signal came.

        Raises:
          Stopped: A signal came.
        """
        received = self._received(step, count)
        is_due = due.save or (due.epoch and self._interval.due(row, due.named))
        if self._checkpoints and (is_due or received is not None):
            check_finite(state, self._trainer._rate)
            self._meter.pause()
            self._save_s += self._checkpoints.save(step, state, row)
            self._interval.saved(row)
        if received is not None and step < self._trainer.num_steps:
            place = step_text(
                *(step, self._trainer.num_steps, self._trainer.steps_per_epoch),
                self._config.num_epochs,
            )
            raise Stopped(received, step, place, state)
        self._meter.resume()

    def _received(self, step: int, count: int) -> int | None:
        """Returns the signal that any process received; all act on it at one step."""
        received = self._stop.received  # once: it may come at any moment
        if jax.process_count() == 1:
            return received
        passed = step // _AGREE_EVERY_STEPS > (step - count) // _AGREE_EVERY_STEPS
        if not passed and step < self._trainer.num_steps:
            return None
        return largest(received or 0) or None

    def progress(self, state: TrainState, step: int) -> None:
        """Moves the bar."""
        if not (is_primary() and self.bar.is_due()):
            return
        # At an epoch's end there is none of the next yet: the numbers stay.
        if self._meter.mark().images > self._epoch_mark.images:
            loss = means(state.epoch_sums)["loss"]
            speed = speed_text(self._meter.images_per_s(self._epoch_mark))
            self._numbers = f"loss {loss:.4f}", speed
        self.bar.update(step, self._epoch_label(step), self._numbers)

    def _epoch_label(self, step: int) -> str:
        epoch = max(1, math.ceil(step / self._trainer.steps_per_epoch))
        return f"epoch {epoch}/{self._config.num_epochs}"


def _check_parts(config: ConfigDict, devices: int) -> None:
    """Checks that each device can divide its images into `optim.accumulate_steps`."""
    parts, each = config.optim.accumulate_steps, config.batch_size // devices
    if each % parts:
        fitting = next(n for n in range(min(parts, each), 0, -1) if each % n == 0)
        raise InputError(
            f"optim.accumulate_steps must divide the {each} images of a batch on each "
            f"device, such as {fitting}, or set batch_size to a multiple "
            f"of {parts * devices}; got {parts}"
        )


def _train_means(sums: Any) -> Row:
    return {f"train/{name}": value for name, value in means(sums).items()}


def _is_empty(row: Row) -> bool:
    """Whether a row is of no example; a loss that is not finite has been reported."""
    return math.isnan(row["train/loss"])


def _check(
    config: ConfigDict, model: Classifier, train: Split, input_shape: tuple[int, ...]
) -> list[tuple[str, tuple[int, ...]]]:
    """Returns the network's layers with their shapes for one image."""
    check_classifier(model)
    if config.batch_size > train.num_examples:
        raise InputError(
            f"batch_size must be at most {train.num_examples}, the training images of "
            f"{config.data.name}; got {config.batch_size}"
        )
    if config.num_epochs * len(train) >= MAX_STEPS:
        raise InputError(
            f"num_epochs must be below {MAX_STEPS // len(train):,}: epochs of "
            f"{len(train):,} steps would be more steps than 32 bits count; got "
            f"{config.num_epochs}"
        )
    layers = model.layer_shapes(input_shape)
    last, shape = layers[-1]
    if shape != (1, model.num_classes):
        raise InputError(
            f"{type(model).__name__} must return (batch, {model.num_classes}), a "
            f"logit for each of its num_classes; its last layer, {last}, returns "
            f"{('batch', *shape[1:])}"
        )
    check_metrics(config.eval.metrics)
    return layers
