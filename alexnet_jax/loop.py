"""The loop: steps, evaluation, records and checkpoints in their order."""

import ctypes
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from alexnet_jax.data import Split
from alexnet_jax.errors import InputError
from alexnet_jax.gradients import make_gradient_norms
from alexnet_jax.inspection.nonfinite import check_finite, look_at_layers
from alexnet_jax.metrics import means, shows_top5
from alexnet_jax.models import Classifier
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.parallel import Parallel
from alexnet_jax.parallel.multihost import is_primary, largest
from alexnet_jax.plateau import update_plateau
from alexnet_jax.preprocessing.pipeline import make_prepare
from alexnet_jax.run.checkpoints import Checkpoints, RemoteCheckpoints
from alexnet_jax.run.progress import Meter, Progress, epoch_line
from alexnet_jax.run.records import Row
from alexnet_jax.run.signals import Stopped, StopSignal
from alexnet_jax.run.weights import check_same_arrays
from alexnet_jax.step import (
    TrainState,
    augmentation_key,
    create_state,
    make_eval_step,
    make_train_step,
)

# To ask the other processes takes a moment, in which the devices wait.
_AGREE_EVERY_STEPS = 10


class Due(NamedTuple):
    """What is to be done after a step."""

    epoch: bool  # a line and a row over the whole epoch
    window: bool  # a row over the steps since the last row
    evaluate: bool
    save: bool


