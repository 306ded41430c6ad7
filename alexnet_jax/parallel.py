"""Which devices a run takes, and how one step function runs on them.

One device: `jax.jit`. Several: `jax.pmap` over the batch, the state unstacked
(`in_axes=None`, `out_axes=None`), so that it has the same layout on any number of
devices and a checkpoint does not know how many wrote it.
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

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class DataParallel:
    """Devices that share a batch.

    Attributes:
      devices: One or more devices of one kind.
    """

    devices: Sequence[jax.Device]

    @property
    def axis_name(self) -> str | None:
        """The axis that steps sum over; None on one device."""
        return "data" if len(self.devices) > 1 else None

    @property
    def sharding(self) -> Sharding:
        """Where the state lives: whole on every device."""
        if self.axis_name is None:
            return SingleDeviceSharding(self.devices[0])
        mesh = Mesh(np.asarray(self.devices), (self.axis_name,))
        return NamedSharding(mesh, PartitionSpec())

    def compile(
        self, step: Callable, in_axes: tuple[int | None, ...], donate: bool = False
    ) -> Callable:
        """Compiles a step for the devices.

        Args:
          step: A pure function that sums over `axis_name` whatever it returns.
          in_axes: For each argument 0 if it is a batch, None if all devices share it.
          donate: Whether the first argument's memory is used for the result.
        """
        donated = (0,) if donate else ()
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

    def split(self, batch: Batch) -> Batch:
        """Gives every device its share: `(B, ...)` → `(devices, B / devices, ...)`."""
        if self.axis_name is None:
            return batch
        count = len(self.devices)
        return {
            name: array.reshape(count, -1, *array.shape[1:])
            for name, array in batch.items()
        }

    def replicate(self, tree: Any) -> Any:
        """Puts a tree of arrays whole on every device."""
        return jax.device_put(tree, self.sharding)


def create_parallel(data: int, batch_size: int) -> DataParallel:
    """Picks the devices.

    Args:
      data: `config.parallel.data`; -1 takes all there are.
      batch_size: Images of a step over all devices.

    Raises:
      InputError: More devices asked for than there are, or they cannot share a batch.
    """
    devices = jax.devices()
    count = len(devices) if data == -1 else data
    if count > len(devices):
        raise InputError(
            f"parallel.data must be at most {len(devices)}, the number of "
            f"{devices[0].platform} devices here; got {data}"
        )
    if batch_size % count:
        raise InputError(
            f"batch_size must be a multiple of the {count} devices that share it "
            f"(or set parallel.data); got {batch_size}"
        )
    return DataParallel(devices[:count])
