"""Schedules and optimizers."""

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict


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
    config: ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Returns stochastic gradient descent as PyTorch and d2l define it.

    Weight decay is added to the gradient of every parameter, biases included; the
    velocity gathers it; the rate multiplies the velocity. The gradient is clipped
    before.

    Args:
      config: `config.optim`.
      schedule: Learning rate by step.
    """
    parts = [optax.sgd(schedule, momentum=config.momentum or None)]
    if config.weight_decay:
        parts.insert(0, optax.add_decayed_weights(config.weight_decay))
    if config.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return optax.chain(*parts)
