"""One step of training, one of evaluation: pure functions.

On several devices each runs on its part of the batch and sums over `axis_name`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import DTypeLike

from alexnet_jax.metrics import (
    Loss,
    Sums,
    cross_entropy,
    metric_sums,
    training_sums,
    zero_sums,
)
from alexnet_jax.models import Classifier
from alexnet_jax.parallel.sharding import is_sharded
from alexnet_jax.preprocessing.crops import NUM_VIEWS
from alexnet_jax.preprocessing.pipeline import Augment, Preprocess, Views
from alexnet_jax.transfer import freezing
from alexnet_jax.transfer.freezing import Frozen

Batch = dict[str, jax.Array]
Norms = dict[str, jax.Array]

_NO_STEP = 2**32 - 1  # keeps the augmentation's keys apart from the steps' own


class TrainState(struct.PyTreeNode):
    """All that a run needs to resume; the same on any number of devices.

    Attributes:
      step: Steps done, `() int32`.
      params: The network's parameters, float32.
      opt_state: The optimizer's state, of the parameters that are not frozen.
      model_state: The network's mutable collections, such as `batch_stats`.
      epoch_sums: Sums over the epoch's examples so far.
      window_sums: Sums over the examples since the last logged row.
      first_bad: The first step, counted from 1, whose loss was not finite or whose
        update left a parameter that is not, `() int32`; 0 while there is none.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    model_state: dict[str, Any]
    epoch_sums: Sums
    window_sums: Sums
    first_bad: jax.Array

    @property
    def batch_stats(self) -> Any:
        """BatchNorm's running statistics, under d2l's name; empty without BatchNorm."""
        return self.model_state.get("batch_stats", {})


def create_state(
    model: Classifier,
    tx: optax.GradientTransformation,
    input_shape: tuple[int, ...],
    key: jax.Array,
    frozen: Frozen = freezing.NONE,
) -> TrainState:
    """Draws a fresh state.

    Args:
      model: The network.
      tx: The optimizer.
      input_shape: `(B, H, W, C)` as the network will see it.
      key: Typed PRNG key, `()`.
      frozen: Names of the layers that do not learn.
    """

    @jax.jit  # so that nothing of the traced forward pass is computed
    def init(key: jax.Array) -> dict[str, Any]:
        keys = {"params": key, "dropout": key}
        return dict(model.init(keys, jnp.zeros(input_shape, jnp.float32)))

    model_state = init(key)
    params = model_state.pop("params")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=tx.init(freezing.split(params, frozen)[0]),
        model_state=model_state,
        epoch_sums=zero_sums(),
        window_sums=zero_sums(),
        first_bad=jnp.zeros((), jnp.int32),
    )


def cast(tree: Any, dtype: DTypeLike) -> Any:
    """Returns arrays in the dtype that layers compute in."""
    return jax.tree.map(lambda array: array.astype(dtype), tree)


def augmentation_key(key: jax.Array, step: jax.Array | int) -> jax.Array:
    """Returns the key of a step's augmentation, from the key that steps are given."""
    return jax.random.fold_in(jax.random.fold_in(key, _NO_STEP), step)


