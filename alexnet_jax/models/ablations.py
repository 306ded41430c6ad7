"""The paper's ablations: a network with one of its parts exchanged."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import TowerDense, flatten
from alexnet_jax.layers.normalization import LocalResponseNorm, MapNorm
from alexnet_jax.layers.pooling import avg_pool_3x3, max_pool_2x2, max_pool_ceil
from alexnet_jax.models.base import AlexNetBase

_POOLS = {"author": max_pool_ceil, "2x2": max_pool_2x2, "average": avg_pool_3x3}
_ALLOWED = {
    "normalization": ("author", "none", "batch"),
    "pooling": tuple(_POOLS),
    "activation": ("author", "tanh"),
}
# An `Ablatable` network's fields of that kind, each with its author's value.
ABLATIONS: dict[str, str | bool] = {**dict.fromkeys(_ALLOWED, "author"), "links": True}


class Ablatable(AlexNetBase):
    """An AlexNet of Krizhevsky's, of which a part can be exchanged for another.

    Attributes:
      normalization: `author`; `none`, as configuration 148 has it (both kinds are
        gone); `batch`, BatchNorm in each place where the author normalizes.
      pooling: `author`, 3×3 windows at stride 2; `2x2` at stride 2, so that they do not
        overlap, as configuration 147 has it, with conv2 padded by 1 and conv5 by 0;
        `average` over the author's windows.
      activation: `author`, ReLU; `tanh`, in its place everywhere.
      links: Whether towers read each other's maps, as their author's do before conv3
        (and conv6), fc6 and fc7. False is configuration 150: a tower's layers read
        that tower alone up to fc8, which reads both; to make up for it conv2 has 320
        maps and fc6 8,192 units.
      batch_axis: The axis of the devices that share a batch, over which BatchNorm takes
        its statistics; None where one device has all of it.

    Raises:
      InputError: A value is unknown, or there are no links to cut.

    Source: computerhistory/AlexNet-Source-Code, layers-147.cfg, layers-148.cfg,
    layers-150.cfg.
    """

    normalization: str = "author"
    pooling: str = "author"
    activation: str = "author"
    links: bool = True
    batch_axis: str | None = None

    def __post_init__(self) -> None:
        for field, allowed in _ALLOWED.items():
            if (value := getattr(self, field)) not in allowed:
                raise InputError(
                    f"model.{field} must be one of {allowed}; got {value!r}"
                )
        if not isinstance(self.links, bool | np.bool_):
            raise InputError(f"model.links must be True or False; got {self.links!r}")
        if not self.links and self.towers == 1:
            raise InputError(
                f"model.links must be True with {type(self).__name__}, which has one "
                f"tower; got {self.links}"
            )
        super().__post_init__()

    @nn.nowrap
    def sequential(self, *blocks: Iterable[Callable]) -> nn.Sequential:
        """Creates the layers of a table, with the parts exchanged that are set."""
        batch_norm = {
            "use_running_average": not self.training,
            "momentum": 0.9,  # of the running statistics, as in PyTorch
            "axis_name": self.batch_axis,
        }
        layers = ablate(
            [layer for block in blocks for layer in block],
            normalization=self.normalization,
            pooling=self.pooling,
            activation=self.activation,
            groups=1 if self.links else self.towers,
            batch_norm=batch_norm,
        )
        return super().sequential(layers)


def ablate(
    layers: Sequence[Callable],
    *,
    normalization: str = "author",
    pooling: str = "author",
    activation: str = "author",
    groups: int = 1,
    batch_norm: dict[str, Any] | None = None,
) -> list[Callable]:
    """Exchanges parts of a network.

    Args:
      layers: Of the whole network, one after the other.
      normalization: As in `Ablatable`.
      pooling: As in `Ablatable`.
      activation: As in `Ablatable`.
      groups: Towers whose links are cut; 1 leaves them.
      batch_norm: BatchNorm's settings.

    Returns:
      The layers, changed.
    """
    exchanged = list(layers)
    if activation == "tanh":
        exchanged = [nn.tanh if layer is nn.relu else layer for layer in exchanged]
    if pooling != "author":
        exchanged = _exchange_pools(exchanged, pooling)
    if normalization != "author":
        exchanged = _exchange_norms(exchanged, normalization, batch_norm or {})
    if groups > 1:
        exchanged = _cut_links(exchanged, groups)
    return exchanged


def _exchange_pools(layers: list[Callable], pooling: str) -> list[Callable]:
    # So that 2×2 pools leave fc6 as many units to read, 6×6×256 (sides 28, 26, 13, 13,
    # 13, 11, 6), configuration 147 has other padding.
    pads = {"conv2": 1, "conv5": 0} if pooling == "2x2" else {}
    exchanged: list[Callable] = []
    for layer in layers:
        if layer is max_pool_ceil:
            layer = _POOLS[pooling]
        elif isinstance(layer, Conv) and layer.name in pads:
            layer = layer.clone(padding=pads[layer.name])
        exchanged.append(layer)
    return exchanged


def _exchange_norms(
    layers: list[Callable], normalization: str, settings: dict[str, Any]
) -> list[Callable]:
    exchanged: list[Callable] = []
    count = 0
    for layer in layers:
        if isinstance(layer, LocalResponseNorm) and normalization == "batch":
            count += 1
            layer = nn.BatchNorm(**settings, name=f"norm{count}", parent=None)
        if not isinstance(layer, LocalResponseNorm | MapNorm):
            exchanged.append(layer)
    return exchanged


def _cut_links(layers: list[Callable], groups: int) -> list[Callable]:
    """Lets conv2 to fc7 read their own tower alone, as in configuration 150."""
    # It has about as many weights as with links.
    features = {"conv2": 320, "fc6": 8192, "fc7": 4096}
    exchanged: list[Callable] = []
    for layer in layers:
        name = getattr(layer, "name", None) or ""
        if isinstance(layer, Conv) and name != "conv1":
            layer = layer.clone(
                features=features.get(name, layer.features), feature_group_count=groups
            )
        elif name in ("fc6", "fc7"):
            layer = TowerDense(
                features[name],
                groups,
                initializer=getattr(layer, "initializer", None),
                name=name,
                parent=None,
            )
        if layer is not flatten:  # `TowerDense` does it, tower by tower
            exchanged.append(layer)
    return exchanged
