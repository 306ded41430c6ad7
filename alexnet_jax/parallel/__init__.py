"""Which devices a run takes, and how one step function runs on them.

One device, and several that share a batch and hold the whole network each: `pmap`.
Several that hold a tower each, or that belong to several processes: `mesh`, by
`jax.shard_map`, on which `pmap` itself is built since jax 0.8. The state has the same
layout everywhere, so a checkpoint does not know which devices wrote it.

A new device layout is a class with the methods of `Parallel`, which `create_parallel`
picks. `optim`, `step`, `loop`, `train`, `run/`, `inspection/`, `d2l/` and commands
import this room.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, Classifier
from alexnet_jax.parallel.mesh import MeshParallel
from alexnet_jax.parallel.pmap import DataParallel
from alexnet_jax.parallel.sharding import DATA, MODEL, Batch

__all__ = ["DataParallel", "MeshParallel", "Parallel", "create_parallel"]


class Parallel(Protocol):
    """A layout of devices that train one network together."""

    @property
    def axis_name(self) -> str | None:
        """The axis that steps sum over; None if one device has all of the batch."""

    def describe(self) -> str:
        """Returns the devices in a few words."""

    def local_model(self, model: Classifier) -> Classifier:
        """Returns the network, or the tower of it, that a device's step computes."""

    def shardings(self, tree: Any) -> Any:
        """Returns the sharding of each array of a state."""

    def compile_train(self, step: Callable, *, donate: bool = False) -> Callable:
        """Compiles `step(state, batch, key) -> (state, norms)`.

        Args:
          step: A pure function of a device, which sums over `axis_name`; its gradient
            is a tower's own.
          donate: Whether the state's memory is used for the result.
        """

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles `step(params, model_state, batch) -> sums`."""

    def round_up(self, batch_size: int) -> int:
        """Returns the next batch size that the devices can share."""

    def local_slice(self, batch_size: int) -> slice:
        """Returns which part of a batch this process reads."""

    def shard_batch(self, batch: Batch) -> Any:
        """Divides this process's part of a batch, `(B, ...)`, among its devices."""

    def put(self, state: Any) -> Any:
        """Puts a state, the same in every process, on the devices."""

    def replicate(self, key: jax.Array) -> jax.Array:
        """Puts a key on every device."""


def create_parallel(
    data: int, model: int, batch_size: int, name: str, towers: int | None = None
) -> Parallel:
    """Picks the devices.

    Args:
      data: `config.parallel.data`; -1 takes all.
      model: `config.parallel.model`: devices that hold the network together.
      batch_size: Images of a step over all devices.
      name: The network's.
      towers: Parts of it that can lie on devices of their own; None for those of the
        registered network of that name.

    Raises:
      InputError: The network has no such towers, there are too few devices, or they
        cannot share the batch.
    """
    towers = MODELS[name].towers if towers is None else towers
    if model not in (1, towers):
        able = [other for other, kind in MODELS.items() if kind.towers == model]
        hint = f"; networks with {model} towers: {', '.join(able)}" if able else ""
        raise InputError(
            f"parallel.model must be {' or '.join(map(str, sorted({1, towers})))} with "
            f"{name}, which has {towers} tower{'s' * (towers > 1)}; got {model}{hint}"
        )
    devices = jax.devices()
    there = len(devices) // model
    count = max(there, 1) if data == -1 else data
    if count * model > len(devices):
        platform, hint = devices[0].platform, ""
        if platform == "cpu" and jax.process_count() == 1:
            hint = (
                f"; JAX_NUM_CPU_DEVICES={count * model} in the environment makes them"
            )
        raise InputError(
            f"parallel.data × parallel.model must be at most {len(devices)}, the "
            f"number of {platform} devices here; got {count} × {model}{hint}"
        )
    if batch_size % count:
        raise InputError(
            f"batch_size must be a multiple of the {count} devices that share it "
            f"(or set parallel.data); got {batch_size}"
        )
    if model == 1 and jax.process_count() == 1:
        return DataParallel(devices[:count])
    if jax.process_count() > 1 and count * model < len(devices):
        raise InputError(
            f"parallel.data × parallel.model must be {len(devices)}, all devices of "
            f"the {jax.process_count()} processes; got {count} × {model}"
        )
    grid = np.asarray(devices[: count * model]).reshape(count, model)
    return MeshParallel(Mesh(grid, (DATA, MODEL)))
