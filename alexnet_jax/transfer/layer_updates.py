"""The update of a layer-parameter file: each array at its own rate, and held in bounds.

Source: cuda-convnet `weights.cu`, and `constrainWeights` in `layer.cu`.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.updates import ArrayUpdate, LayerUpdates, Rate
from alexnet_jax.models.layer_names import layer_of


def updates_of(model: Any, params: str | None) -> LayerUpdates | None:
    """Returns the updates that a run's optimizer follows, or None.

    Args:
      model: The network.
      params: `config.optim.params`.

    Raises:
      InputError: They are asked for, and the network was made without such a file.
    """
    if params is None:
        return None
    updates = getattr(model, "layer_updates", None)
    if updates is None:
        raise InputError(
            f"optim.params must not be set with {type(model).__name__}, which was made "
            f"without a layer-parameter file; got {params!r}"
        )
    return updates


def rates_by_array(
    updates: LayerUpdates, num_steps: int
) -> dict[str, Callable[[Any], jax.Array]]:
    """Returns the file's rates as a schedule, by the names of arrays.

    Args:
      updates: What the file says.
      num_steps: Length of the run.
    """

    def schedule(name: str, rate: Rate) -> Callable[[Any], jax.Array]:
        def at(step: Any) -> jax.Array:
            # A float is exact up to 2**24 steps.
            value = rate.at(jnp.asarray(step, jnp.float32) / num_steps)
            return value * _noise(name, step, rate.noise) if rate.noise else value

        return at

    return {name: schedule(name, one.rate) for name, one in updates.arrays.items()}


def _noise(name: str, step: Any, share: float) -> jax.Array:
    """Returns what a noisy rate is multiplied by: a function of array and step."""
    key = jax.random.key(zlib.crc32(name.encode()))
    key = jax.random.fold_in(key, jnp.asarray(step, jnp.int32))
    return 1 + share * jnp.abs(jax.random.normal(key, dtype=jnp.float32))


def frozen_arrays(updates: LayerUpdates) -> list[str]:
    """Returns the names of arrays whose rate is 0 from the begin."""
    return [name for name, one in updates.arrays.items() if not one.rate.base]


def follow(
    updates: LayerUpdates,
    rate: optax.GradientTransformation,
    learning_rate: float | None,
) -> list[optax.GradientTransformation]:
    """Returns what is chained: the rule of 2012, with the file's numbers.

    As in `sgd_2012`, and in the same order, the rate multiplies the gradient and the
    decay before the velocity gathers them.

    Args:
      updates: What the file says.
      rate: Multiplies by the learning rate.
      learning_rate: That of kernels, instead of the file's, and half of the biases';
        None if the file's hold.
    """

    def decay(update: ArrayUpdate, change: jax.Array, weight: jax.Array) -> jax.Array:
        return change + update.weight_decay * weight if update.weight_decay else change

    def velocity(update: ArrayUpdate, change: jax.Array, last: jax.Array) -> jax.Array:
        return change + update.momentum * last

    def gather(changes: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        gathered = _each(updates, velocity, changes, state.trace)
        return gathered, optax.TraceState(trace=gathered)

    parts = [
        optax.stateless(lambda changes, params: _each(updates, decay, changes, params))
    ]
    if learning_rate is not None:
        parts.append(optax.stateless(lambda changes, params: _twice(changes)))
    parts += [rate, optax.GradientTransformation(optax.trace(0.0).init, gather)]
    if learning_rate != 0 and any(map(_is_held, updates.arrays.values())):
        parts.append(
            optax.stateless(
                lambda changes, params: _each(updates, _hold, changes, params)
            )
        )
    return parts


def _each(
    updates: LayerUpdates,
    change: Callable[[ArrayUpdate, jax.Array, jax.Array], jax.Array],
    *trees: Any,
) -> Any:
    """Returns a tree of what is made of each array by what the file says of it."""

    def one(path: Sequence[Any], *leaves: jax.Array) -> jax.Array:
        return change(_find(updates.arrays, path), *leaves)

    return jax.tree_util.tree_map_with_path(one, *trees)


def _find(arrays: Mapping[str, ArrayUpdate], path: Sequence[Any]) -> ArrayUpdate:
    name = f"{layer_of(path)}/{_last(path)}"
    if name not in arrays:
        raise InputError(
            f"optim.params must give each array a rate; got none for {name}"
        )
    return arrays[name]


def _last(path: Sequence[Any]) -> str:
    return str(getattr(path[-1], "key", path[-1]))


def _twice(changes: Any) -> Any:
    """Doubles those of biases."""

    def one(path: Sequence[Any], change: jax.Array) -> jax.Array:
        return 2.0 * change if _last(path) == "bias" else change

    return jax.tree_util.tree_map_with_path(one, changes)


def _is_held(update: ArrayUpdate) -> bool:
    return update.max_norm > 0 or update.contrast[1] > 0


def _hold(update: ArrayUpdate, change: jax.Array, weight: jax.Array) -> jax.Array:
    """Returns the change after which each unit's weights are within their bounds.

    A tower holds whole units, as arrays are divided along the last axis.

    Args:
      update: What the file says.
      change: Of a kernel, `(..., units) float32`.
      weight: The kernel before it.
    """
    if not _is_held(update):
        return change
    axes = (2,) if update.local else tuple(range(weight.ndim - 1))
    new = weight + change
    scale = jnp.ones((), new.dtype)
    least, largest = update.contrast
    count = new.size // new.sum(axes).size
    if largest > 0:
        # The root of the sum over the count, as the source has it: no deviation.
        off = new - new.mean(axes, keepdims=True)
        contrast = _norm(off, axes) / count
        within = jnp.clip(contrast, least, largest)
        # Equal weights cannot be brought apart.
        is_out = (contrast != within) & (contrast > 0)
        scale = jnp.where(is_out, within / jnp.where(is_out, contrast, 1.0), 1.0)
    if update.max_norm > 0:
        norm, most = _norm(new * scale, axes), update.max_norm * count
        is_long = norm > most
        scale *= jnp.where(is_long, most / jnp.where(is_long, norm, 1.0), 1)
    return jnp.where(scale != 1, new * scale - weight, change)


def _norm(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return jnp.sqrt(jnp.square(array).sum(axes, keepdims=True))
