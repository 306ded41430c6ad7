"""What devices say to each other in a training step, read from the compiled program."""

import math
import re
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from alexnet_jax.config import default_config
from alexnet_jax.models import create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.parallel import Parallel
from alexnet_jax.parallel.mesh import MeshParallel
from alexnet_jax.preprocessing.pipeline import scale_and_resize
from alexnet_jax.step import create_state, make_train_step

_KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
)
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(_KINDS)})(?:-start)?\((.*)")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")


class Collective(NamedTuple):
    """An operation that devices take part in together.

    Attributes:
      kind: Its name in the compiled program: `all-gather`, `reduce-scatter`, ...
      part: `forward`, `backward` or `update`.
      purpose: The layer that reads, or what is summed.
      shapes: Of its results on a device.
      result_bytes: Memory of its results on a device.
      devices: How many take part in each group.
      senders: The share of them that send; 1 but for permutations.
    """

    kind: str
    part: str
    purpose: str
    shapes: list[tuple[int, ...]]
    result_bytes: int
    devices: int
    senders: float = 1.0

    @property
    def sent_bytes(self) -> int:
        """What a device sends at least, on average, by the best (ring) algorithms."""
        others = self.devices - 1
        if self.kind == "all-gather":
            return self.result_bytes * others // self.devices
        if self.kind == "reduce-scatter":
            return self.result_bytes * others
        if self.kind == "all-reduce":
            return 2 * self.result_bytes * others // self.devices
        return int(self.result_bytes * self.senders)


