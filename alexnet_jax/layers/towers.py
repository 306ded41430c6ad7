"""The towers of 2012, each on a device of its own, and how they communicate.

Inside `jax.shard_map` a tower holds its half of the maps; these layers bring in what
the other half has. Their gradients are a device's own: what reaches a tower's maps is
summed over the towers that read them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.cpu.gradient import with_gradient
from alexnet_jax.layers.dense import Dense, TowerDense, flatten
from alexnet_jax.layers.graph import IMAGES, Block, TakeTowers, concatenate
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.layers.normalization import LocalResponseNorm

REPLICATED = "fc8"  # the layer that every tower computes, with all of its weights


@dataclass(frozen=True)
class GatherTowers:
    """Puts the maps of all towers beside each other, for a layer that reads them.

    Where each tower computes other outputs from them, a map's gradient is the sum of
    what the towers send back: a reduce-scatter, the gather's transpose. Where every
    tower computes the same (fc8 and the loss), the gradient that comes back is the same
    on each, which takes its part of it; a sum would count the loss once a tower.

    Attributes:
      axis: The devices' axis.
      reader: The layer that reads.
      replicated: Whether every tower computes the whole of that layer.
    """

    axis: str
    reader: str
    replicated: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(..., C / towers)` → `(..., C)`."""
        with jax.named_scope(f"to_{self.reader}"):
            return (_gather_replicated if self.replicated else _gather)(x, self.axis)


def _gather(x: jax.Array, axis: str) -> jax.Array:
    return lax.all_gather(x, axis, axis=x.ndim - 1, tiled=True)


def _gather_replicated(x: jax.Array, axis: str) -> jax.Array:
    gather = partial(_gather, axis=axis)

    def backward(_: None, gradient: jax.Array) -> tuple[jax.Array]:
        width = gradient.shape[-1] // lax.axis_size(axis)
        first = lax.axis_index(axis) * width
        last = gradient.ndim - 1
        return (lax.dynamic_slice_in_dim(gradient, first, width, axis=last),)

    return with_gradient(gather, lambda x: (gather(x), None), backward)(x)


