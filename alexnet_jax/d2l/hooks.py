"""What a network overrides of d2l's methods, and whether it can be honored."""

import inspect
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import jax
import optax

from alexnet_jax.d2l.base import overridden
from alexnet_jax.d2l.classifier import Classifier
from alexnet_jax.d2l.data import validates
from alexnet_jax.d2l.module import Module
from alexnet_jax.errors import InputError
from alexnet_jax.models.classifier import check_classifier

_METHODS = (
    "accuracy",
    "apply_init",
    "forward",
    "loss",
    "plot",
    "training_step",
    "validation_step",
)
_STOCK = {name: getattr(Classifier, name) for name in ("__call__", *_METHODS)}
_OPTIMIZER = {"configure_optimizers": Classifier.configure_optimizers}
_MODULE = {
    n: getattr(Module, n) for n in (*_METHODS, *_OPTIMIZER) if hasattr(Module, n)
}


# What the trainer and the stock steps call each method with; `key=` is by name.
_ARGUMENTS = {
    "accuracy": ("params", "X", "Y", "state"),
    "apply_init": ("dummy_input", "key="),
    "configure_optimizers": (),
    "loss": ("params", "X", "Y", "state"),
    "plot": ("key", "value", "train="),
    "training_step": ("params", "batch", "state"),
    "validation_step": ("params", "batch", "state"),
    "clip_gradients": ("grad_clip_val", "grads"),
    "fit_epoch": (),
    "prepare_batch": ("batch",),
    "prepare_data": ("data",),
    "prepare_model": ("model",),
}
# Whose call of each is a reader's own if that is.
_CALLERS = {
    "training_step": ("fit_epoch",),
    "validation_step": ("fit_epoch",),
    "clip_gradients": ("fit_epoch",),
    "accuracy": ("validation_step",),
    "loss": ("training_step", "validation_step"),
    "plot": ("training_step", "validation_step"),
}


def check_model(model: Any, own_epoch: bool = False) -> None:
    """Checks that a model is one that `Trainer.fit` can train.

    Args:
      model: What `fit` was given.
      own_epoch: Whether the trainer has a `fit_epoch` of its own.

    Raises:
      InputError: It is neither `Classifier` nor `Module`, or has hooks that only these
        may have, or that take other arguments than they are called with; or it asks
        for no point of a curve in an epoch.
    """
    for name in ("plot_train_per_epoch", "plot_valid_per_epoch"):
        points = getattr(model, name, 1)
        if not isinstance(points, Real) or not 0 < float(points) < math.inf:
            raise InputError(
                f"{type(model).__name__}.{name} must be a number above 0; got "
                f"{points!r}"
            )
    if isinstance(model, Module):
        stock = _STOCK | _OPTIMIZER if isinstance(model, Classifier) else _MODULE
        own = [name for name in overridden(model, stock) if name in _ARGUMENTS]
        _check_arguments(model, own, [*own, *(["fit_epoch"] if own_epoch else [])])
        return
    check_classifier(model)
    for name in _METHODS:
        if callable(getattr(model, name, None)):
            raise InputError(
                f"{type(model).__name__}.{name} is honored in a d2l.Classifier alone; "
                "derive the class from alexnet_jax.d2l.Classifier"
            )


def check_trainer(trainer: Any, own: Sequence[str], model: Any) -> None:
    """Checks a trainer's own methods.

    Args:
      trainer: A `d2l.Trainer`.
      own: Those that it overrides.
      model: What it is to train.

    Raises:
      InputError: One takes other arguments than it is called with, or the model has
        none of d2l's methods.
    """
    _check_arguments(trainer, own, own)
    if own and not isinstance(model, Module):
        check_classifier(model)
        raise InputError(
            f"{type(trainer).__name__}.{own[0]} is honored with a d2l.Classifier or a "
            f"d2l.Module alone; derive {type(model).__name__} from one"
        )


def _check_arguments(owner: Any, names: Sequence[str], own: Sequence[str]) -> None:
    for name in names:
        callers = _CALLERS.get(name)
        if callers and all(one in own for one in callers):
            continue
        arguments = _ARGUMENTS[name]
        by_name = {one[:-1]: None for one in arguments if one.endswith("=")}
        by_place = [None for one in arguments if not one.endswith("=")]
        try:
            signature = inspect.signature(getattr(owner, name))
        except (TypeError, ValueError):  # not written in Python
            continue
        try:
            signature.bind(*by_place, **by_name)
        except TypeError as error:
            wanted = ", ".join(["self", *(one.rstrip("=") for one in arguments)])
            raise InputError(
                f"{type(owner).__name__}.{name} must take ({wanted}), as in the book's "
                f"JAX code; it takes {signature}"
            ) from error


def uses_own_hooks(model: Any, data: Any) -> bool:
    """Whether the command line's loop would leave out what a model overrides."""
    if not isinstance(model, Module):
        return False
    if not isinstance(model, Classifier) or overridden(model, _STOCK):
        return True
    if model.plot_valid_per_epoch != 1:
        return True
    if own_optimizer(model) and not isinstance(
        check_optimizer(model), optax.GradientTransformation
    ):
        return True  # it may keep a state of something else than arrays
    return not validates(data)


def own_optimizer(model: Any) -> bool:
    """Whether a model defines `configure_optimizers`."""
    if isinstance(model, Module):
        return bool(overridden(model, _OPTIMIZER))
    return callable(getattr(model, "configure_optimizers", None))


def own_forward(model: Any) -> bool:
    """Whether a classifier computes its logits in a way of its own."""
    return bool(overridden(model, {n: _STOCK[n] for n in ("__call__", "forward")}))


def check_optimizer(model: Any) -> Any:
    """Returns what `configure_optimizers` of a model returns.

    Raises:
      InputError: It is no optax transformation.
    """
    tx = model.configure_optimizers()
    if isinstance(tx, type) or not all(
        callable(getattr(tx, name, None)) for name in ("init", "update")
    ):
        raise InputError(
            f"{type(model).__name__}: configure_optimizers must return an optax "
            f"transformation, such as optax.adam(self.lr); got {type(tx).__name__}"
        )
    return tx


def parse_step(model: Any, answer: Any, state: Any) -> tuple[Any, dict[str, Any], Any]:
    """Returns what `training_step` answered.

    Args:
      model: The network.
      answer: `(loss, gradient)`, or `((loss, updates), gradient)`.
      state: The state before the step.

    Returns:
      The loss, the state's new fields, and the gradient.

    Raises:
      InputError: It is something else.
    """
    name = type(model).__name__
    is_pair = isinstance(answer, tuple | list) and len(answer) == 2
    value, grads = answer if is_pair else (None, None)
    expected: Any = jax.tree.structure(state.params)
    if jax.tree.structure(grads) != expected:
        raise InputError(
            f"{name}: training_step must return the loss and its gradient by params, "
            "as jax.value_and_grad does"
        )
    has_updates = isinstance(value, tuple) and len(value) == 2
    pair: Any = value if has_updates else (value, {})
    loss, updates = pair
    updates = dict(updates or {})
    if getattr(state, "batch_stats", None) and "batch_stats" not in updates:
        raise InputError(
            f"{name}: loss must return (loss, updates) of state.apply_fn(..., "
            "mutable=['batch_stats']), as the network has BatchNorm"
        )
    fields = {k: updates.pop(k) for k in ("batch_stats",) if k in updates}
    if updates and hasattr(state, "others"):
        fields["others"] = {**state.others, **updates}
    return loss, fields, grads
