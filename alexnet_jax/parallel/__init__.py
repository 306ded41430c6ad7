"""Which devices a run takes, and how one step function runs on them.

One device: `jax.jit`. Several that share a batch: `jax.pmap`, the state unstacked
(`in_axes=None`, `out_axes=None`). Several that hold a tower each, or that lie in
several processes: `jax.shard_map`, on which `pmap` itself has rested since jax 0.8,
over a mesh of data × model. The state has the same layout everywhere, so a checkpoint
does not know which devices wrote it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import (
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS, Classifier
from alexnet_jax.parallel.mesh import DATA, MODEL, Batch, MeshParallel, with_axes


@dataclass(frozen=True)
class DataParallel:
    """Devices that share a batch and hold the whole network each.

    Attributes:
      devices: One or more devices of one kind.
    """

    devices: Sequence[jax.Device]

    @property
    def axis_name(self) -> str | None:
        """The axis that steps sum over; None on one device."""
        return DATA if len(self.devices) > 1 else None

    def describe(self) -> str:
        """Returns the devices in a few words."""
        return f"{len(self.devices)} × {self.devices[0].device_kind}"

    def local(self, model: Classifier) -> Classifier:
        """Returns the network as a step on one of the devices sees it."""
        return with_axes(model, batch_axis=self.axis_name)

    def shardings(self, tree: Any) -> Any:
        """Returns where each array of a state lives: whole on every device."""
        sharding: Sharding = SingleDeviceSharding(self.devices[0])
        if self.axis_name is not None:
            mesh = Mesh(np.asarray(self.devices), (DATA,))
            sharding = NamedSharding(mesh, PartitionSpec())
        return jax.tree.map(lambda _: sharding, tree)

    def compile_train(self, step: Callable, *, donate: bool = False) -> Callable:
        """Compiles `step(state, batch, key) -> state`, which sums over `axis_name`.

        Args:
          step: A pure function of a device.
          donate: Whether the state's memory is used for the result.
        """
        return self._compile(step, (None, 0, None), (0,) if donate else ())

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles `step(params, model_state, batch) -> sums`."""
        return self._compile(step, (None, None, 0), ())

    def _compile(
        self, step: Callable, in_axes: tuple[int | None, ...], donated: tuple[int, ...]
    ) -> Callable:
        if self.axis_name is None:
            return jax.jit(step, donate_argnums=donated)
        return jax.pmap(
            step,
            axis_name=self.axis_name,
            in_axes=in_axes,
            out_axes=None,
            donate_argnums=donated,
            devices=list(self.devices),
        )

    def round_up(self, batch_size: int) -> int:
        """Returns the next batch size that the devices can share."""
        count = len(self.devices)
        return -(-batch_size // count) * count

    def rows(self, batch_size: int) -> slice:
        """Returns what of a batch this process needs: all."""
        return slice(0, batch_size)

    def split(self, batch: Batch) -> Batch:
        """Gives every device its share: `(B, ...)` → `(devices, B / devices, ...)`."""
        if self.axis_name is None:
            return batch
        count = len(self.devices)
        return {
            name: array.reshape(count, -1, *array.shape[1:])
            for name, array in batch.items()
        }

    def place(self, state: Any) -> Any:
        """Puts a state on the devices."""
        return jax.device_put(state, self.shardings(state))

    def share(self, key: jax.Array) -> jax.Array:
        """Gives every device a key."""
        return key


Parallel = DataParallel | MeshParallel


def create_parallel(data: int, model: int, batch_size: int, name: str) -> Parallel:
    """Picks the devices.

    Args:
      data: `config.parallel.data`; -1 takes all there are.
      model: `config.parallel.model`: devices that hold the network together.
      batch_size: Images of a step over all devices.
      name: The network's.

    Raises:
      InputError: The network cannot be cut so, more devices are asked for than there
        are, or they cannot share a batch.
    """
    towers = MODELS[name].towers
    if model not in (1, towers):
        able = [other for other, kind in MODELS.items() if kind.towers == model]
        hint = f"; those that can be cut in {model}: {', '.join(able)}" if able else ""
        raise InputError(
            f"parallel.model must be {' or '.join(map(str, sorted({1, towers})))} with "
            f"{name}, which has {towers} tower{'s' * (towers > 1)}; got {model}{hint}"
        )
    devices = jax.devices()
    there = len(devices) // model
    count = max(there, 1) if data == -1 else data
    if count * model > len(devices):
        raise InputError(
            f"parallel.data × parallel.model must be at most {len(devices)}, the "
            f"number of {devices[0].platform} devices here; got {count} × {model}"
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
