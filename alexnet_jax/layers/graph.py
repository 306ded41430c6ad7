"""Networks that are no chain: blocks of layers that read each other."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError

IMAGES = "images"  # what a block reads that reads the network's input


class Block(NamedTuple):
    """Layers one after the other.

    Attributes:
      name: What other blocks read it by.
      inputs: Names of the blocks that its first layer reads, or `images`. Of several it
        gets a tuple.
      layers: At least one.
    """

    name: str
    inputs: tuple[str, ...]
    layers: tuple[Callable, ...]


class Wiring(NamedTuple):
    """A block without its layers.

    Attributes:
      name: Its name.
      inputs: What it reads.
      size: How many of the network's layers are its own.
    """

    name: str
    inputs: tuple[str, ...]
    size: int


class Graph(nn.Module):
    """Blocks of layers, the last of which is the output.

    Attributes:
      layers: Of all blocks, one after the other, as `nn.Sequential` has them.
      wiring: Which of them are a block, and what it reads.
    """

    layers: Sequence[Callable]
    wiring: tuple[Wiring, ...]

    def __call__(self, x: jax.Array) -> Any:
        """Maps the network's input to the last block's output."""
        values: dict[str, Any] = {IMAGES: x}
        y: Any = x
        for block in blocks_of(self):
            y = read(block, values)
            for layer in block.layers:
                y = layer(y)
            values[block.name] = y
        return y


def create_graph(blocks: Sequence[Block]) -> Graph:
    """Returns a network of blocks.

    Args:
      blocks: Each after those that it reads.

    Raises:
      InputError: A block has no layers or the name of another, reads what is not before
        it, or is read by none and is not the last.
    """
    known = {IMAGES}
    read_by_some = {name for block in blocks for name in block.inputs}
    for block in blocks:
        if block.name in known:
            raise InputError(f"block {block.name}: its name must be its own")
        if not block.layers or not block.inputs:
            raise InputError(
                f"block {block.name}: must have layers, and read something"
            )
        for name in block.inputs:
            if name not in known:
                raise InputError(
                    f"block {block.name}: must read {', '.join(sorted(known))}; got "
                    f"{name!r}"
                )
        if block.name not in read_by_some and block is not blocks[-1]:
            raise InputError(f"block {block.name}: no block reads it; remove it")
        known.add(block.name)
    layers = [layer for block in blocks for layer in block.layers]
    wiring = tuple(Wiring(one.name, one.inputs, len(one.layers)) for one in blocks)
    return Graph(layers, wiring)


def blocks_of(net: Any) -> list[Block]:
    """Returns the blocks of a network's layers; a chain is one.

    Args:
      net: A `Graph`, or an `nn.Sequential`.
    """
    if not isinstance(net, Graph):
        return [Block("net", (IMAGES,), tuple(net.layers))]
    blocks, begin = [], 0
    for name, inputs, size in net.wiring:
        blocks.append(Block(name, inputs, tuple(net.layers[begin : begin + size])))
        begin += size
    return blocks


def read(block: Block, values: dict[str, Any]) -> Any:
    """Returns what a block's first layer reads.

    Args:
      block: The block.
      values: The outputs of those before it, by name.
    """
    if len(block.inputs) == 1:
        return values[block.inputs[0]]
    return tuple(values[name] for name in block.inputs)


@contextlib.contextmanager
def named_block(block: Block) -> Iterator[None]:
    """Names a block in the error of a layer that reads several others."""
    try:
        yield
    except InputError as error:
        if len(block.inputs) < 2 or str(error).startswith("block "):
            raise
        raise InputError(
            f"block {block.name}, of {' and '.join(block.inputs)}: {error}"
        ) from None


def sources(net: Any) -> Iterator[tuple[int, ...]]:
    """Yields what each layer reads: places of layers, -1 for the images.

    Args:
      net: A `Graph`, or an `nn.Sequential`.
    """
    last, place = {IMAGES: -1}, 0
    for block in blocks_of(net):
        reads = tuple(last[name] for name in block.inputs)
        for _ in block.layers:
            yield reads
            reads = (place,)
            place += 1
        last[block.name] = place - 1


def add(arrays: Sequence[jax.Array] | jax.Array) -> jax.Array:
    """Returns the sum of arrays of one shape.

    Raises:
      InputError: Their shapes differ.
    """
    if not isinstance(arrays, Sequence):  # of one block
        return arrays
    _check_shapes("add", arrays)
    total = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


@dataclass(frozen=True)
class Add:
    """Sums arrays of one shape, each times a factor.

    Attributes:
      factors: One for each.

    Raises:
      InputError: Shapes differ, or there are more or fewer arrays than factors.

    Source: cuda-convnet `eltsum`.
    """

    factors: tuple[float, ...]

    def __call__(self, arrays: Sequence[jax.Array] | jax.Array) -> jax.Array:
        """Returns an array of their shape and dtype."""
        read = [*arrays] if isinstance(arrays, Sequence) else [arrays]
        if len(read) != len(self.factors):
            raise InputError(
                f"factors must be {len(read)}, one for each array; got {self.factors}"
            )
        scaled = [
            array * jnp.asarray(factor, array.dtype)
            for array, factor in zip(read, self.factors, strict=True)
        ]
        return add(scaled)


def concatenate(arrays: Sequence[jax.Array] | jax.Array) -> jax.Array:
    """Returns arrays side by side, along their last axis.

    Raises:
      InputError: Their other axes differ.
    """
    if not isinstance(arrays, Sequence):  # of one block
        return arrays
    _check_shapes("concatenate", [array[..., :1] for array in arrays])
    return jnp.concatenate(arrays, axis=-1)


@dataclass(frozen=True)
class TakeTowers:
    """Takes the maps of some towers.

    Attributes:
      places: Which, from 0 on, in the order in which they are taken; one may be twice.
      towers: How many there are.

    Raises:
      InputError: A place is none of the towers; or, when called, the towers do not
        divide the channels.
    """

    places: tuple[int, ...]
    towers: int

    def __post_init__(self) -> None:
        """Checks the values."""
        if not self.places or not {*self.places} <= {*range(self.towers)}:
            raise InputError(
                f"places must be of the {self.towers} towers, 0 to {self.towers - 1}; "
                f"got {self.places}"
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(..., C)` → `(..., C / towers * len(places))`."""
        channels = x.shape[-1]
        if channels % self.towers:
            raise InputError(
                f"towers must divide the channels, {channels}; got {self.towers}"
            )
        width = channels // self.towers
        parts = [x[..., place * width : (place + 1) * width] for place in self.places]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _check_shapes(name: str, arrays: Sequence[jax.Array]) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        listed = " and ".join("×".join(map(str, shape[1:])) for shape in sorted(shapes))
        raise InputError(
            f"{name}: inputs must have the same size; got {listed}; other images may "
            "fit"
        )
