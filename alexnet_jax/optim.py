"""Schedules, optimizers and the plateau rule.

A new optimizer is an entry of `OPTIMIZERS`. A schedule gives each group of parameters
its rate by step. `all` is every parameter that no narrower group names; `bias` is all
biases, `conv1/kernel` one array. Most schedules have only the one group.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from alexnet_jax.models.cuda_convnet.updates import LayerUpdates
from alexnet_jax.models.layer_names import layer_of
from alexnet_jax.parallel.sharding import is_sharded
from alexnet_jax.transfer import layer_updates
from alexnet_jax.transfer.rates import factor_of
from alexnet_jax.transfer.settings import rates_of

Schedule = Mapping[str, optax.Schedule]

# Factor of the rate from a moment of the run on, by group.
Table = Mapping[str, Mapping[float, float]]

# By epochs done. The notes count epochs from one and do not say where in an epoch a
# rate was changed, so that each is right to within an epoch. conv1's frozen biases are
# known from the rates that the file was left with.
_CONFIGURATION_145: Table = {
    "all": {0: 1.0, 25: 0.1, 51: 0.01, 79: 0.001},
    "bias": {0: 1.0},
    "conv1/kernel": {0: 1.0, 25: 0.1, 51: 0.01, 67: 0.001, 72: 0.0},
    "conv1/bias": {0: 1.0, 72: 0.0},
}

# By shares of the run: four steps down to 1/250, and two of the biases down to 1/10.
_ONE_WEIRD_TRICK: Table = {
    "all": {step / 4: 250 ** (-step / 3) for step in range(4)},
    "bias": {0: 1.0, 1 / 2: 0.1},
}


def create_schedule(
    optim: ConfigDict,
    learning_rate: float,
    steps_per_epoch: int,
    num_epochs: int,
    updates: LayerUpdates | None = None,
) -> Schedule:
    """Returns the learning rates by group, each a function of the step.

    `constant` stays, and so does `plateau`, which the optimizer divides; `step`
    multiplies after the named epochs or steps, as torchvision and Caffe do; `cosine`
    falls to 0 over the run. `2012` is configuration 145: the kernels' rate is divided
    by 10 three times, conv1's sooner, until it is frozen at last, and the biases' rate
    stays. `one_weird_trick` is cuda-convnet2's: four steps over the run for kernels,
    two for biases. A layer-parameter file's own rates are a group for each array.

    Args:
      optim: `config.optim`.
      learning_rate: The rate after warm-up; taken from the model, its one owner.
      steps_per_epoch: Steps in an epoch, the padded last one included.
      num_epochs: Length of the run, over which `cosine`, `one_weird_trick` and a file's
        rates stretch.
      updates: What `optim.params` says; its rates hold if `optim.learning_rate` is not
        set.

    Source: cuda-convnet layer-params-145.cfg, with the notes at its end; cuda-convnet2
    layer-params-imagenet-1gpu.cfg and lr.cu (`dexp`).
    """
    warmup, num_steps = optim.warmup_steps, num_epochs * steps_per_epoch
    if updates is not None and optim.learning_rate is None:
        return layer_updates.rates_by_array(updates, num_steps)
    if optim.schedule == "cosine":
        decay_steps = max(num_steps - warmup, 1)
        mains = {"all": optax.cosine_decay_schedule(learning_rate, decay_steps)}
    else:
        table, unit = _table(optim, steps_per_epoch, num_steps)
        mains = {
            group: optax.join_schedules(
                [optax.constant_schedule(learning_rate * f) for f in factors.values()],
                [_first_step(moment, unit) - warmup for moment in factors][1:],
            )
            for group, factors in table.items()
        }
    if warmup:
        ramp = optax.linear_schedule(0.0, learning_rate, warmup)
        mains = {
            group: optax.join_schedules([ramp, main], [warmup])
            for group, main in mains.items()
        }
    return {group: _of_floats(main) for group, main in mains.items()}


def _table(
    optim: ConfigDict, steps_per_epoch: int, num_steps: int
) -> tuple[Table, int]:
    """Returns a schedule's factors, and the steps in a unit of its moments."""
    if optim.schedule == "2012":
        return _CONFIGURATION_145, steps_per_epoch
    if optim.schedule == "one_weird_trick":
        return _ONE_WEIRD_TRICK, num_steps
    # One of the two is empty, both are but with `step`.
    moments = (0, *optim.decay_epochs, *optim.decay_steps)
    factors = {moment: optim.decay_rate**drops for drops, moment in enumerate(moments)}
    return {"all": factors}, 1 if optim.decay_steps else steps_per_epoch


