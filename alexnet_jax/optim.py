"""Schedules and optimizers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from alexnet_jax.models.towers import is_split


def create_schedule(
    config: ConfigDict, learning_rate: float, steps_per_epoch: int, num_epochs: int
) -> optax.Schedule:
    """Returns the learning rate as a function of the step.

    Args:
      config: `config.optim`.
      learning_rate: The rate after warm-up; taken from the model, its one owner.
      steps_per_epoch: Steps in an epoch, the padded last one included.
      num_epochs: Length of the run; `cosine` reaches 0 at its end.
    """
    warmup = config.warmup_steps
    if config.schedule == "step":
        rates = [
            optax.constant_schedule(learning_rate * config.decay_rate**drops)
            for drops in range(len(config.decay_epochs) + 1)
        ]
        drops_at = [epoch * steps_per_epoch - warmup for epoch in config.decay_epochs]
        main = optax.join_schedules(rates, drops_at)
    elif config.schedule == "cosine":
        decay_steps = max(num_epochs * steps_per_epoch - warmup, 1)
        main = optax.cosine_decay_schedule(learning_rate, decay_steps)
    else:
        main = optax.constant_schedule(learning_rate)
    if warmup:
        ramp = optax.linear_schedule(0.0, learning_rate, warmup)
        main = optax.join_schedules([ramp, main], [warmup])
    # Optax promotes the integer step implicitly; a float is exact up to 2**24 steps.
    return lambda step: main(jnp.asarray(step, jnp.float32))


def create_optimizer(
    config: ConfigDict, schedule: optax.Schedule, tower_axis: str | None = None
) -> optax.GradientTransformation:
    """Returns stochastic gradient descent in one of two forms; both clip first.

    `sgd`, as PyTorch, Optax and d2l define it: weight decay is added to the gradient of
    every parameter, biases included; the velocity gathers it; the rate multiplies the
    velocity.

    `sgd_2012`, as AlexNet was trained: the rate multiplies the gradient and the decay
    *before* the velocity gathers them, so that after a drop the old rate coasts on for
    some ten steps; only kernels decay; biases learn at twice the rate.

    Args:
      config: `config.optim`.
      schedule: Learning rate by step.
      tower_axis: The axis of the devices that hold a tower each; None where one holds
        all.

    Source: Krizhevsky et al. 2012, §5; cuda-convnet `weights.cu` and
    layer-params-145.cfg (`epsB` is twice `epsW`, biases' decay is 0).
    """
    parts = []
    if config.clip_norm:
        clip = optax.clip_by_global_norm(config.clip_norm)
        parts.append(_clip_over(config.clip_norm, tower_axis) if tower_axis else clip)
    if config.name == "sgd_2012":
        decay = optax.add_decayed_weights(config.weight_decay, mask=_named("kernel"))
        twice = optax.masked(optax.scale(2.0), _named("bias"))
        rate = optax.scale_by_learning_rate(schedule)
        parts += [decay, twice, rate, optax.trace(config.momentum)]
    else:
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay))
        parts.append(optax.sgd(schedule, momentum=config.momentum or None))
    return optax.chain(*parts)


def _clip_over(norm: float, axis: str) -> optax.GradientTransformation:
    """Returns `optax.clip_by_global_norm` for devices that hold a tower each."""

    def clip(updates: Any, params: Any = None) -> Any:
        own = shared = jnp.zeros(())
        for path, leaf in jax.tree.leaves_with_path(updates):
            square = jnp.square(leaf).sum()
            own, shared = (
                (own + square, shared) if is_split(path) else (own, shared + square)
            )
        whole = jnp.sqrt(jax.lax.psum(own, axis) + shared)
        factor = jnp.where(whole < norm, 1.0, norm / whole)
        return jax.tree.map(lambda leaf: leaf * factor, updates)

    return optax.stateless(clip)


def _named(name: str) -> Callable[[Any], Any]:
    """Returns the mask that is true for the parameters of a name."""

    def mask(params: Any) -> Any:
        flat = traverse_util.flatten_dict(params)
        return traverse_util.unflatten_dict({path: path[-1] == name for path in flat})

    return mask
