"""÷ 10 when the validation error stops improving, as the paper's text has it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from ml_collections import ConfigDict


class PlateauState(NamedTuple):
    """What the optimizer remembers of the epochs' errors; it is saved with the rest.

    Attributes:
      best_error: The least so far, `() float32`.
      waited_epochs: Epochs since then, or since the last drop, `() int32`.
      drops: How often the rate was multiplied, `() int32`.
    """

    best_error: ArrayLike
    waited_epochs: ArrayLike
    drops: ArrayLike


def divide_on_plateau(decay_rate: float) -> optax.GradientTransformation:
    """Returns what multiplies updates by `decay_rate` for each drop so far.

    Args:
      decay_rate: `config.optim.decay_rate`.
    """

    def init(params: Any) -> PlateauState:
        return PlateauState(
            best_error=jnp.full((), jnp.inf, jnp.float32),
            waited_epochs=jnp.zeros((), jnp.int32),
            drops=jnp.zeros((), jnp.int32),  # no array twice: the state is donated
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factor = jnp.float32(decay_rate) ** jnp.asarray(state.drops, jnp.float32)
        return jax.tree.map(lambda leaf: factor * leaf, updates), state

    return optax.GradientTransformation(init, update)


def after_epoch(state: PlateauState, error: float, config: ConfigDict) -> PlateauState:
    """Returns the state after an epoch, on the host and in its dtypes.

    An epoch improves if its error is more than `min_delta` below the best. After
    `patience` epochs in a row that do not, the rate drops; at most `max_drops` times.
    A best of the old rate stays the one to beat.

    Args:
      state: After the epoch before.
      error: Share of the test images that were not recognised.
      config: `config.optim`.

    Source: Krizhevsky et al. 2012, §5: divided by 10 when the validation error stopped
    improving, three times before the end; how long it waited is not said.
    """
    best, waited, drops = (np.asarray(leaf).item() for leaf in state)
    # In float32, as it is saved: a resumed run compares the same numbers.
    error = np.float32(error).item()
    if error < best - config.min_delta:
        best, waited = error, 0
    else:
        waited += 1
    if drops < config.max_drops and waited >= config.patience:
        waited, drops = 0, drops + 1
    return PlateauState(np.float32(best), np.int32(waited), np.int32(drops))


def update_plateau(
    opt_state: optax.OptState,
    row: Mapping[str, float],
    config: ConfigDict,
    *,
    place: Callable[[PlateauState], PlateauState],
    say: Callable[[str], None],
) -> optax.OptState:
    """Returns the optimizer's state after an epoch; of other schedules as it is.

    Args:
      opt_state: After the epoch's last step.
      row: The epoch's metrics. An end of the run inside an epoch is evaluated, too, but
        does not count.
      config: `config.optim`.
      place: Puts arrays on the run's devices.
      say: Takes the line that tells of a drop.
    """

    def is_plateau(leaf: Any) -> bool:
        return isinstance(leaf, PlateauState)

    leaves = jax.tree.leaves(opt_state, is_leaf=is_plateau)
    old = next(filter(is_plateau, leaves), None)
    if old is None or row["epoch"] % 1:
        return opt_state
    new = after_epoch(old, 1.0 - row["test/top1"], config)
    before, drops = (np.asarray(state.drops).item() for state in (old, new))
    if drops > before:
        factor = config.decay_rate**drops
        epochs = f"{config.patience} epoch{'s' * (config.patience > 1)}"
        say(f"plateau   no better for {epochs}: rate × {factor:g} now")
    new = place(new)
    return jax.tree.map(
        lambda leaf: new if is_plateau(leaf) else leaf, opt_state, is_leaf=is_plateau
    )
