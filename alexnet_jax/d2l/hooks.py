"""What a network overrides of d2l's methods, and whether it can be honored."""

from typing import Any

import jax
import numpy as np
import optax

from alexnet_jax.d2l.base import overridden
from alexnet_jax.d2l.classifier import Classifier, logits_of
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


def check_model(model: Any) -> None:
    """Checks that a model is one that `Trainer.fit` can train.

    Raises:
      InputError: It is neither `Classifier` nor `Module`, or has hooks that only these
        may have.
    """
    if isinstance(model, Module):
        return
    check_classifier(model)
    for name in _METHODS:
        if callable(getattr(model, name, None)):
            raise InputError(
                f"{type(model).__name__}.{name} is honored in a d2l.Classifier alone; "
                "derive the class from alexnet_jax.d2l.Classifier"
            )


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


def num_logits(model: Any, state: Any, inputs: Any, own_loss: bool) -> int | None:
    """Returns how many logits a classifier has; None if only its own loss can say.

    Args:
      model: The network.
      state: Its fresh state.
      inputs: A batch without its last.
      own_loss: Whether the loss is the network's own.

    Raises:
      InputError: It is not `num_classes`.
    """
    try:
        logits, _ = jax.eval_shape(
            lambda params: logits_of(params, inputs, state, True), state.params
        )
    except Exception:
        if own_loss:  # which may apply the network otherwise
            return None
        raise
    count = logits.shape[-1]
    if not own_forward(model) and count != model.num_classes:
        raise InputError(
            f"{type(model).__name__} must return (batch, {model.num_classes}), a logit "
            f"for each of its num_classes; it returns (batch, {count})"
        )
    return count


def check_inputs(state: Any, train: Any, val: Any) -> None:
    """Checks that a network takes inputs to validate on of other shapes.

    Args:
      state: Its fresh state.
      train: A batch to train on without its last.
      val: A batch to validate on without its last.

    Raises:
      InputError: It does not.
    """
    shapes = [tuple(np.shape(part)[1:] for part in batch) for batch in (train, val)]
    if shapes[0] == shapes[1]:
        return
    try:
        jax.eval_shape(lambda params: logits_of(params, val, state, True), state.params)
    except Exception as error:
        raise InputError(
            f"data: inputs to validate on have shapes {shapes[1]}, those to train on "
            f"{shapes[0]}, and the network does not take both; give the same"
        ) from error


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


def parse_step(model: Any, answer: Any, state: Any) -> tuple[dict[str, Any], Any]:
    """Returns what `training_step` answered.

    Args:
      model: The network.
      answer: `(loss, gradient)`, or `((loss, updates), gradient)`.
      state: The state before the step.

    Returns:
      The state's new fields, and the gradient.

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
    updates = value[1] if isinstance(value, tuple) and len(value) == 2 else {}
    updates = dict(updates or {})
    if getattr(state, "batch_stats", None) and "batch_stats" not in updates:
        raise InputError(
            f"{name}: loss must return (loss, updates) of state.apply_fn(..., "
            "mutable=['batch_stats']), as the network has BatchNorm"
        )
    fields = {k: updates.pop(k) for k in ("batch_stats",) if k in updates}
    if updates and hasattr(state, "others"):
        fields["others"] = {**state.others, **updates}
    return fields, grads
