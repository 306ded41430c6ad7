"""A mesh of devices, data × model: `jax.shard_map`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.models import Classifier
from alexnet_jax.parallel.sharding import DATA, MODEL, Batch, is_sharded, with_axes


@dataclass(frozen=True)
class MeshParallel:
    """Groups of devices that share a batch; each group holds one network.

    The devices of a group hold a tower each; a group of one device holds all towers.

    Attributes:
      mesh: Devices of one kind, over the axes `data` and `model`.
    """

    mesh: Mesh

    @property
    def axis_name(self) -> str | None:
        return DATA if self.mesh.shape[DATA] > 1 else None

    def describe(self) -> str:
        groups, towers = self.mesh.devices.shape
        words = f"{groups * towers} × {self.mesh.devices.flat[0].device_kind}"
        if towers > 1:
            words += f": {towers} towers × {groups} batch shards"
        if jax.process_count() > 1:
            words += f", in {jax.process_count()} processes"
        return words

    def local_model(self, model: Classifier) -> Classifier:
        tower_axis = MODEL if self._has_towers else None
        return with_axes(model, tower_axis=tower_axis, batch_axis=self.axis_name)

    @property
    def _has_towers(self) -> bool:
        return self.mesh.shape[MODEL] > 1

    def specs(self, tree: Any) -> Any:
        """Returns the axis along which each array of a state is divided."""

        def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
            if not (self._has_towers and is_sharded(path)):
                return PartitionSpec()
            return PartitionSpec(*[None] * (leaf.ndim - 1), MODEL)

        return jax.tree_util.tree_map_with_path(spec, tree)

    def shardings(self, tree: Any) -> Any:
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec),
            self.specs(tree),
            is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
        )

    def compile_train(self, step: Callable, *, donate: bool = False) -> Callable:

        def run(state: Any, batch: Any, key: jax.Array) -> Any:
            specs = self.specs(state)
            in_specs = specs, PartitionSpec(DATA), PartitionSpec()
            out_specs = specs, PartitionSpec()
            return self._map(step, in_specs, out_specs)(state, batch, key)

        return jax.jit(run, donate_argnums=(0,) if donate else ())

    def compile_eval(self, step: Callable) -> Callable:

        def run(params: Any, model_state: Any, batch: Any) -> Any:
            specs = self.specs(params), self.specs(model_state), PartitionSpec(DATA)
            return self._map(step, specs, PartitionSpec())(params, model_state, batch)

        return jax.jit(run)

    def _map(self, step: Callable, in_specs: Any, out_specs: Any) -> Callable:
        # Unchecked: JAX does not know that all towers compute the same loss.
        return jax.shard_map(
            step,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            check_vma=False,
        )

    def round_up(self, batch_size: int) -> int:
        count = self.mesh.shape[DATA]
        return -(-batch_size // count) * count

    @property
    def batch_sharding(self) -> NamedSharding:
        """The sharding of a batch: a part on all devices of a group."""
        return NamedSharding(self.mesh, PartitionSpec(DATA))

    def local_slice(self, batch_size: int) -> slice:
        process = jax.process_index()
        groups = [
            group
            for group, devices in enumerate(self.mesh.devices)
            if any(device.process_index == process for device in devices)
        ]
        each = batch_size // len(self.mesh.devices)
        return slice(groups[0] * each, (groups[-1] + 1) * each)

    def shard_batch(self, batch: Batch) -> Any:
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(
                self.batch_sharding, array
            ),
            batch,
        )

    def put(self, state: Any) -> Any:

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(
                whole.shape, sharding, lambda index: whole[index]
            )

        return jax.tree.map(put, state, self.shardings(state))

    def replicate(self, key: jax.Array) -> jax.Array:
        data = np.asarray(jax.random.key_data(key))
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        wrap = jax.jit(jax.random.wrap_key_data, out_shardings=everywhere)
        return wrap(data)