@dataclass(frozen=True)
class NormAcrossTowers:
    """Normalization whose window crosses from one tower's maps into the next's.

    Caffe normalizes as if there were no towers, so the maps at the border are
    exchanged: for a window of five, two each way.

    Attributes:
      norm: For all maps; one group.
      axis: The devices' axis.
    """

    norm: LocalResponseNorm
    axis: str

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(..., C / towers)` → the same shape.

        Raises:
          InputError: A tower has fewer maps than the window reaches beyond it.
        """
        below, above = self.norm.size // 2, (self.norm.size - 1) // 2
        towers, width = lax.axis_size(self.axis), x.shape[-1]
        if width < below:
            raise InputError(
                f"parallel.model must be 1: a window of {self.norm.size} maps reaches "
                f"over a tower of {width}; or make the network wider"
            )
        # A tower without a neighbor receives zeros, as at the end of all maps.
        up = [(tower, tower + 1) for tower in range(towers - 1)]
        down = [(tower + 1, tower) for tower in range(towers - 1)]
        with jax.named_scope("to_norm"):
            from_below = lax.ppermute(x[..., width - below :], self.axis, up)
            from_above = lax.ppermute(x[..., :above], self.axis, down)
        extended = jnp.concatenate([from_below, x, from_above], axis=-1)
        return self.norm(extended)[..., below : below + width]


def one_tower(
    layers: Sequence[Callable], axis: str, towers: int, *, is_split: bool = False
) -> tuple[list[Callable], bool]:
    """Returns the layers that a tower computes, from those of the whole network.

    A tower makes its share of a layer's maps or units. A convolution in as many groups
    as there are towers reads the tower's own maps; any other, and a dense layer, reads
    those of all towers, so a `GatherTowers` stands before it. fc8 is replicated.

    Args:
      layers: Of the whole network, one after the other.
      axis: The devices' axis.
      towers: How many there are.
      is_split: Whether a tower has its own maps alone of what the first layer reads;
        all read the same image.

    Returns:
      Its layers, and whether a tower has its own maps alone of what the last makes.

    Raises:
      InputError: A layer cannot be divided so.
    """
    local: list[Callable] = []
    for layer in layers:
        _check_divides(layer, towers, is_split)
        if isinstance(layer, Conv | Dense):
            groups = getattr(layer, "feature_group_count", 1)
            replicated = layer.name == REPLICATED
            if is_split and groups == 1:
                # Maps are put beside each other before they are flattened.
                place = len(local) - (bool(local) and local[-1] is flatten)
                _check_are_maps(str(layer.name), local[:place])
                gather = GatherTowers(axis, str(layer.name), replicated)
                local.insert(place, gather)
            if isinstance(layer, Conv) and groups > 1:
                layer = layer.clone(feature_group_count=groups // towers)
            if not replicated:
                layer = layer.clone(features=layer.features // towers)
            is_split = not replicated
        elif isinstance(layer, TowerDense):
            features, groups = layer.features // towers, layer.groups // towers
            layer = layer.clone(features=features, groups=groups)
        elif isinstance(layer, LocalResponseNorm) and is_split:
            if layer.groups == 1:
                layer = NormAcrossTowers(layer, axis)
            else:
                layer = dataclasses.replace(layer, groups=layer.groups // towers)
        local.append(layer)
    return local, is_split


def _check_divides(layer: Callable, towers: int, is_split: bool) -> None:
    """Checks that a tower can have its share of a layer.

    Raises:
      InputError: It reads other maps than those that are there, or has no shares.
    """
    groups = getattr(layer, "feature_group_count", getattr(layer, "groups", 1))
    is_grouped = isinstance(layer, Conv | TowerDense) and groups > 1
    is_whole = is_grouped and (not is_split or groups % towers != 0)
    if is_whole or isinstance(layer, LocallyConnected | PlaceBias | RandomChannels):
        name = getattr(layer, "name", None) or type(layer).__name__
        raise InputError(
            f"parallel.model must be 1: {name} cannot be divided between devices; "
            "the network runs whole on each"
        )


def _check_are_maps(reader: str, layers: Sequence[Callable]) -> None:
    """Checks that a tower's part of maps is put beside the others' as maps.

    Flattened, units of a pixel lie together, and the towers' parts cannot.

    Raises:
      InputError: The layers flatten them, and no weights follow.
    """
    for layer in reversed(layers):
        if isinstance(layer, Conv | Dense | TowerDense):
            return
        if layer is flatten:
            raise InputError(
                f"parallel.model must be 1: flatten must stand right before the dense "
                f"layer that reads the maps of several towers; {reader} has it earlier"
            )


def one_tower_graph(blocks: Sequence[Block], axis: str, towers: int) -> list[Block]:
    """Returns the blocks that a tower computes, from those of the whole network.

    Args:
      blocks: Of the whole network.
      axis: The devices' axis.
      towers: How many there are.

    Raises:
      InputError: A block puts maps of several towers together as no device can.
    """
    local, is_split = [], {IMAGES: False}
    for block in blocks:
        splits = {is_split[name] for name in block.inputs}
        mixes = any(layer is concatenate for layer in block.layers) and True in splits
        takes = any(isinstance(layer, TakeTowers) for layer in block.layers)
        if len(splits) > 1 or mixes or takes:
            raise InputError(
                f"parallel.model must be 1: block {block.name} reads maps of several "
                f"towers in another way than devices exchange them; got {towers}"
            )
        layers, split = one_tower(block.layers, axis, towers, is_split=splits.pop())
        if split:
            _check_are_maps(block.name, layers)
        local.append(block._replace(layers=tuple(layers)))
        is_split[block.name] = split
    if is_split[blocks[-1].name]:
        raise InputError(
            f"parallel.model must be 1: the last layer with weights must be named "
            f"{REPLICATED}, which every device computes; got {towers}"
        )
    return local
