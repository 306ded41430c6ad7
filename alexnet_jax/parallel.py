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


@dataclass(frozen=True)
class MeshParallel:
    """Rows of devices that share a batch; those of a row hold a tower each, or all.

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
        words = f"{rows * towers} × {self.mesh.devices.flat[0].device_kind}"
        if towers > 1:
            words += f": {towers} towers × {rows} shares of the batch"
        if jax.process_count() > 1:
            words += f", in {jax.process_count()} processes"
        return words

    def local(self, model: Classifier) -> Classifier:
        """Returns the network, or the tower of it, that a device's step sees."""
        return model.clone(tower_axis=_MODEL) if self._split else model

    @property
    def _split(self) -> bool:
        return self.mesh.shape[_MODEL] > 1

    def specs(self, tree: Any) -> Any:
        """Returns along which axis each array of a state is cut."""

        def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
            if not (self._split and is_split(path)):
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
        """Where a batch lies: a share on all devices of a row."""
        return NamedSharding(self.mesh, PartitionSpec(_DATA))

    def rows(self, batch_size: int) -> slice:
        """Returns what of a batch this process needs: its rows' shares."""
        own = jax.process_index()
        rows = [
            row
            for row, devices in enumerate(self.mesh.devices)
            if any(device.process_index == own for device in devices)
        ]
        share = batch_size // len(self.mesh.devices)
        return slice(rows[0] * share, (rows[-1] + 1) * share)

    def split(self, batch: Batch) -> Any:
        """Gives every row its share of a batch, of which this process has `rows`."""
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(
                self.batch_sharding, array
            ),
            batch,
        )

    def place(self, state: Any) -> Any:
        """Puts a state, whole in every process, on the devices that hold its parts."""

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(
                whole.shape, sharding, lambda index: whole[index]
            )

        return jax.tree.map(put, state, self.shardings(state))

    def share(self, key: jax.Array) -> jax.Array:
        """Gives every device a key."""
        data = np.asarray(jax.random.key_data(key))
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        wrap = jax.jit(jax.random.wrap_key_data, out_shardings=everywhere)
        return wrap(data)


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
    if model == 1 and jax.process_count() == 1:
        return DataParallel(devices[:count])
    if jax.process_count() > 1 and count * model < len(devices):
        raise InputError(
            f"parallel.data × parallel.model must be {len(devices)}, all devices of "
            f"the {jax.process_count()} processes; got {count} × {model}"
        )
    grid = np.asarray(devices[: count * model]).reshape(count, model)
    return MeshParallel(Mesh(grid, (_DATA, _MODEL)))


def _towers(network: type[Classifier]) -> int:
    return getattr(network, "towers", 1)
