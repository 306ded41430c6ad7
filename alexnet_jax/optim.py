"""Schedules and optimizers."""

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
        main = optax.piecewise_constant_schedule(
            learning_rate,
            {
                epoch * steps_per_epoch - warmup: config.decay_rate
                for epoch in config.decay_epochs
            },
        )
    elif config.schedule == "cosine":
        decay_steps = max(num_epochs * steps_per_epoch - warmup, 1)
        main = optax.cosine_decay_schedule(learning_rate, decay_steps)
    else:
        main = optax.constant_schedule(learning_rate)
    if not warmup:
        return main
    ramp = optax.linear_schedule(0.0, learning_rate, warmup)
    return optax.join_schedules([ramp, main], [warmup])


def create_optimizer(
    config: ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Returns stochastic gradient descent as PyTorch and d2l define it.

    Weight decay is added to the gradient of every parameter, biases included; the
    velocity gathers it; the rate multiplies the velocity.

    Args:
      config: `config.optim`.
      schedule: Learning rate by step.
    """
    decay = optax.add_decayed_weights(config.weight_decay)
    sgd = optax.sgd(schedule, momentum=config.momentum or None)
    return optax.chain(decay, sgd) if config.weight_decay else sgd
