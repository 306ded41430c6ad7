"""Trains a `Classifier` of the book by the loop of the command line."""

from numbers import Integral, Real
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from alexnet_jax import loop
from alexnet_jax.config import default_config, validate
from alexnet_jax.d2l.batches import to_batches
from alexnet_jax.d2l.checks import check_update
from alexnet_jax.d2l.data import as_sides
from alexnet_jax.d2l.hooks import check_optimizer, own_optimizer
from alexnet_jax.d2l.module import TrainState
from alexnet_jax.errors import InputError, NotFiniteError
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.parallel import DataParallel
from alexnet_jax.run.signals import Stopped, noted_signals

# Fields of the config, as a trainer's arguments.
_NAMES = {
    "optim.clip_norm": "gradient_clip_val",
    "num_train_steps": "max_steps",
    "num_epochs": "max_epochs",
}


def settings(trainer: Any) -> ConfigDict:
    """Returns the config of a trainer's arguments.

    Raises:
      InputError: One is out of range.
    """
    config = default_config()
    if not hasattr(trainer, "max_epochs"):
        raise InputError(
            f"{type(trainer).__name__} has no max_epochs; call super().__init__("
            "max_epochs) in its __init__"
        )
    epochs, steps, norm = (
        trainer.max_epochs,
        trainer.max_steps,
        trainer.gradient_clip_val,
    )
    if not isinstance(epochs, Integral) or isinstance(epochs, bool):
        raise InputError(f"max_epochs must be an integer; got {epochs!r}")
    if steps is not None and (not isinstance(steps, Integral) or steps is True):
        raise InputError(f"max_steps must be an integer or None; got {steps!r}")
    config.num_epochs = int(epochs)
    config.num_train_steps = None if steps is None else int(steps)
    try:
        config.optim.clip_norm = float(norm)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"gradient_clip_val must be a number; got {norm!r:.60}"
        ) from error
    try:
        validate(config)
    except InputError as error:
        text = str(error)
        for field, name in _NAMES.items():
            text = text.replace(field, name)
        raise InputError(text) from error
    return config


def fit_by_loop(trainer: Any, model: Classifier, data: Any, key: jax.Array) -> None:
    """Trains as the command line does; sets what `Trainer` says of itself.

    Args:
      trainer: A `d2l.Trainer`.
      model: The network.
      data: As `Trainer.fit` takes it.
      key: Typed PRNG key, `()`.

    Raises:
      InputError: The model or the data cannot be used.
      KeyboardInterrupt: A signal came; the trainer has what was learned until then.
      RunError: The loss is not finite.
    """
    devices = trainer.devices
    classes: Any = model.num_classes
    if not isinstance(classes, Integral) or classes < 1:
        classes = 2**31 - 1  # the loop says that it cannot be
    if trainer.val_dataloader is None:  # a d2l.Classifier is trained all the same
        raise InputError(
            f"data: val_dataloader() gave None, and {type(model).__name__} is "
            "evaluated each epoch; give batches, or derive it from "
            "alexnet_jax.d2l.Classifier"
        )
    own = (trainer.train_dataloader, trainer.val_dataloader)
    train, test = to_batches(data, int(classes), own)
    for split, of in ((train, "training"), (test, "validation")):
        if split.batch_size % len(devices):
            raise InputError(
                f"batch_size must be a multiple of the {len(devices)} GPUs that share "
                f"it; {of} batches have {split.batch_size}"
            )
    config = settings(trainer)
    config.batch_size = train.batch_size
    resize = getattr(data, "resize", None)
    size = train.image_shape[:2] if resize is None else as_sides(resize)
    config.data.image_size = size
    config.data.scale = "unit"  # what the book's loaders give, and nothing else
    if model.author_scale != config.data.scale:
        print(
            f"note      {type(model).__name__} is given images in [0, 1], as loaders "
            f"have them; its author's scale is {model.author_scale!r}"
        )
    # As many points of train_loss an epoch, and in a shorter run.
    steps = min(len(train), trainer.max_steps or len(train))
    points = getattr(model, "plot_train_per_epoch", 2)
    config.log.every_steps = max(1, -int(-steps // points))
    validate(config)
    own_tx = check_optimizer(model) if own_optimizer(model) else None
    if own_tx is None and callable(model.lr):  # a schedule of optax
        own_tx = optax.sgd(model.lr)
    elif own_tx is None:
        _check_rate(model)
    tx = None if own_tx is None else _promoting(own_tx)
    if tx is not None and config.optim.clip_norm:
        tx = optax.chain(optax.clip_by_global_norm(config.optim.clip_norm), tx)
    parallel = DataParallel(devices)
    # The loop names the rate, which an optimizer of one's own need not read.
    network = model if own_tx is None else model.clone(lr=0.0)
    trained = loop.Trainer(config, network, train, test, parallel, key, tx)
    if own_tx is not None:
        check_update(model, own_tx, jax.eval_shape(trained.draw).params)
    trainer.model, trainer.optim = model, trained.tx if own_tx is None else own_tx
    board = trainer.board
    board.xlim = (0, trained.num_steps / trained.steps_per_epoch)
    say = (lambda text: None) if board.display else print
    try:
        with noted_signals() as stop:
            state = trained.fit(
                trained.put(trained.draw()),
                trainer._draw,
                stop=stop,
                say=say,
                window=trainer._draw_loss,
            )
    except Stopped as stopped:
        _keep(trainer, trained, stopped.state, key)
        raise KeyboardInterrupt from None
    except NotFiniteError as error:
        rate = "the learning rate" if own_tx is not None else f"lr ({model.lr:g})"
        problem = str(error).partition(";")[0]
        raise NotFiniteError(f"{problem}; lower {rate}") from error
    _keep(trainer, trained, state, key)


def _check_rate(model: Classifier) -> None:
    """Checks the learning rate that the loop's own SGD takes.

    Raises:
      InputError: It is no number of at least 0.
    """
    rate: Any = model.lr
    is_number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not (is_number or getattr(rate, "shape", None) == ()) or not 0 <= rate < np.inf:
        raise InputError(
            f"lr must be a number of at least 0, or a schedule of optax; got {rate!r}"
        )


def _keep(trainer: Any, trained: loop.Trainer, state: Any, key: jax.Array) -> None:
    """Sets what a trainer says of a fit."""
    others = dict(state.model_state)
    trainer.state = TrainState(
        step=state.step,
        apply_fn=trainer._apply_fns[True],
        params=state.params,
        tx=trained.tx,
        opt_state=state.opt_state,
        batch_stats=others.pop("batch_stats", {}),
        dropout_rng=jax.random.split(key)[1],
        others=others,
    )
    trainer.train_batch_idx = int(state.step)
    trainer.epoch = trainer.train_batch_idx // trained.steps_per_epoch
    trainer.val_batch_idx = trainer.epoch * trainer.num_val_batches


def _promoting(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Lets an optimizer mix dtypes, as optax's Adam does, under strict promotion."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return tx.update(updates, state, params)

    return optax.GradientTransformation(tx.init, update)
