"""What a network, its loss and its optimizer are looked at for in a fit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import errors

from alexnet_jax.d2l.classifier import logits_of
from alexnet_jax.d2l.hooks import own_forward
from alexnet_jax.errors import InputError, RunError


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
    except Exception:  # the user's network may raise any kind
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
    except Exception as error:  # the user's network may raise any kind
        raise InputError(
            f"data: inputs to validate on have shapes {shapes[1]}, those to train on "
            f"{shapes[0]}, and the network does not take both; give the same"
        ) from error


def check_update(model: Any, tx: Any, params: Any) -> None:
    """Checks that an optimizer needs no more than gradients and parameters.

    Args:
      model: The network whose it is.
      tx: What `configure_optimizers` returned.
      params: The parameters, or their shapes.

    Raises:
      InputError: It needs the loss or the like, as `optax.lbfgs` does.
    """
    if not isinstance(tx, optax.GradientTransformationExtraArgs):
        return
    try:
        # As where it is called: optax's own mix dtypes.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            jax.eval_shape(lambda p: tx.update(p, tx.init(p), p), params)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        text = " ".join(str(error).split())
        raise InputError(
            f"{type(model).__name__}: configure_optimizers must return a "
            "transformation of gradients alone, such as optax.adam(self.lr); this one "
            f"needs more ({text[:120]})"
        ) from error


def as_key(key: Any) -> jax.Array:
    """Returns a typed PRNG key, `()`.

    Args:
      key: One; the data of one, as `jax.random.PRNGKey` gives; a seed; None is seed 0.

    Raises:
      InputError: It is none of these.
    """
    try:
        if key is None or isinstance(key, Integral) and not isinstance(key, bool):
            return jax.random.key(int(key or 0))
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.wrap_key_data(key)
        if key.shape == ():
            return key
        got = f"keys of shape {key.shape}"
    except (AttributeError, OverflowError, TypeError, ValueError):
        got = f"{type(key).__name__} {key!r}"[:60]
    raise InputError(
        f"key must be one key, such as jax.random.key(0), or a seed; got {got}"
    )


@contextmanager
def named_flax_errors(model: Any) -> Iterator[None]:
    """Says what a loss of one's own must give to `state.apply_fn`.

    Raises:
      InputError: It gives no `batch_stats`, or no key for dropout.
    """
    try:
        yield
    except (errors.ScopeCollectionNotFound, errors.ModifyScopeVariableError) as error:
        raise InputError(
            f"{type(model).__name__}: loss must return (loss, updates) of "
            "state.apply_fn({'params': params, 'batch_stats': state.batch_stats}, *X, "
            "mutable=['batch_stats']), as the network has BatchNorm"
        ) from error
    except errors.InvalidRngError as error:
        raise InputError(
            f"{type(model).__name__}: loss must give state.apply_fn a key, "
            "rngs={'dropout': state.dropout_rng}, as the network has dropout"
        ) from error


def check_finite_losses(losses: Sequence[Any], epoch: int) -> None:
    """Checks the losses of an epoch's steps.

    Args:
      losses: `()` each; other things are left alone.
      epoch: Those before.

    Raises:
      RunError: One is not finite.
    """
    numbers = [x for x in losses if isinstance(x, jax.Array) and x.shape == ()]
    for step, value in enumerate(jax.device_get(numbers)):
        if not np.isfinite(value):
            raise RunError(
                f"loss: it is {value} in step {step + 1} of epoch {epoch + 1}; lower "
                "the learning rate, or look at the labels and at the loss"
            )
