"""d2l's `Trainer`: by the loop of the command line, or by the book's.

Both train the same network to the same parameters. The command line's is faster; the
book's calls what a reader overrides.
"""

import functools
import re
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.d2l.base import HyperParameters, overridden
from alexnet_jax.d2l.batches import check_prepared
from alexnet_jax.d2l.board import ProgressBoard, save_curves
from alexnet_jax.d2l.by_loop import fit_by_loop, settings
from alexnet_jax.d2l.checks import (
    as_key,
    check_finite_losses,
    check_inputs,
    check_update,
    named_flax_errors,
    num_logits,
)
from alexnet_jax.d2l.classifier import Classifier
from alexnet_jax.d2l.data import as_sides, is_prepared
from alexnet_jax.d2l.examples import Examples
from alexnet_jax.d2l.functions import gpus
from alexnet_jax.d2l.hooks import (
    check_model,
    check_optimizer,
    check_trainer,
    own_forward,
    parse_step,
    uses_own_hooks,
)
from alexnet_jax.d2l.loaders import loaders, num_batches
from alexnet_jax.d2l.module import Module, TrainState
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.run.rows import Row, is_evaluation


class Trainer(HyperParameters):
    """Trains a network and calls what it overrides, as d2l's `Trainer` does.

    A `Classifier` on images goes through the loop of the command line, with its own
    `configure_optimizers` if it has one. One that overrides more, any other `Module`
    and a trainer with methods of its own go through the book's loop below.

    Attributes:
      epoch: Epochs done; while `fit_epoch` runs, those before.
      train_batch_idx: Steps done.
      board: The network's curves, such as `train_loss`, `val_loss` and `val_acc`.
      picture: Where a script's curves were saved; None in a notebook, and if they
        could not be.
    """

    # For an __init__() of one's own that leaves them out.
    max_epochs: int
    max_steps: int | None = None
    num_gpus: int = 0
    gradient_clip_val: float = 0
    gpus: Sequence[jax.Device] = ()
    board: Any = None
    picture: Path | None = None
    epoch = train_batch_idx = val_batch_idx = 0
    _first_board: Any = None
    _state: Any = None
    _fitted: Any = None
    _apply_fns: tuple[Any, ...] = ()  # to evaluate, to train

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
          InputError: `num_gpus` is no number of GPUs, or more than there are.
        """
        there = gpus()
        if not isinstance(num_gpus, Integral) or num_gpus < 0:
            raise InputError(
                f"num_gpus must be an integer of at least 0; got {num_gpus!r}"
            )
        if num_gpus > max(len(there), 1):
            raise InputError(
                f"num_gpus must be at most {len(there)}, the GPUs here; got {num_gpus}"
            )
        if num_gpus and not there:
            print("num_gpus: there is no GPU here; the CPU is used")
        self.max_epochs, self.max_steps = max_epochs, max_steps
        self.num_gpus, self.gradient_clip_val = num_gpus, gradient_clip_val
        self.gpus = there[:num_gpus]
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        self.board = ProgressBoard(xlabel="epoch", xlim=(0, max_epochs))
        self._first_board = self.board
        self.picture = None

    @property
    def state(self) -> Any:
        """The `TrainState`; None before `fit`.

        `apply_fn` is another object while the network evaluates than while it trains:
        it is part of what `jax.jit` keeps a program by, and a network that is a static
        argument, as in the book's own `loss`, is not: it is the same one, changed.
        """
        state = self._state
        apply_fn = getattr(state, "apply_fn", None)
        owner = getattr(
            apply_fn, "__self__", None
        )  # of `model.apply`, in one's own fit
        if isinstance(owner, Module) and owner is not self._fitted:
            self._take_model(owner)
        if apply_fn in self._apply_fns or (owner is not None and owner is self._fitted):
            phase = bool(getattr(self._fitted, "training", False))
            return state.replace(apply_fn=self._apply_fns[phase])
        return state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state

    @property
    def devices(self) -> list[jax.Device]:
        """The devices that share a batch."""
        return list(self.gpus) or jax.devices("cpu")[:1]

    def fit(self, model: Any, data: Any, key: Any = None) -> None:
        """Trains the network; leaves `model.training` False, as the book does.

        Args:
          model: A `Classifier` or a `Module`.
          data: A data module, or an object with `train_dataloader()` and
            `val_dataloader()`.
          key: PRNG key, `()`, or its seed, for parameters and dropout; seed 0 if not
            given.

        Raises:
          InputError: The model, the data or the key cannot be used, or what is
            overridden cannot be honored.
          RunError: The loss or the parameters are not finite.
        """
        own = overridden(self, _STOCK)
        check_trainer(self, own, model)
        check_model(model, own_epoch="fit_epoch" in own)
        key = as_key(key)
        settings(self)
        if self.board is None:  # an __init__() of one's own
            self.board = ProgressBoard(xlabel="epoch", xlim=(0, self.max_epochs))
            self._first_board = self.board
        # An earlier fit's are gone, should this one fail.
        self.state, self.epoch = None, 0
        self.train_batch_idx = self.val_batch_idx = 0
        self._take_model(model)
        model.trainer = self  # configure_optimizers() may ask it for the steps
        model.training = True
        try:
            if not own:
                self.prepare_data(data)
            if own or uses_own_hooks(model, data):
                self._fit_by_hooks(model, data, key, own)
            else:
                self._take_board(model)
                self._begin_board()
                fit_by_loop(self, model, data, key)
        except KeyboardInterrupt:
            self._save_picture(model)
            raise
        finally:
            model.training = False
        self._save_picture(model)

    def _save_picture(self, model: Any) -> None:
        """Saves a script's curves; those of no point are not."""
        if not self.board.display and any(self.board.data.values()):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(model).__name__).lower()
            self.picture = save_curves(self.board, name)

    def _begin_board(self) -> None:
        """Lets what an earlier fit left over count for no point of this one."""
        if isinstance(self.board, ProgressBoard):
            self.board.begin((0, self.max_epochs))

    def prepare_data(self, data: Any) -> None:
        """Sets the loaders and their lengths.

        Raises:
          InputError: There is none to train on, or one is empty.
        """
        self.train_dataloader, self.val_dataloader = loaders(data)
        self.num_train_batches = num_batches(self.train_dataloader)
        self.num_val_batches = num_batches(self.val_dataloader)

    def prepare_model(self, model: Any) -> None:
        """Makes model and trainer known to each other."""
        self._take_board(model)
        model.trainer = self
        self.model = model

    def prepare_batch(self, batch: Any) -> Any:
        """Returns a batch on the devices, divided between several."""
        return tuple(self._put(part) for part in batch)

    def clip_gradients(self, grad_clip_val: float, grads: Any) -> Any:
        """Returns the gradient, no longer than `grad_clip_val`."""
        clip = optax.clip_by_global_norm(grad_clip_val)
        return clip.update(grads, clip.init(grads))[0]

    def fit_epoch(self) -> None:
        """Trains on all batches, then validates."""
        self.model.training = True
        losses = []
        for batch in self.train_dataloader:
            if self._has_ended():
                break
            batch = self.prepare_batch(batch)
            self.model.board.weight = len(batch[-1])
            params = self.state.params
            answer = self.model.training_step(params, batch, self.state)
            value, updates, grads = parse_step(self.model, answer, self.state)
            losses.append(value)
            if self.gradient_clip_val > 0:
                grads = self.clip_gradients(self.gradient_clip_val, grads)
            state = _apply_gradients(self.state, grads)
            if getattr(state, "dropout_rng", None) is not None:
                updates["dropout_rng"] = jax.random.split(state.dropout_rng)[0]
            self.state = state.replace(**updates)
            self.train_batch_idx += 1
        check_finite_losses(losses, self.epoch)  # a plot() of one's own does not
        if self.val_dataloader is None:
            return
        self.model.training = False
        for batch in self.val_dataloader:
            batch = self.prepare_batch(batch)
            self.model.board.weight = len(batch[-1])
            self.model.validation_step(self.state.params, batch, self.state)
            self.val_batch_idx += 1

    def _fit_by_hooks(
        self, model: Any, data: Any, key: jax.Array, own: Sequence[str]
    ) -> None:
        """Trains as the book does, by methods that may be overridden."""
        own_epoch = "fit_epoch" in own
        if own_epoch and self.max_steps is not None:
            raise InputError(
                "max_steps is not honored by a fit_epoch() of your own; leave it out "
                "and stop there"
            )
        with (
            jax.default_device(self.devices[0]),
            # The book's code is written for JAX's own settings.
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            if own:
                self.prepare_data(data)
            self.prepare_model(model)
            self.board = self._taken = model.board  # one of one's own may set it alone
            self._begin_board()
            self.model = model
            self._wrap_loaders(model, data)
            self._create_state(model, key, clip=own_epoch)
            self._check_batches(model, data)
            self.train_batch_idx = self.val_batch_idx = 0
            for epoch in range(self.max_epochs):
                self.epoch = epoch
                with named_flax_errors(model):
                    self.fit_epoch()
                self._after_epoch()
                if self._has_ended():
                    break
        self.epoch = self.max_epochs
        if self.max_steps is not None:
            self.epoch = self.train_batch_idx // self.num_train_batches

    def _wrap_loaders(self, model: Any, data: Any) -> None:
        """Has batches scaled and checked, as the other loop does."""
        classifies = isinstance(model, Classifier)
        resize = getattr(data, "resize", None) if classifies else None
        kinds: dict[str, Any] = {
            "classifies": classifies,
            "pairs": classifies and not own_forward(model),
            "resize": None if resize is None else as_sides(resize),
        }
        self.train_dataloader = train = Examples(
            self.train_dataloader, "train_dataloader()", **kinds
        )
        self._first_batch = train.first()
        if self.val_dataloader is not None:
            shape = np.shape(self._first_batch[0])[1:] if kinds["pairs"] else None
            self.val_dataloader = Examples(
                self.val_dataloader, "val_dataloader()", **kinds, shape=shape
            )

    def _create_state(self, model: Any, key: jax.Array, clip: bool) -> None:
        """Draws the state; with `clip`, the optimizer clips, as nothing else may."""
        self.optim = tx = check_optimizer(model)
        if clip and self.gradient_clip_val > 0:
            tx = optax.chain(optax.clip_by_global_norm(self.gradient_clip_val), tx)
        params_key, dropout_key = jax.random.split(key)
        batch = self._first_batch
        if len(batch[-1]) % len(self.devices):
            raise InputError(
                f"batch_size must be a multiple of the {len(self.devices)} GPUs that "
                f"share it; got {len(batch[-1])}"
            )
        self._dummy = self.prepare_batch(batch)[:-1]
        keys = {"params": params_key, "dropout": dropout_key}
        variables = dict(model.apply_init(self._dummy, key=keys))
        if "params" not in variables:
            raise InputError(
                f"{type(model).__name__}: apply_init must return the variables of "
                "model.init, with params"
            )
        check_update(model, tx, variables["params"])
        if len(self.devices) > 1:
            variables = jax.device_put(variables, self._sharding())
        self.state = TrainState.create(
            apply_fn=self._apply_fns[True],
            params=variables.pop("params"),
            tx=tx,
            batch_stats=variables.pop("batch_stats", {}),
            dropout_rng=dropout_key,
            others=variables,
        )

    def _check_batches(self, model: Any, data: Any) -> None:
        """Looks at the logits, and then at all batches."""
        own_loss = bool(overridden(model, {"loss": _LOSS}))
        classes = None
        if isinstance(model, Classifier):
            classes = num_logits(model, self.state, self._dummy, own_loss)
        if classes and is_prepared(data) and not (own_loss and classes == 1):
            check_prepared(data, classes)
        for loader in (self.train_dataloader, self.val_dataloader):
            if loader is not None:
                loader.classes, loader.own_loss = classes, own_loss
                loader.check()
        if self.val_dataloader is not None:
            check_inputs(self.state, self._dummy, self.val_dataloader.first()[:-1])

    def _after_epoch(self) -> None:
        """Prints the epoch's line.

        Raises:
          RunError: The parameters are not finite.
        """
        leaves = jax.tree.leaves(self.state.params)
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in leaves):
            raise RunError(
                f"loss: after epoch {self.epoch + 1} parameters are not finite; lower "
                "the learning rate"
            )
        if not self.board.display:
            last = [f"{k} {v[-1][1]:.4f}" for k, v in self.board.data.items() if v]
            print(" | ".join([f"epoch {self.epoch + 1}/{self.max_epochs}", *last]))

    def _has_ended(self) -> bool:
        return self.max_steps is not None and self.train_batch_idx >= self.max_steps

    def _put(self, part: Any) -> Any:
        if len(self.devices) == 1:
            return jax.device_put(part, self.devices[0])
        shares = np.ndim(part) and len(part) % len(self.devices) == 0
        return jax.device_put(part, self._sharding("data" if shares else None))

    def _sharding(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(
            Mesh(np.asarray(self.devices), ("data",)), PartitionSpec(*axes)
        )

    def _take_model(self, model: Any) -> None:
        """Makes `apply_fn`s for a fit: the network may have been changed since one."""
        self._fitted = model
        self._apply_fns = tuple(functools.partial(model.apply) for _ in range(2))

    def _take_board(self, model: Any) -> None:
        """Draws on the network's board, unless the trainer's was given settings."""
        theirs = getattr(model, "board", None)
        fresh = ProgressBoard(xlabel="epoch", xlim=(0, self.max_epochs))
        unset = self.board is self._first_board and vars(self.board) == vars(fresh)
        if theirs is None or not (unset or self.board is getattr(self, "_taken", None)):
            model.board = self.board
            return
        self.board = self._taken = theirs
        self.board.xlabel, self.board.xlim = "epoch", (0, self.max_epochs)

    def _draw_loss(self, window: Row) -> None:
        """Draws the mean loss of a part of an epoch's examples."""
        self.board.draw(window["epoch"], window["train/loss"], "train_loss")

    def _draw(self, row: Row) -> None:
        """Draws the test result of a row that has one."""
        if is_evaluation(row):
            self.board.draw(row["epoch"], row["test/loss"], "val_loss")
            self.board.draw(row["epoch"], row["test/top1"], "val_acc")


_STOCK = {
    name: getattr(Trainer, name)
    for name in (
        "prepare_data",
        "prepare_model",
        "prepare_batch",
        "clip_gradients",
        "fit_epoch",
    )
}

_LOSS = Classifier.loss  # another one's, if a reader replaces it for all


def _apply_gradients(state: Any, grads: Any) -> Any:
    """Updates a state; as one program if it is made of arrays alone."""
    is_arrays = all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
    return (_update if is_arrays else _plain_update)(state, grads)


def _plain_update(state: Any, grads: Any) -> Any:
    return state.apply_gradients(grads=grads)


_update = jax.jit(_plain_update)