def _first_step(moment: float, unit: int) -> int:
    return -int(-moment * unit // 1)  # rounded up


def _of_floats(schedule: optax.Schedule) -> optax.Schedule:
    # Optax promotes the integer step implicitly; a float is exact up to 2**24 steps.
    return lambda step: schedule(jnp.asarray(step, jnp.float32))


def group_of(path: Sequence[Any], groups: Mapping[str, Any]) -> str:
    """Returns the narrowest of a schedule's groups that an array belongs to.

    Args:
      path: Its keys in the parameters, or in what the optimizer keeps for them, as
        `jax.tree_util.tree_map_with_path` gives them.
      groups: By name.
    """
    names = [str(getattr(key, "key", "")) for key in path]
    ends = ("/".join(names[start:]) for start in range(len(names)))
    return next((end for end in ends if end in groups), "all")


def _sgd(
    optim: ConfigDict, rate: optax.GradientTransformation
) -> list[optax.GradientTransformation]:
    """As PyTorch, Optax and d2l define SGD.

    Weight decay is added to the gradient of every parameter, biases included; the
    velocity gathers it; the rate multiplies the velocity.
    """
    parts = []
    if optim.weight_decay:
        parts.append(optax.add_decayed_weights(optim.weight_decay))
    velocity = optax.trace(optim.momentum) if optim.momentum else optax.identity()
    return [*parts, optax.chain(velocity, rate)]


def _sgd_2012(
    optim: ConfigDict, rate: optax.GradientTransformation
) -> list[optax.GradientTransformation]:
    """As AlexNet was trained.

    The rate multiplies the gradient and the decay *before* the velocity gathers them,
    so that after a drop the old rate coasts on for some ten steps; only kernels decay;
    biases learn at twice the rate.

    Source: Krizhevsky et al. 2012, §5; cuda-convnet `weights.cu` and
    layer-params-145.cfg (`epsB` is twice `epsW`, biases' decay is 0).
    """
    decay = optax.add_decayed_weights(optim.weight_decay, mask=_named("kernel"))
    twice = optax.masked(optax.scale(2.0), _named("bias"))
    return [decay, twice, rate, optax.trace(optim.momentum)]


def _adamw(
    optim: ConfigDict, rate: optax.GradientTransformation
) -> list[optax.GradientTransformation]:
    """As `optax.adamw`: the decay joins the update, not the gradient's moments.

    Source: Loshchilov and Hutter 2019.
    """
    adam = optax.scale_by_adam(optim.b1, optim.b2, optim.eps)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        # Optax raises a float to an integer power, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return adam.update(updates, state, params)

    moments = optax.GradientTransformation(adam.init, update)
    return [moments, optax.add_decayed_weights(optim.weight_decay), rate]


# By name: config.optim and what multiplies by the learning rate -> what is chained.
OPTIMIZERS: dict[
    str,
    Callable[
        [ConfigDict, optax.GradientTransformation], list[optax.GradientTransformation]
    ],
] = {
    "sgd": _sgd,
    "sgd_2012": _sgd_2012,
    "adamw": _adamw,
}


def create_optimizer(
    optim: ConfigDict,
    schedule: Schedule,
    tower_axis: str | None = None,
    updates: LayerUpdates | None = None,
) -> optax.GradientTransformation:
    """Returns one of `OPTIMIZERS`, or a layer-parameter file's, with what all share.

    All clip first, if `optim.clip_norm` is set, and average the parameters last, if
    `optim.ema` is. What `optim.rates` multiplies is the rate, wherever the optimizer
    has it: weight decay with it, and for biases of `sgd_2012` besides their 2. A named
    group whose rate is 0 is frozen: neither it nor what the optimizer keeps for it
    changes, since cuda-convnet skips the whole update of weights with `epsW=0`.

    Args:
      optim: `config.optim`.
      schedule: From `create_schedule`.
      tower_axis: The axis of the devices that hold a tower each; None where one holds
        all.
      updates: What `optim.params` says, if it is set: momenta, decays, bounds of
        kernels, and the rates if `optim.learning_rate` is not set.
    """
    clip = []
    if optim.clip_norm and tower_axis:
        clip = [_clip_over(optim.clip_norm, tower_axis)]
    elif optim.clip_norm:
        clip = [optax.clip_by_global_norm(optim.clip_norm)]
    rate = _scale_by_rate(schedule, rates_of(optim.rates))
    if optim.schedule == "plateau":
        rate = optax.chain(rate, divide_on_plateau(optim.decay_rate))
    can_stop = schedule.keys() - {"all"}
    if updates is None:
        parts = OPTIMIZERS[optim.name](optim, rate)
    else:
        parts = layer_updates.follow(updates, rate, optim.learning_rate)
        if updates.coefficient != 1:
            clip = [optax.scale(updates.coefficient), *clip]
        if optim.learning_rate is None:
            can_stop &= {*layer_updates.frozen_arrays(updates)}
    tx = optax.chain(*clip, *parts)
    if can_stop:
        tx = _freeze(tx, {name: schedule[name] for name in can_stop})
    return tx if optim.ema is None else average_parameters(tx, optim.ema)


def _scale_by_rate(
    schedule: Schedule, factors: Mapping[str, float]
) -> optax.GradientTransformation:
    """Returns `optax.scale_by_learning_rate` with a rate for each group.

    Args:
      schedule: The rates.
      factors: What they are multiplied by in some layers, by patterns over their names.
    """

    def init(params: Any) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        rates = {group: -rate(state.count) for group, rate in schedule.items()}

        def scale(path: Any, leaf: jax.Array) -> jax.Array:
            rate = jnp.asarray(rates[group_of(path, rates)], leaf.dtype)
            factor = factor_of(layer_of(path), factors)
            return (rate if factor == 1 else rate * factor) * leaf

        scaled = jax.tree_util.tree_map_with_path(scale, updates)
        return scaled, optax.ScaleByScheduleState(count=state.count + 1)

    return optax.GradientTransformation(init, update)


def _freeze(
    tx: optax.GradientTransformation, schedule: Schedule
) -> optax.GradientTransformation:
    """Returns the optimizer, held still for those of some groups whose rate is 0."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        step = _find(state, optax.ScaleByScheduleState).count
        moves = {group: rate(step) != 0 for group, rate in schedule.items()}

        def hold(path: Any, new: jax.Array, old: jax.Array) -> jax.Array:
            group = group_of(path, moves)
            return jnp.where(moves[group], new, old) if group in moves else new

        keep = jax.tree_util.tree_map_with_path
        still = jax.tree.map(jnp.zeros_like, updates)
        updates, new_state = tx.update(updates, state, params)
        return keep(hold, updates, still), keep(hold, new_state, state)

    return optax.GradientTransformation(tx.init, update)


def _clip_over(norm: float, axis: str) -> optax.GradientTransformation:
    """Returns `optax.clip_by_global_norm` for devices that hold a tower each."""

    def clip(updates: Any, params: Any = None) -> Any:
        sharded = replicated = jnp.zeros((), jnp.float32)
        for path, leaf in jax.tree.leaves_with_path(updates):
            square = jnp.square(leaf).sum()
            if is_sharded(path):
                sharded += square
            else:
                replicated += square
        whole = jnp.sqrt(jax.lax.psum(sharded, axis) + replicated)
        factor = jnp.where(whole < norm, 1.0, norm / whole)
        return jax.tree.map(lambda leaf: leaf * factor, updates)

    return optax.stateless(clip)


def _named(name: str) -> Callable[[Any], Any]:
    """Returns the mask that is true for the parameters of a name."""

    def mask(params: Any) -> Any:
        flat = traverse_util.flatten_dict(params)
        return traverse_util.unflatten_dict({path: path[-1] == name for path in flat})

    return mask


def _find(opt_state: optax.OptState, kind: type) -> Any:
    """Returns the part of an optimizer's state that is of a type, or None."""
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda leaf: isinstance(leaf, kind))
    return next((leaf for leaf in leaves if isinstance(leaf, kind)), None)