def make_train_step(
    model: Classifier,
    tx: optax.GradientTransformation,
    preprocess: Preprocess,
    *,
    augment: Augment | None = None,
    loss: Loss = cross_entropy,
    dtype: str = "float32",
    steps_per_epoch: int,
    log_every_steps: int,
    gradient_norms: bool = False,
    frozen: Frozen = freezing.NONE,
    accumulate_steps: int = 1,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Norms]]:
    """Returns `train_step(state, batch, key) -> (state, norms)`.

    The gradient is that of the mean loss over the true examples of the *global* batch:
    a device that holds padding only adds zeros.

    Args:
      model: The network, `training=True`, or a tower of it.
      tx: The optimizer.
      preprocess: Makes the network's input of stored images.
      augment: Does so instead, at random.
      loss: Returns the loss of each example.
      dtype: `float32`, or `bfloat16` for activations and gradients; parameters, logits
        and loss stay float32.
      steps_per_epoch: After so many steps `epoch_sums` restart.
      log_every_steps: After so many steps of an epoch `window_sums` restart.
      gradient_norms: Whether the step returns, as `norms`, the norm of each kernel's
        gradient by its layer's name, `() float32`, before decay and clipping; else
        `norms` is empty.
      frozen: Names of the layers that do not learn, and whose BatchNorm is that of an
        evaluation.
      accumulate_steps: Equal parts of a device's images, which the network computes one
        after the other; their gradients are added. Each draws its own dropout, and
        BatchNorm normalizes each by its own statistics.
      axis_name: The devices' axis; None on one device.
    """
    compute_dtype = jnp.dtype(dtype)
    tower_axis = getattr(model, "tower_axis", None)

    def all_sum(tree: Any) -> Any:
        return jax.lax.psum(tree, axis_name) if axis_name else tree

    def train_step(
        state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Norms]:
        dropout_key = jax.random.fold_in(key, state.step)
        device = jax.lax.axis_index(axis_name) if axis_name else 0
        dropout_key = jax.random.fold_in(dropout_key, device)
        if tower_axis:
            tower = jax.lax.axis_index(tower_axis)
            dropout_key = jax.random.fold_in(dropout_key, tower)
        if augment:
            first = device * len(batch["image"])  # in the global batch
            image = augment(
                batch["image"],
                augmentation_key(key, state.step),
                first,
                state.step // steps_per_epoch,
            )
        else:
            image = preprocess(batch["image"])
        image = image.astype(compute_dtype)
        count = all_sum(batch["mask"].sum().astype(jnp.float32))

        learning, held = freezing.split(state.params, frozen)

        def loss_fn(
            learning: Any, model_state: Any, part: Batch, key: jax.Array
        ) -> tuple[Any, tuple[Sums, Any]]:
            params = cast(freezing.join(learning, held), compute_dtype)
            with freezing.evaluated(frozen):
                logits, model_state = model.apply(
                    {"params": params, **model_state},
                    part["image"],
                    rngs={"dropout": key},
                    mutable=list(model_state),
                )
            sums = training_sums(
                loss, logits.astype(jnp.float32), part["label"], part["mask"]
            )
            # Of no example, all of which may be broken, the gradient is zero.
            return sums["loss"] / jnp.maximum(count, 1.0), (sums, model_state)

        gradient = jax.grad(loss_fn, has_aux=True)
        whole = batch | {"image": image}
        if accumulate_steps == 1:
            grads, (sums, model_state) = gradient(
                learning, state.model_state, whole, dropout_key
            )
        else:

            def add_part(total: Any, numbered: Any) -> tuple[Any, None]:
                (grads, sums, model_state), (number, part) = total, numbered
                key = jax.random.fold_in(dropout_key, number)
                one, (more, model_state) = gradient(learning, model_state, part, key)
                added = jax.tree.map(jnp.add, (grads, sums), (one, more))
                return (*added, model_state), None

            zeros = jax.tree.map(jnp.zeros_like, learning), zero_sums()
            numbers = jnp.arange(accumulate_steps, dtype=jnp.int32)
            parts = jax.tree.map(
                lambda array: array.reshape(accumulate_steps, -1, *array.shape[1:]),
                whole,
            )
            (grads, sums, model_state), _ = jax.lax.scan(
                add_part, (*zeros, state.model_state), (numbers, parts)
            )
        grads, sums = all_sum((grads, sums))
        norms = _kernel_norms(grads, tower_axis) if gradient_norms else {}
        if axis_name:
            model_state = jax.tree.map(_mean_over(axis_name), model_state)
        if frozen:
            model_state = freezing.hold_state(model_state, state.model_state, frozen)
        updates, opt_state = tx.update(grads, state.opt_state, learning)
        position = state.step % steps_per_epoch  # in the epoch
        learning = optax.apply_updates(learning, updates)
        is_bad = ~(jnp.isfinite(sums["loss"]) & _all_finite(learning))
        if tower_axis:  # each knows of its own parameters
            is_bad = jax.lax.pmax(is_bad.astype(jnp.int32), tower_axis) > 0
        state = state.replace(
            step=state.step + 1,
            params=freezing.join(learning, held),
            opt_state=opt_state,
            model_state=model_state,
            epoch_sums=_add(state.epoch_sums, sums, restart=position == 0),
            window_sums=_add(
                state.window_sums, sums, restart=position % log_every_steps == 0
            ),
            first_bad=jnp.where(
                is_bad & (state.first_bad == 0), state.step + 1, state.first_bad
            ),
        )
        return state, norms

    return train_step


