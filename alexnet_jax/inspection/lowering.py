"""A training step, lowered for any devices without a weight being allocated."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from alexnet_jax.config import default_config
from alexnet_jax.models import Classifier
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.parallel import Parallel
from alexnet_jax.parallel.mesh import MeshParallel
from alexnet_jax.preprocessing.pipeline import scale_and_resize
from alexnet_jax.step import create_state, make_train_step


def _optimizer() -> optax.GradientTransformation:
    optim = default_config().optim
    optim.momentum = 0.9
    return create_optimizer(optim, create_schedule(optim, 0.01, 1, 1))


def abstract_state(
    network: type[Classifier], input_shape: tuple[int, ...], num_classes: int
) -> Any:
    """Returns the shapes of a `TrainState` with momentum; allocates nothing.

    Args:
      network: The network's class.
      input_shape: `(B, H, W, C)`.
      num_classes: Number of logits.
    """
    model = network(training=True, num_classes=num_classes)
    shape = (1, *input_shape[1:])
    return jax.eval_shape(
        lambda key: create_state(model, _optimizer(), shape, key), jax.random.key(0)
    )


def lower_step(
    parallel: Parallel,
    network: type[Classifier],
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    automatic: bool = False,
) -> Any:
    """Lowers a training step; allocates no weights.

    Args:
      parallel: The layout of the devices.
      network: The network's class.
      input_shape: `(B, H, W, C)`, B over all devices.
      num_classes: Number of logits.
      automatic: Whether XLA's partitioner divides the network of one device, given the
        shardings of the arrays, instead of the towers as they are written here.

    Returns:
      A `jax.stages.Lowered`, which can be compiled.
    """
    model = network(training=True, num_classes=num_classes)
    batch_size, *image_shape = input_shape
    prepare = partial(scale_and_resize, size=image_shape[:2])
    step = make_train_step(
        model if automatic else parallel.local_model(model),
        _optimizer(),
        prepare,
        steps_per_epoch=1,
        log_every_steps=1,
        axis_name=None if automatic else parallel.axis_name,
    )
    state = abstract_state(network, input_shape, num_classes)
    batch: Any = {
        "image": jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    if isinstance(parallel, MeshParallel):
        state = _with_shardings(state, parallel.shardings(state))
        batch = _with_shardings(batch, parallel.batch_sharding)
    else:
        batch = jax.eval_shape(parallel.shard_batch, batch)
    key = jax.random.key(1)
    compiled: Any = jax.jit(step) if automatic else parallel.compile_train(step)
    return compiled.lower(state, batch, key)


def _with_shardings(tree: Any, shardings: Any) -> Any:
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda leaf, one: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one),
        tree,
        shardings,
    )
