"""Devices in rows and columns: `jax.shard_map` over a mesh of data × model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.layers.towers import is_sharded
from alexnet_jax.models import Classifier

Batch = dict[str, np.ndarray]

DATA, MODEL = "data", "model"


def with_axes(model: Classifier, **axes: str | None) -> Classifier:
    """Returns a network that knows of the devices' axes, as far as it asks."""
    known: Any = {name: axis for name, axis in axes.items() if hasattr(model, name)}
    return model.clone(**known)


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
        return DATA if self.mesh.shape[DATA] > 1 else None

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
        tower_axis = MODEL if self._split else None
        return with_axes(model, tower_axis=tower_axis, batch_axis=self.axis_name)

    @property
    def _split(self) -> bool:
        return self.mesh.shape[MODEL] > 1

    def specs(self, tree: Any) -> Any:
        """Returns along which axis each array of a state is cut."""

        def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
            if not (self._split and is_sharded(path)):
                return PartitionSpec()
            return PartitionSpec(*[None] * (leaf.ndim - 1), MODEL)

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
            shared = PartitionSpec(DATA), PartitionSpec()
            return self._map(step, (specs, *shared), specs)(state, batch, key)

        return jax.jit(run, donate_argnums=(0,) if donate else ())

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles `step(params, model_state, batch) -> sums`."""

        def run(params: Any, model_state: Any, batch: Any) -> Any:
            specs = self.specs(params), self.specs(model_state), PartitionSpec(DATA)
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
        count = self.mesh.shape[DATA]
        return -(-batch_size // count) * count

    @property
    def batch_sharding(self) -> NamedSharding:
        """Where a batch lies: a share on all devices of a row."""
        return NamedSharding(self.mesh, PartitionSpec(DATA))

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