class AverageState(NamedTuple):
    """The optimizer's state, and the average of the parameters that learn.

    Attributes:
      steps: Of which parameters were averaged, `() int32`.
      average: As the parameters; zeros until the first step, which copies them.
      inner: The state of the optimizer itself.
    """

    steps: ArrayLike
    average: Any
    inner: optax.OptState


def average_parameters(
    tx: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """Returns the optimizer, which keeps the parameters' exponential moving average.

    After step n the average is d times what it was plus 1 - d times the parameters,
    with d = min(`decay`, (n - 1) / (n + 8)): a short run is not held back by its first
    weights, of which nothing is left.

    Args:
      tx: The optimizer.
      decay: `config.optim.ema`.

    Source: TensorFlow's `ExponentialMovingAverage` with `num_updates`, (1 + t) /
    (10 + t), with t = n - 2, so that the first step copies, as in timm's `ModelEmaV3`.
    """

    def init(params: Any) -> AverageState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AverageState(jnp.zeros((), jnp.int32), zeros, tx.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, inner = tx.update(updates, state.inner, params)
        before = jnp.asarray(state.steps, jnp.float32)
        kept = jnp.minimum(jnp.float32(decay), before / (before + 9))
        average = jax.tree.map(
            lambda new, old: new + kept * (old - new),
            optax.apply_updates(params, updates),
            state.average,
        )
        return updates, AverageState(state.steps + 1, average, inner)

    return optax.GradientTransformation(init, update)


def evaluated_params(params: Any, opt_state: optax.OptState | Mapping[str, Any]) -> Any:
    """Returns the parameters that are evaluated: their averages where there are some.

    Args:
      params: As they are trained.
      opt_state: The optimizer's state, or what a checkpoint holds of it.
    """
    if isinstance(opt_state, AverageState):
        average, steps = opt_state.average, opt_state.steps
    elif isinstance(opt_state, Mapping) and "average" in opt_state:
        average, steps = opt_state["average"], opt_state["steps"]
    else:
        return params
    if not int(np.asarray(steps)):
        return params
    flat = traverse_util.flatten_dict(params) | traverse_util.flatten_dict(average)
    return traverse_util.unflatten_dict(flat)


def rate_of_step(
    schedule: Schedule, decay_rate: float
) -> Callable[[int, optax.OptState], float]:
    """Returns `rate(step, opt_state)`: the learning rate of a step, counted from 1.

    It is that of all parameters that no narrower group names: of kernels, before what
    `optim.rates` and an optimizer multiply it by in some arrays.

    Args:
      schedule: From `create_schedule`, with the group `all`.
      decay_rate: `config.optim.decay_rate`, of the plateau rule.
    """
    at = jax.jit(schedule["all"])

    def rate(step: int, opt_state: optax.OptState) -> float:
        value = np.asarray(at(np.int32(step - 1)))
        if (plateau := _find(opt_state, PlateauState)) is not None:
            value = value * np.float32(decay_rate) ** np.asarray(
                plateau.drops, np.float32
            )
        return float(str(value))  # 0.01, and no digits beyond float32's

    return rate


class PlateauState(NamedTuple):
    """What the plateau rule knows of the epochs' errors; saved with the optimizer.

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
        return jax.tree.map(
            lambda leaf: factor.astype(leaf.dtype) * leaf, updates
        ), state

    return optax.GradientTransformation(init, update)


def after_epoch(state: PlateauState, error: float, optim: ConfigDict) -> PlateauState:
    """Returns the state after an epoch, on the host and in its dtypes.

    An epoch improves if its error is more than `min_delta` below the best. After
    `patience` epochs in a row that do not, the rate drops; at most `max_drops` times.
    A best of the old rate stays the one to beat.

    Args:
      state: After the epoch before.
      error: Fraction of the test images that were classified wrongly.
      optim: `config.optim`.

    Source: Krizhevsky et al. 2012, §5: divided by 10 when the validation error stopped
    improving, three times before the end; how long it waited is not said.
    """
    best, waited, drops = (np.asarray(leaf).item() for leaf in state)
    # In float32, as it is saved: a resumed run compares the same numbers.
    error = np.float32(error).item()
    if error < best - optim.min_delta:
        best, waited = error, 0
    else:
        waited += 1
    if drops < optim.max_drops and waited >= optim.patience:
        waited, drops = 0, drops + 1
    return PlateauState(np.float32(best), np.int32(waited), np.int32(drops))


def update_plateau(
    opt_state: optax.OptState,
    row: Mapping[str, float],
    optim: ConfigDict,
    *,
    put: Callable[[PlateauState], PlateauState],
    say: Callable[[str], None],
) -> optax.OptState:
    """Returns the optimizer's state after an epoch; other schedules' unchanged.

    Args:
      opt_state: After the epoch's last step.
      row: The epoch's metrics. A run that ends within an epoch is evaluated as well,
        but does not count.
      optim: `config.optim`.
      put: Puts arrays on the run's devices.
      say: Takes the line that reports a drop.
    """
    old = _find(opt_state, PlateauState)
    if old is None or row["epoch"] % 1:
        return opt_state
    new = after_epoch(old, 1.0 - row["test/top1"], optim)
    before, drops = (np.asarray(state.drops).item() for state in (old, new))
    if drops > before:
        factor = optim.decay_rate**drops
        epochs = f"{optim.patience} epoch{'s' * (optim.patience > 1)}"
        say(f"plateau   no improvement for {epochs}: learning rate × {factor:g} now")
    new = put(new)

    def is_plateau(leaf: Any) -> bool:
        return isinstance(leaf, PlateauState)

    return jax.tree.map(
        lambda leaf: new if is_plateau(leaf) else leaf, opt_state, is_leaf=is_plateau
    )
