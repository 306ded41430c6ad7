"""One device: `jax.jit`. Several that share a batch: `jax.pmap`."""

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

from alexnet_jax.models import Classifier
from alexnet_jax.parallel.sharding import DATA, Batch, with_axes


@dataclass(frozen=True)
class DataParallel:
    """Devices that share a batch and hold the whole network each.

    Attributes:
      devices: One or more devices of one kind.
    """

    devices: Sequence[jax.Device]

    @property
    def axis_name(self) -> str | None:
        return DATA if len(self.devices) > 1 else None

    def describe(self) -> str:
        return f"{len(self.devices)} × {self.devices[0].device_kind}"

    def local_model(self, model: Classifier) -> Classifier:
        return with_axes(model, batch_axis=self.axis_name)

    def shardings(self, tree: Any) -> Any:
        sharding: Sharding = SingleDeviceSharding(self.devices[0])
        if self.axis_name is not None:
            mesh = Mesh(np.asarray(self.devices), (DATA,))
            sharding = NamedSharding(mesh, PartitionSpec())
        return jax.tree.map(lambda _: sharding, tree)

    def compile_train(self, step: Callable, *, donate: bool = False) -> Callable:
        return self._compile(step, (None, 0, None), (0,) if donate else ())

    def compile_eval(self, step: Callable) -> Callable:
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
        count = len(self.devices)
        return -(-batch_size // count) * count

    def local_slice(self, batch_size: int) -> slice:
        return slice(0, batch_size)

    def shard_batch(self, batch: Batch) -> Batch:
        # `(B, ...)` → `(devices, B / devices, ...)`, as pmap takes it.
        if self.axis_name is None:
            return batch
        count = len(self.devices)
        return {
            name: array.reshape(count, -1, *array.shape[1:])
            for name, array in batch.items()
        }

    def put(self, state: Any) -> Any:
        return jax.device_put(state, self.shardings(state))

    def replicate(self, key: jax.Array) -> jax.Array:
        return key
