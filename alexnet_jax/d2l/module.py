"""d2l's `Module` and `Classifier`: what a reader overrides, and what it does if not."""

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state

from alexnet_jax.d2l.base import HyperParameters
from alexnet_jax.d2l.board import ProgressBoard
from alexnet_jax.errors import InputError, RunError


class TrainState(train_state.TrainState):
    """What d2l's hooks are given as `state`, and what `fit` leaves.

    Attributes:
      batch_stats: BatchNorm's running statistics; empty without BatchNorm.
      dropout_rng: Typed PRNG key, `()`, another at each step.
      others: Mutable collections under other names.
    """

    batch_stats: Any = struct.field(default_factory=dict)
    dropout_rng: Any = None
    others: Any = struct.field(default_factory=dict)

    @property
    def model_state(self) -> dict[str, Any]:
        """The network's mutable collections, by name."""
        return collections(self)


def collections(state: Any) -> dict[str, Any]:
    """Returns a state's mutable collections, by name."""
    batch_stats = getattr(state, "batch_stats", None)
    found = {"batch_stats": batch_stats} if batch_stats else {}
    return found | dict(getattr(state, "others", {}))


class Module(nn.Module, HyperParameters):
    """A network with its loss and its optimizer, as d2l's of the same name.

    A class of one's own has a `net`, or a `forward`, and a `loss`. What it overrides
    is called by `Trainer.fit`. X is a tuple: what a batch holds before its last, y.

    Attributes:
      plot_train_per_epoch: Points of `train_...` curves an epoch.
      plot_valid_per_epoch: Points of `val_...` curves an epoch.
      board: The curves.

    Source: d2l.ai §3.2, `d2l.Module`.
    """

    plot_train_per_epoch: int = field(default=2, init=False)
    plot_valid_per_epoch: int = field(default=1, init=False)
    board: ProgressBoard = field(default_factory=ProgressBoard, init=False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuses a constructor, whose arguments Flax does not hand on to copies.

        Raises:
          InputError: The class has one.
        """
        if "__init__" in vars(cls):
            raise InputError(
                f"{cls.__name__}: a network has no __init__ of its own; write its "
                "arguments as fields (lr: float = 0.1), as the book's JAX code does"
            )
        super().__init_subclass__(**kwargs)

    def __call__(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns `forward` of the same arguments."""
        return self.forward(X, *args, **kwargs)

    @nn.nowrap
    def forward(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns `net` of the same arguments.

        Raises:
          InputError: There is no `net`.
        """
        net = getattr(self, "net", None)
        if net is None:
            raise InputError(
                f"{type(self).__name__} must fill self.net in its setup, or define "
                "forward(self, X)"
            )
        return net(X, *args, **kwargs)

    @nn.nowrap
    def loss(self, params: Any, X: Any, y: Any, state: Any) -> Any:
        """To be defined: the loss of a batch, `()`.

        Args:
          params: The parameters to take the gradient of.
          X: Tuple of what a batch holds before its last, `(B, ...)` each.
          y: The last, `(B, ...)`.
          state: The `TrainState`; `state.apply_fn` applies the network.

        Raises:
          InputError: It is not defined.
        """
        raise InputError(
            f"{type(self).__name__} defines no loss(); define loss(self, params, X, y, "
            "state) that returns a scalar"
        )

    @nn.nowrap
    def configure_optimizers(self) -> optax.GradientTransformation:
        """Returns the optimizer: SGD at rate `lr`.

        Raises:
          InputError: There is no `lr`.
        """
        if not hasattr(self, "lr"):
            raise InputError(
                f"{type(self).__name__} has no lr; give it the field lr: float, or "
                "define configure_optimizers()"
            )
        return optax.sgd(self.lr)

    @nn.nowrap
    def apply_init(self, dummy_input: Sequence[Any], key: Any) -> Any:
        """Returns fresh variables.

        Args:
          dummy_input: A batch without its last.
          key: PRNG keys by name, `params` and `dropout`.
        """
        return jax.jit(self.init)(key, *dummy_input)

    @nn.nowrap
    def training_step(self, params: Any, batch: Any, state: Any) -> Any:
        """Returns the loss of a batch and its gradient, and plots the loss."""
        value_and_grad = jax.value_and_grad(scalar_loss(self, has_aux=False))
        value, grads = value_and_grad(params, batch[:-1], batch[-1], state)
        self.plot("loss", value, train=True)
        return value, grads

    @nn.nowrap
    def validation_step(self, params: Any, batch: Any, state: Any) -> None:
        """Plots the loss of a batch."""
        value = self.loss(params, batch[:-1], batch[-1], state)
        self.plot("loss", value, train=False)

    @nn.nowrap
    def plot(self, key: str, value: Any, train: bool) -> None:
        """Adds a batch's value to the curve `train_KEY` or `val_KEY`.

        Args:
          key: Such as `loss`.
          value: `()`.
          train: Whether the batch is one to train on.

        Raises:
          InputError: `Trainer.fit` has not begun, or the value is no number.
          RunError: It is a loss that is not finite.
        """
        trainer = getattr(self, "trainer", None)
        if trainer is None:
            raise InputError("plot needs model.trainer, which d2l.Trainer.fit sets")
        if train:
            batches, points = trainer.num_train_batches, self.plot_train_per_epoch
            x = trainer.train_batch_idx / batches
            # As many points in a shorter run.
            batches = min(batches, getattr(trainer, "max_steps", None) or batches)
        else:
            batches, points = trainer.num_val_batches, self.plot_valid_per_epoch
            x = trainer.epoch + 1
        self.board.xlabel = "epoch"
        label = f"{'train' if train else 'val'}_{key}"
        if isinstance(value, jax.core.Tracer):
            raise InputError(
                f"{type(self).__name__}: plot({key!r}) needs a number, which is not "
                "known inside jax.jit or jax.grad; call it outside"
            )
        if jnp.shape(value) != ():
            raise InputError(
                f"{type(self).__name__}: plot({key!r}) needs one number, such as a "
                f"mean over the batch; got shape {jnp.shape(value)}"
            )
        if "loss" in key and not math.isfinite(float(value)):
            raise RunError(
                f"loss: {label} is {float(value)} in epoch {trainer.epoch + 1}, after "
                f"{trainer.train_batch_idx} steps; lower the learning rate, or look at "
                "the labels and at the loss"
            )
        self.board.draw(x, value, label, every_n=max(1, int(batches / points)))


def scalar_loss(model: Any, has_aux: bool) -> Callable[..., Any]:
    """Returns `model.loss`, its answer checked and, with `has_aux`, made a pair."""

    def loss(params: Any, X: Any, y: Any, state: Any) -> Any:
        answer = model.loss(params, X, y, state)
        value, aux = answer if isinstance(answer, tuple) else (answer, {})
        if jnp.shape(value) != ():
            raise InputError(
                f"{type(model).__name__}: loss must return a scalar, the mean over the "
                f"batch; got shape {jnp.shape(value)}"
            )
        return (value, aux) if has_aux else value

    return loss