def _kernel_norms(grads: Any, tower_axis: str | None) -> Norms:
    """Returns the norm of each kernel's gradient, by its layer's name."""
    norms = {}
    for path, leaf in jax.tree.leaves_with_path(grads):
        *layer, name = (str(getattr(key, "key", key)) for key in path)
        if name == "kernel":
            square = jnp.square(leaf).sum()
            if tower_axis and is_sharded(path):
                square = jax.lax.psum(square, tower_axis)
            norms["/".join(layer)] = jnp.sqrt(square)
    return norms


def _all_finite(tree: Any) -> jax.Array:
    # 0 times NaN or inf is NaN, also in a sum, which on a CPU takes half of the time.
    sums = [(0.0 * leaf).sum() for leaf in jax.tree.leaves(tree)]
    return (jnp.stack(sums) == 0).all()


def _mean_over(axis_name: str) -> Callable[[jax.Array], jax.Array]:
    def mean(array: jax.Array) -> jax.Array:
        # Running statistics differ between devices; a counter does not.
        inexact = jnp.issubdtype(array.dtype, jnp.inexact)
        return jax.lax.pmean(array, axis_name) if inexact else array

    return mean


def _add(total: Sums, sums: Sums, restart: jax.Array) -> Sums:
    return {name: jnp.where(restart, 0.0, total[name]) + sums[name] for name in sums}


def make_forward(
    model: Classifier,
    preprocess: Preprocess,
    *,
    views: Views | None = None,
    dtype: str = "float32",
) -> Callable[[Any, dict, jax.Array], jax.Array]:
    """Returns `forward(params, model_state, image) -> logits`, float32.

    Args:
      model: The network; it is applied with `training=False`.
      preprocess: Makes the network's input of stored images.
      views: Makes ten of each, over which probabilities are averaged, instead of one.
      dtype: As in `make_train_step`.
    """
    compute_dtype = jnp.dtype(dtype)
    network = model.clone(training=False)

    def forward(params: Any, model_state: dict, image: jax.Array) -> jax.Array:
        variables = {"params": cast(params, compute_dtype), **model_state}

        def logits_of(image: jax.Array) -> jax.Array:
            logits: Any = network.apply(variables, image.astype(compute_dtype))
            return logits.astype(jnp.float32)

        if views:
            return _log_mean_probability(logits_of, views(image))
        return logits_of(preprocess(image))

    return forward


def make_eval_step(
    model: Classifier,
    preprocess: Preprocess,
    *,
    views: Views | None = None,
    metrics: Sequence[str] = ("loss", "top1", "top5"),
    dtype: str = "float32",
    axis_name: str | None = None,
) -> Callable[[Any, dict, Batch], Sums]:
    """Returns `eval_step(params, model_state, batch) -> sums` over all devices.

    Args:
      model: The network.
      preprocess: As in `make_forward`.
      views: As in `make_forward`.
      metrics: Keys of `metrics.METRICS`.
      dtype: As in `make_train_step`.
      axis_name: The devices' axis; None on one device.
    """
    forward = make_forward(model, preprocess, views=views, dtype=dtype)

    def eval_step(params: Any, model_state: dict, batch: Batch) -> Sums:
        logits = forward(params, model_state, batch["image"])
        sums = metric_sums(metrics, logits, batch["label"], batch["mask"])
        return jax.lax.psum(sums, axis_name) if axis_name else sums

    return eval_step


def _log_mean_probability(
    logits_of: Preprocess, view: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Returns the logarithms of the mean probabilities, `(B, K)`, to be used as logits.

    One view after the other, in the memory of one.
    """
    log_probability = jax.lax.map(
        lambda index: jax.nn.log_softmax(logits_of(view(index))),
        jnp.arange(NUM_VIEWS, dtype=jnp.int32),
    )
    return jax.nn.logsumexp(log_probability, axis=0) - math.log(NUM_VIEWS)
