"""Which devices a run takes, and how one step function runs on them.

One device: `jax.jit`. Several that share a batch: `jax.pmap`, the state unstacked
(`in_axes=None`, `out_axes=None`). Several that hold a tower each: `jax.shard_map`, on
which `pmap` itself has rested since jax 0.8, over a mesh of data × model. The state has
the same layout everywhere, so a checkpoint does not know which devices wrote it.
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
from alexnet_jax.models.towers import is_split

Batch = dict[str, np.ndarray]

_DATA, _MODEL = "data", "model"


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
        return _DATA if len(self.devices) > 1 else None

    def describe(self) -> str:
        """Returns the devices in a few words."""
        return f"{len(self.devices)} × {self.devices[0].device_kind}"

    def local(self, model: Classifier) -> Classifier:
        """Returns the network as a step on one of the devices sees it."""
        return model

    def shardings(self, tree: Any) -> Any:
        """Returns where each array of a state lives: whole on every device."""
        sharding: Sharding = SingleDeviceSharding(self.devices[0])
        if self.axis_name is not None:
            mesh = Mesh(np.asarray(self.devices), (_DATA,))
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


@dataclass(frozen=True)
class TowerParallel:
    """Devices that hold a tower each, in rows that share a batch.

    Attributes:
      mesh: Devices of one kind, over the axes `data` and `model`.
    """

    mesh: Mesh

    @property
    def axis_name(self) -> str | None:
        """The axis that steps sum over; None if a single row has all of the batch."""
        return _DATA if self.mesh.shape[_DATA] > 1 else None

    def describe(self) -> str:
        """Returns the devices in a few words."""
        rows, towers = self.mesh.devices.shape
        kind = self.mesh.devices.flat[0].device_kind
        return f"{rows * towers} × {kind}: {towers} towers × {rows} shares of the batch"

    def local(self, model: Classifier) -> Classifier:
        """Returns the network as a step on one of the devices sees it: a tower."""
        return model.clone(tower_axis=_MODEL)

    def specs(self, tree: Any) -> Any:
        """Returns along which axis each array of a state is cut."""

        def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
            if not is_split(path):
                return PartitionSpec()
            return PartitionSpec(*[None] * (leaf.ndim - 1), _MODEL)

        return jax.tree_util.tree_map_with_path(spec, tree)

    def shardings(self, tree: Any) -> Any:
        """Returns where each array of a state lives."""
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec),
            self.specs(tree),
            is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
        )

    def compile_train(self, step: Callable, *, donate: bool = False) -> Callable:
        """Compiles `step(state, batch, key) -> state`, which sums over `axis_name`.

        Args:
          step: A pure function of a device; its gradient is a tower's own.
          donate: Whether the state's memory is used for the result.
        """

        def run(state: Any, batch: Any, key: jax.Array) -> Any:
            specs = self.specs(state)
            shared = PartitionSpec(_DATA), PartitionSpec()
            return self._map(step, (specs, *shared), specs)(state, batch, key)

        return jax.jit(run, donate_argnums=(0,) if donate else ())

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles `step(params, model_state, batch) -> sums`."""

        def run(params: Any, model_state: Any, batch: Any) -> Any:
            specs = self.specs(params), self.specs(model_state), PartitionSpec(_DATA)
            return self._map(step, specs, PartitionSpec())(params, model_state, batch)

        return jax.jit(run)

    def _map(self, step: Callable, in_specs: Any, out_specs: Any) -> Callable:
        # Unchecked: that both towers compute the loss alike is known to `towers.py`,
        # not to JAX.
        return jax.shard_map(
            step,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            check_vma=False,
        )

    def round_up(self, batch_size: int) -> int:
        """Returns the next batch size that the rows can share."""
        count = self.mesh.shape[_DATA]
        return -(-batch_size // count) * count

    @property
    def batch_sharding(self) -> NamedSharding:
        """Where a batch lies: a share a row, on both of its towers."""
        return NamedSharding(self.mesh, PartitionSpec(_DATA))

    def split(self, batch: Batch) -> Any:
        """Gives every row its share of a batch."""
        return jax.device_put(batch, self.batch_sharding)

    def place(self, state: Any) -> Any:
        """Puts a state on the devices, each tower's part on its own."""
        return jax.device_put(state, self.shardings(state))


Parallel = DataParallel | TowerParallel


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
    towers = getattr(MODELS.get(name), "towers", 1)
    if model not in (1, towers):
        able = [other for other, kind in MODELS.items() if _towers(kind) == model]
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
    if model == 1:
        return DataParallel(devices[:count])
    grid = np.asarray(devices[: count * model]).reshape(count, model)
    return TowerParallel(Mesh(grid, (_DATA, _MODEL)))


def _towers(network: type[Classifier]) -> int:
    return getattr(network, "towers", 1)
