"""d2l's `Trainer` over the loop of the command line."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from alexnet_jax import loop
from alexnet_jax.config import default_config, validate
from alexnet_jax.d2l.board import ProgressBoard
from alexnet_jax.d2l.data import to_batches
from alexnet_jax.errors import InputError
from alexnet_jax.models import Classifier
from alexnet_jax.parallel import DataParallel
from alexnet_jax.run.records import Row, is_evaluation
from alexnet_jax.run.signals import Stopped, noted_signals
from alexnet_jax.step import TrainState


def gpus() -> list[jax.Device]:
    """Returns the GPUs."""
    return [device for device in jax.devices() if device.platform == "gpu"]


def num_gpus() -> int:
    """Returns how many GPUs there are."""
    return len(gpus())


class Trainer:
    """Trains a `Classifier` as d2l's `Trainer` does, by the loop of the command line.

    Attributes:
      state: After `fit`, the `TrainState`; `state.params` are the parameters.
      epoch: Epochs done.
      train_batch_idx: Steps done.
      board: The curves `train_loss`, `val_loss` and `val_acc`.
      picture: Where a script's curves were saved; None in a notebook.
    """

    def __init__(
        self,
        max_epochs: int,
        num_gpus: int = 0,
        gradient_clip_val: float = 0,
        *,
        max_steps: int | None = None,
    ) -> None:
        """Chooses the devices.

        Args:
          max_epochs: Epochs to train for.
          num_gpus: GPUs that share a batch; 1 without a GPU, and 0, take the CPU.
          gradient_clip_val: Norm that the gradient is clipped to; 0 does not.
          max_steps: Steps to stop after; None trains all epochs.

        Raises:
          InputError: `num_gpus` is more than there are.
        """
        there = gpus()
        if num_gpus > max(len(there), 1):
            raise InputError(
                f"num_gpus must be at most {len(there)}, the GPUs here; got {num_gpus}"
            )
        if num_gpus and not there:
            print("num_gpus: there is no GPU here; the CPU is used")
        self.max_epochs, self.max_steps = max_epochs, max_steps
        self.gradient_clip_val = gradient_clip_val
        self.gpus = there[:num_gpus]
        self.state: TrainState | None = None
        self.epoch = self.train_batch_idx = 0
        self.board = ProgressBoard(xlabel="epoch", xlim=(0, max_epochs))
        self.picture: Path | None = None

    def fit(self, model: Classifier, data: Any, key: jax.Array | None = None) -> None:
        """Trains the network.

        Args:
          model: With `lr`, `num_classes` and a `net` of layers, `training=True`.
          data: `FashionMNIST`, or an object with `train_dataloader()` and
            `val_dataloader()`.
          key: PRNG key, `()`, for parameters and dropout; that of seed 0 if not given.

        Raises:
          InputError: The model or the data cannot be used.
        """
        devices = self.gpus or jax.devices("cpu")[:1]
        train, test = to_batches(data)
        if train.batch_size % len(devices) or test.batch_size % len(devices):
            raise InputError(
                f"batch_size must be a multiple of the {len(devices)} GPUs that share "
                f"it; got {train.batch_size}"
            )
        config = default_config()
        config.num_epochs, config.num_train_steps = self.max_epochs, self.max_steps
        config.batch_size = train.batch_size
        config.data.image_size = getattr(data, "resize", train.image_shape[:2])
        config.optim.clip_norm = float(self.gradient_clip_val)
        # Two points of train_loss an epoch, as d2l has them, and in a shorter run.
        steps = (
            len(train) if self.max_steps is None else min(len(train), self.max_steps)
        )
        config.log.every_steps = -(-steps // 2)
        validate(config)
        if key is not None and not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.wrap_key_data(key)  # of `jax.random.PRNGKey`
        trainer = loop.Trainer(config, model, train, test, DataParallel(devices), key)
        self.board.xlim = (0, trainer.num_steps / trainer.steps_per_epoch)
        say = (lambda text: None) if self.board.display else print
        try:
            with noted_signals() as stop:
                state = trainer.put(trainer.draw())
                self.state = trainer.fit(
                    state,
                    self._draw,
                    stop=stop,
                    say=say,
                    window=self._draw_loss,
                )
        except Stopped:
            raise KeyboardInterrupt from None
        self.train_batch_idx = int(self.state.step)
        self.epoch = self.train_batch_idx // trainer.steps_per_epoch
        if not self.board.display:
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(model).__name__).lower()
            self.picture = Path(f"{name}.png")
            self.board.save(self.picture)
            print(f"curves    {self.picture}")

    def _draw_loss(self, window: Row) -> None:
        """Draws the mean loss of half an epoch's examples."""
        self.board.draw(window["epoch"], window["train/loss"], "train_loss")

    def _draw(self, row: Row) -> None:
        """Draws the test result of a row that has one."""
        if is_evaluation(row):
            self.board.draw(row["epoch"], row["test/loss"], "val_loss")
            self.board.draw(row["epoch"], row["test/top1"], "val_acc")