class Trainer:
    """A network, its data and its steps on the devices.

    Attributes:
      steps_per_epoch: Steps in an epoch, the padded last one included.
      num_steps: The step that the run ends at.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: Classifier,
        train: Split,
        test: Split,
        parallel: Parallel,
        key: jax.Array | None = None,
    ) -> None:
        """Builds the optimizer and the steps.

        Args:
          config: A validated config.
          model: The network, `training=True`.
          train: Training batches.
          test: Test batches.
          parallel: The devices.
          key: Typed PRNG key, `()`; that of `config.seed` if not given.

        Raises:
          InputError: The images are too small for the network or too few for a batch,
            or the network puts out something else than `num_classes` logits.
        """
        if config.batch_size > train.num_examples:
            raise InputError(
                f"batch_size must be at most {train.num_examples}, the training images "
                f"of {config.data.name}; got {config.batch_size}"
            )
        self.steps_per_epoch = len(train)
        self.num_steps = config.num_epochs * self.steps_per_epoch
        if config.num_train_steps is not None:
            self.num_steps = min(self.num_steps, config.num_train_steps)
        self._config, self._model, self._parallel = config, model, parallel
        self._train, self._test = train, test
        size = config.data.image_size
        self._input_shape = (1, size, size, train.image_shape[-1])
        *_, (last, shape) = model.layer_shapes(self._input_shape)
        if shape != (1, model.num_classes):
            raise InputError(
                f"{type(model).__name__} must put out (batch, {model.num_classes}), a "
                f"logit for each of its num_classes; its last layer, {last}, puts out "
                f"{('batch', *shape[1:])}"
            )
        # The optimizer is the one reader of `lr`.
        schedule = create_schedule(
            config.optim, model.lr, self.steps_per_epoch, config.num_epochs
        )
        local = parallel.local(model)
        tower_axis = getattr(local, "tower_axis", None)
        self._tx = create_optimizer(config.optim, schedule, tower_axis)
        # A step's key is a function of (seed, step), so none is saved.
        key = jax.random.key(config.seed) if key is None else key
        self._init_key, step_key = jax.random.split(key)
        self._step_key = parallel.share(step_key)
        self._rows = parallel.rows(config.batch_size)
        self._test_rows = parallel.rows(test.batch_size)
        # On CPUs steps queued ahead gain nothing; each holds its workspace, and
        # processes lock up if one runs ahead of the other's collectives.
        self._waits = jax.default_backend() == "cpu"
        scale = config.data.scale
        scale = model.author_scale if scale == "author" else scale
        self._prepare = make_prepare(scale, train.statistics, size, config.augment)
        self._prepare.check_channels(train.image_shape[-1])
        make_step = partial(
            make_train_step,
            local,
            prepare=self._prepare,
            augment=self._prepare.augmented,
            dtype=config.dtype,
            steps_per_epoch=self.steps_per_epoch,
            log_every_steps=config.log.every_steps,
            axis_name=parallel.axis_name,
        )
        self._train_step = make_step(self._tx)
        self._norms = make_gradient_norms(make_step, parallel, tower_axis)
        eval_step = make_eval_step(
            local,
            self._prepare,
            views=self._prepare.views if config.eval.views > 1 else None,
            dtype=config.dtype,
            axis_name=parallel.axis_name,
        )
        self._evaluation: Any = parallel.compile_eval(eval_step)
        self._eval_step: Callable = self._evaluation  # until it is compiled ahead

    def draw(self) -> TrainState:
        """Draws a fresh state, by the run's seed."""
        return create_state(self._model, self._tx, self._input_shape, self._init_key)

    def place(self, state: TrainState) -> TrainState:
        """Puts a state, the same in every process, on the run's devices."""
        return self._parallel.place(state)

    def restore(self, checkpoints: Checkpoints, step: int) -> TrainState:
        """Loads a checkpoint, whichever devices wrote it."""
        return checkpoints.restore(step, jax.eval_shape(self.draw))

    def start_from(self, weights: dict[str, Any]) -> TrainState:
        """Draws a fresh state and puts another run's weights in.

        Args:
          weights: From `weights.load_weights`.

        Raises:
          InputError: They are another network's.
        """
        state = self.draw()
        fresh = {"params": state.params, "model_state": state.model_state}
        check_same_arrays(weights, fresh, "checkpoint.init_from")
        return state.replace(**weights)

    def evaluate(self, state: TrainState) -> Row:
        """Returns `test/loss`, `/top1`, `/top5` and `eval_s`, each example once."""
        start, total = time.perf_counter(), dict[str, float]()
        for step in range(len(self._test)):
            batch = self._parallel.split(self._test.batch(step, self._test_rows))
            sums = self._eval_step(state.params, state.model_state, batch)
            for name, value in jax.device_get(sums).items():
                total[name] = total.get(name, 0.0) + float(value)
        row = {f"test/{name}": value for name, value in means(total).items()}
        return row | {"eval_s": time.perf_counter() - start}

    def _due(self, step: int) -> Due:
        """Says what comes after the step, counted from 1."""
        config = self._config
        epoch, position = divmod(step, self.steps_per_epoch)
        last = step == self.num_steps
        save_every_steps = config.checkpoint.every_steps

        def every(epochs: int) -> bool:
            return last or (position == 0 and epoch % epochs == 0)

        return Due(
            epoch=last or position == 0,
            window=position % config.log.every_steps == 0,
            evaluate=every(config.eval.every_epochs),
            save=every(config.checkpoint.every_epochs)
            or (save_every_steps is not None and step % save_every_steps == 0),
        )

    def _stopping(self, stop: StopSignal, step: int) -> int | None:
        """Returns the signal that any process received, and all heed at one step."""
        received = stop.received  # once: it may come at any moment
        if jax.process_count() == 1:
            return received
        if step % _AGREE_EVERY_STEPS and step < self.num_steps:
            return None
        return largest(received or 0) or None

    def _measure(self, state: TrainState, step: int, due: Due) -> Row:
        """Returns the row of a step, without what the clock has to say."""
        sums = state.epoch_sums if due.epoch else state.window_sums
        row = {"step": step, "epoch": step / self.steps_per_epoch}
        row |= {f"train/{name}": value for name, value in means(sums).items()}
        return row | self.evaluate(state) if due.evaluate else row

    def _gradient_norms(
        self, state: TrainState, shares: Any, due: Due, meter: Meter
    ) -> Row:
        """Returns `grad/LAYER` of the step to come, if its row is to have them."""
        if not (self._config.log.gradients and (due.epoch or due.window)):
            return {}
        jax.block_until_ready(state)  # the steps before are the meter's
        meter.pause()
        norms = self._norms(state, shares, self._step_key)
        meter.resume()
        return norms

    def _compile(self, state: TrainState, step: int) -> tuple[Callable, float]:
        """Compiles both steps ahead, so that no speed contains it."""
        start = time.perf_counter()
        # To look at the layers, the state before the step is needed.
        donate = not self._config.debug.nans
        wrapped: Any = self._parallel.compile_train(self._train_step, donate=donate)
        batch = self._parallel.split(self._train.batch(step, self._rows))
        compiled = wrapped.lower(state, batch, self._step_key).compile()
        test = self._parallel.split(self._test.batch(0, self._test_rows))
        traced = self._evaluation.lower(state.params, state.model_state, test)
        self._eval_step = traced.compile()
        _release_freed_memory()
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

        Returns:
          The state at the end.

        Raises:
          Stopped: SIGINT or SIGTERM came; the state was saved.
          RunError: The loss is not finite, or a checkpoint cannot be written.
        """
        start = int(state.step)
        train_step, compile_s = self._compile(state, start)
        say(f"compiled  in {compile_s:.1f} s")
        began = time.perf_counter() - seconds
        meter, save_s = Meter(), 0.0
        epoch_mark = window_mark = meter.mark()
        progress = Progress(start, self.num_steps)
        with closing(progress):
            for step in range(start + 1, self.num_steps + 1):
                batch = self._train.batch(step - 1, self._rows)
                meter.add(self._train.count(step - 1))
                due, before = self._due(step), state
                shares = self._parallel.split(batch)
                norms = self._gradient_norms(state, shares, due, meter)
                state = train_step(state, shares, self._step_key)
                if self._waits:
                    jax.block_until_ready(state)
                if self._config.debug.nans:
                    image = self._prepare.augmented(
                        jnp.asarray(batch["image"]),
                        augmentation_key(self._step_key, step - 1),
                        0,
                        (step - 1) // self.steps_per_epoch,
                    )
                    look_at_layers(self._model, self._config, before, state, image)
                row = Row()
                if due.epoch or due.window:
                    check_finite(state, self._model.lr)  # waits for the device
                    meter.pause()
                    mark = epoch_mark if due.epoch else window_mark
                    row = self._measure(state, step, due) | norms
                    row |= {
                        "images_per_s": meter.images_per_s(mark),
                        "save_s": save_s,
                        "time_s": time.perf_counter() - began,
                    }
                    write(row)
                    save_s = 0.0
                    window_mark = meter.mark()
                if due.epoch:
                    epoch_mark = meter.mark()
                    progress.clear()
                    top5 = shows_top5(self._model.num_classes)
                    say(epoch_line(row, self._config.num_epochs, top5=top5))
                    state = state.replace(
                        opt_state=update_plateau(
                            state.opt_state,
                            row,
                            self._config.optim,
                            place=self._parallel.place,
                            say=say,
                        )
                    )
                stopping = self._stopping(stop, step)
                if checkpoints and (due.save or stopping is not None):
                    check_finite(state, self._model.lr)
                    meter.pause()
                    save_s += checkpoints.save(step, state, row)
                if stopping is not None and step < self.num_steps:
                    raise Stopped(stopping, step)
                meter.resume()
                if is_primary() and progress.due():
                    loss = means(state.epoch_sums)["loss"]
                    progress.show(step, loss, meter.images_per_s(epoch_mark))
        return state


def _release_freed_memory() -> None:
    """Hands back to the system what compiling freed: 0.2 GB that glibc would keep."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