def collectives(program: str) -> list[Collective]:
    """Lists the collectives of a compiled program, in its order.

    Args:
      program: `compiled.as_text()`.
    """
    found = []
    for line in program.splitlines():
        match = _OPERATION.search(line)
        if match is None:
            continue
        result, kind, rest = match.groups()
        arrays = [
            (dtype, tuple(int(length) for length in shape.split(",") if length))
            for dtype, shape in _ARRAY.findall(result)
        ]
        if f"{kind}-start" in line:  # operands and results; the results are the latter
            arrays = arrays[len(arrays) // 2 :]
        scope = (re.findall(r'op_name="([^"]*)"', rest) or [""])[0]
        senders = 1.0
        if kind == "collective-permute":
            pairs = re.findall(r"\{(\d+),(\d+)\}", rest)
            senders = len(pairs) / len({one for pair in pairs for one in pair})
        found.append(
            Collective(
                kind=kind,
                part=_part(scope),
                purpose=_purpose(scope, arrays),
                shapes=[shape for _, shape in arrays],
                result_bytes=sum(_bytes(*array) for array in arrays),
                devices=_group_size(rest),
                senders=senders,
            )
        )
    return found


def _group_size(attributes: str) -> int:
    """Reads it off `replica_groups={{0,2},{1,3}}` or `replica_groups=[2,2]<=[4]`."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return listed[1].count(",") + 1
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]", attributes):
        return int(counted[1])
    return 2  # a permutation's pairs


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return math.prod(shape) * max(bits // 8, 1)


def _part(scope: str) -> str:
    if "transpose(" in scope:
        return "backward"
    return "forward" if "jvp(" in scope else "update"


def _purpose(scope: str, arrays: list[tuple[str, tuple[int, ...]]]) -> str:
    readers = re.findall(r"to_(\w+)", scope)
    if readers:
        return readers[0]
    if sum(math.prod(shape) for _, shape in arrays) > 8:
        return "gradients"
    return "flag" if "pmax" in scope else "count"


def _optimizer() -> optax.GradientTransformation:
    config = default_config().optim
    config.momentum = 0.9
    return create_optimizer(config, create_schedule(config, 0.01, 1, 1))


def abstract_state(name: str, input_shape: tuple[int, ...], num_classes: int) -> Any:
    """Returns the shapes of a `TrainState` with momentum; allocates nothing.

    Args:
      name: The network's.
      input_shape: `(B, H, W, C)`.
      num_classes: Number of logits.
    """
    model = create_model(name, num_classes=num_classes)
    shape = (1, *input_shape[1:])
    return jax.eval_shape(
        lambda key: create_state(model, _optimizer(), shape, key), jax.random.key(0)
    )


def lower_step(
    parallel: Parallel,
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    automatic: bool = False,
) -> Any:
    """Lowers a training step for devices, without a weight being allocated.

    Args:
      parallel: The devices.
      name: The network's.
      input_shape: `(B, H, W, C)`, B over all devices.
      num_classes: Number of logits.
      automatic: Whether to hand XLA's partitioner the network of one device and the
        places of the arrays, instead of the towers as they are written here.

    Returns:
      What `jax.jit(...).lower` does: it can be compiled.
    """
    model = create_model(name, num_classes=num_classes)
    batch_size, *image_shape = input_shape
    prepare = partial(scale_and_resize, size=image_shape[0])
    step = make_train_step(
        model if automatic else parallel.local_model(model),
        _optimizer(),
        prepare,
        steps_per_epoch=1,
        log_every_steps=1,
        axis_name=None if automatic else parallel.axis_name,
    )
    state = abstract_state(name, input_shape, num_classes)
    batch: Any = {
        "image": jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    if isinstance(parallel, MeshParallel):
        state = _placed(state, parallel.shardings(state))
        batch = _placed(batch, parallel.batch_sharding)
    else:
        batch = jax.eval_shape(parallel.shard_batch, batch)
    key = jax.random.key(1)
    compiled: Any = jax.jit(step) if automatic else parallel.compile_train(step)
    return compiled.lower(state, batch, key)


def _placed(tree: Any, places: Any) -> Any:
    if isinstance(places, NamedSharding):
        places = jax.tree.map(lambda _: places, tree)
    return jax.tree.map(
        lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at),
        tree,
        places,
    )


class Traffic(NamedTuple):
    """What devices say in a training step.

    Attributes:
      batch_size: Images of a step that a row of devices sees.
      listed: The step's collectives.
      automatic: Those that XLA's partitioner would make of the network of one device,
        its arrays in the same places; None without towers.
      state_bytes: Memory of parameters, momentum and the rest of the state on a device.
      whole_bytes: The same in one piece.
    """

    batch_size: int
    listed: list[Collective]
    automatic: list[Collective] | None
    state_bytes: int
    whole_bytes: int


def describe_traffic(
    parallel: Parallel, name: str, input_shape: tuple[int, ...], num_classes: int
) -> Traffic:
    """Compiles a training step and lists what devices say to each other.

    Args:
      parallel: The devices.
      name: The network's.
      input_shape: `(B, H, W, C)`, B over all devices.
      num_classes: Number of logits.
    """
    lowered = lower_step(parallel, name, input_shape, num_classes)
    automatic = None
    if isinstance(parallel, MeshParallel):
        one_device = lower_step(
            parallel, name, input_shape, num_classes, automatic=True
        )
        automatic = collectives(one_device.compile().as_text())
    rows = parallel.round_up(1)  # that share the batch
    state = abstract_state(name, input_shape, num_classes)
    places = parallel.shardings(state)
    own = jax.tree.map(
        lambda leaf, place: math.prod(place.shard_shape(leaf.shape)) * 4, state, places
    )
    whole = jax.tree.map(lambda leaf: leaf.size * 4, state)
    return Traffic(
        batch_size=input_shape[0] // rows,
        listed=collectives(lowered.compile().as_text()),
        automatic=automatic,
        state_bytes=sum(jax.tree.leaves(own)),
        whole_bytes=sum(jax.tree.leaves(whole)),
    )


def bytes_by_device(tree: Any) -> dict[jax.Device, int]:
    """Returns the memory of a state on each device, from its arrays' own shards."""
    total: Counter[jax.Device] = Counter()
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            total[shard.device] += shard.data.nbytes
    return dict(total)
