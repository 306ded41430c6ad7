"""The collectives of a training step, read from the compiled program."""

import contextlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from alexnet_jax.inspection.lowering import abstract_state, lower_step
from alexnet_jax.inspection.tables import Summary, shape_text
from alexnet_jax.models import Classifier
from alexnet_jax.parallel import Parallel, create_parallel
from alexnet_jax.parallel.mesh import MeshParallel
from alexnet_jax.terminal.tables import Table
from alexnet_jax.terminal.text import counted

_KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
)
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(_KINDS)})(?:-start)?\((.*)")
_Array = tuple[str, tuple[int, ...]]  # dtype and shape
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")


class Collective(NamedTuple):
    """An operation by which devices exchange data.

    Attributes:
      kind: Its name in the compiled program: `all-gather`, `reduce-scatter`, ...
      part: `forward`, `backward` or `update`.
      purpose: The layer that reads the result, or what is summed.
      shapes: The shapes of its results on a device.
      result_bytes: Memory of its results on a device.
      devices: Devices in each group.
      senders: The fraction of them that send; less than 1 in permutations alone.
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
        """The least that a device sends, on average, by the best (ring) algorithms."""
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
        if f"{kind}-start" in line:
            arrays = _results(kind, arrays)
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


def _results(kind: str, arrays: list[_Array]) -> list[_Array]:
    """Returns the results among the arrays that an asynchronous start names.

    Of a permutation these are the operand, the result and scalars; an all-reduce names
    its results alone; all others name operands, then results.
    """
    if kind == "collective-permute":
        return arrays[1:2]
    return arrays if kind == "all-reduce" else arrays[len(arrays) // 2 :]


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


class StepCollectives(NamedTuple):
    """The collectives of a training step, and the memory of its state.

    Attributes:
      device_batch_size: Images of a step that a device sees.
      collectives: The step's, in the order of the program.
      automatic: Those that XLA's partitioner inserts into the network of one device,
        given the same shardings; None without towers.
      device_state_bytes: Memory of parameters, momentum and the rest of the state on a
        device.
      state_bytes: Memory of the whole state.
    """

    device_batch_size: int
    collectives: list[Collective]
    automatic: list[Collective] | None
    device_state_bytes: int
    state_bytes: int


def describe_collectives(
    parallel: Parallel,
    network: type[Classifier],
    input_shape: tuple[int, ...],
    num_classes: int,
) -> StepCollectives:
    """Compiles a training step and lists its collectives.

    Args:
      parallel: The layout of the devices.
      network: The network's class.
      input_shape: `(B, H, W, C)`, B over all devices.
      num_classes: Number of logits.
    """
    lowered = lower_step(parallel, network, input_shape, num_classes)
    automatic = None
    if isinstance(parallel, MeshParallel):
        one_device = lower_step(
            parallel, network, input_shape, num_classes, automatic=True
        )
        automatic = collectives(one_device.compile().as_text())
    state = abstract_state(network, input_shape, num_classes)
    device_bytes = jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * 4,
        state,
        parallel.shardings(state),
    )
    return StepCollectives(
        device_batch_size=input_shape[0] // parallel.round_up(1),
        collectives=collectives(lowered.compile().as_text()),
        automatic=automatic,
        device_state_bytes=sum(jax.tree.leaves(device_bytes)),
        state_bytes=sum(leaf.size * 4 for leaf in jax.tree.leaves(state)),
    )


def simulate_collectives(
    summary: Summary, data: int, model: int, device_batch_size: int
) -> StepCollectives:
    """Compiles a training step for CPU devices, which stand for any others.

    Args:
      summary: The network with its input.
      data: Devices that share the batch.
      model: Devices that hold a tower each.
      device_batch_size: Images per device.

    Raises:
      InputError: The network does not fit such devices.
    """
    with contextlib.suppress(RuntimeError):  # the devices exist already
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", data * model)
    batch_size = data * device_batch_size
    parallel = create_parallel(
        data, model, batch_size, summary.name, summary.network.towers
    )
    shape = (batch_size, *summary.input_shape[1:])
    return describe_collectives(parallel, summary.network, shape, summary.num_classes)


def bytes_by_device(tree: Any) -> dict[jax.Device, int]:
    """Returns the memory of a state on each device, from its arrays' own shards."""
    total: Counter[jax.Device] = Counter()
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            total[shard.device] += shard.data.nbytes
    return dict(total)


def collectives_table(step: StepCollectives) -> Table:
    """Lays out a step's collectives, one per line."""
    numbers = ("devices", "numbers", "sent per image", "sent, MB")
    columns = ("pass", "purpose", "collective", "result on a device")
    table = Table(
        *(*columns, *numbers),
        numbers=numbers,
        optional=("numbers", "devices", "sent per image"),
        last=(columns[3], "pass"),
        texts={"purpose": 14, "collective": 12, columns[3]: 16},
    )
    for one in step.collectives:
        results = [shape_text(shape) or "1" for shape in one.shapes]
        more = f" and {len(results) - 1} more" if len(results) > 1 else ""
        table.add_row(
            one.part,
            one.purpose,
            one.kind,
            results[0] + more,
            str(one.devices),
            f"{one.result_bytes // 4:,}",
            f"{one.sent_bytes / 4 / step.device_batch_size:,.0f}",
            f"{one.sent_bytes / 1e6:.2f}",
        )
    return table


def collectives_totals(step: StepCollectives) -> list[str]:
    """Sums up a step's collectives and the memory of its state, one line each."""

    def total(found: Sequence[Collective]) -> str:
        sent = sum(one.sent_bytes for one in found)
        count = counted(len(found), "collective")
        return f"{count}; each device sends {sent / 1e6:,.1f} MB"

    batch_size = step.device_batch_size
    lines = [
        f"step of {counted(batch_size, 'image')} per device: {total(step.collectives)}"
    ]
    if step.automatic is not None:
        lines.append(f"by XLA's own partitioner: {total(step.automatic)}")
    lines.append(
        f"state: {step.device_state_bytes / 1e6:,.1f} MB per device, "
        f"{step.state_bytes / 1e6:,.1f} MB in total"
    )
    return lines
