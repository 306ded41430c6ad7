"""The switches of the paper's ablations: a network with one of its parts exchanged."""

from collections.abc import Callable

import flax.linen as nn

from alexnet_jax.errors import InputError
from alexnet_jax.layers.dense import Dense, TowerDense
from alexnet_jax.layers.pooling import avg_pool_3x3, max_pool_2x2, max_pool_ceil
from alexnet_jax.models.variant import Layer, Variant

_POOLS: dict[str, Layer] = {
    "author": max_pool_ceil,
    "2x2": max_pool_2x2,
    "average": avg_pool_3x3,
}
_ACTIVATIONS: dict[str, Callable] = {"author": nn.relu, "tanh": nn.tanh}
_ALLOWED = {
    "normalization": ("author", "none", "batch"),
    "pooling": tuple(_POOLS),
    "activation": tuple(_ACTIVATIONS),
}
# A `Switched` network's fields of that kind, each with its author's value.
SWITCHES: dict[str, str | bool] = {**dict.fromkeys(_ALLOWED, "author"), "links": True}

# What else those runs changed: so that 2×2 pools leave fc6 as many units to read,
# 6×6×256 (sides 28, 26, 13, 13, 13, 11, 6) ...
_PADS_OF_147 = {"conv2": 1, "conv5": 0}
# ... and so that cut links leave about as many weights.
_MAPS_OF_150 = {"conv2": 320}
_FC6_OF_150, _FC7_OF_150 = 8192, 4096


class Switched(Variant):
    """An AlexNet of Krizhevsky's, of which a part can be exchanged for another.

    Attributes:
      normalization: `author`; `none`, as configuration 148 has it (both kinds are
        gone); `batch`, BatchNorm in each place where the author normalises.
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
        """Checks the switches."""
        for field, allowed in _ALLOWED.items():
            if (value := getattr(self, field)) not in allowed:
                raise InputError(
                    f"model.{field} must be one of {allowed}; got {value!r}"
                )
        if not self.links and self.towers == 1:
            raise InputError(
                f"model.links must be True with {type(self).__name__}, which has one "
                f"tower; got {self.links}"
            )
        super().__post_init__()

    @property
    def pool(self) -> Layer:
        """What pools."""
        return _POOLS[self.pooling]

    @property
    def activate(self) -> Layer:
        """The non-linearity."""
        return _ACTIVATIONS[self.activation]

    @nn.nowrap
    def norms(self, first: Layer, *more: Layer) -> tuple[list[Layer], list[Layer]]:
        """Returns what normalises in layer 1 and in layer 2.

        Args:
          first: The author's normalisation in both.
          more: And what follows it in layer 2.
        """
        if self.normalization == "author":
            return [first], [first, *more]
        if self.normalization == "none":
            return [], []
        norm1, norm2 = (
            nn.BatchNorm(
                use_running_average=not self.training,
                momentum=0.9,  # of the running statistics, as in PyTorch
                axis_name=self.batch_axis,
                name=name,
            )
            for name in ("norm1", "norm2")
        )
        return [norm1], [norm2]

    @nn.nowrap
    def conv(
        self,
        name: str,
        features: int,
        size: int,
        stride: int = 1,
        pad: int | str = 0,
        groups: int = 1,
    ) -> nn.Conv:
        """Returns a convolution as `Variant.conv` does, but for what a switch wants."""
        if self.pooling == "2x2":
            pad = _PADS_OF_147.get(name, pad)
        if not self.links:
            features = _MAPS_OF_150.get(name, features)
            groups = 1 if name == "conv1" else self.towers
        return super().conv(name, features, size, stride, pad, groups)

    @nn.nowrap
    def read_both(self, reader: str, *, alike: bool = False) -> list[Layer]:
        """Returns what a layer wants before it that reads all towers, if it still does.

        Args:
          reader: The layer's name.
          alike: Whether every tower computes it alike, as fc8, which always reads all.
        """
        return super().read_both(reader, alike=alike) if self.links or alike else []

    @nn.nowrap
    def dense(self) -> list[Layer]:
        """Returns fc6, fc7 and fc8, with the dropout of 2012."""
        if self.links:
            return self.head(mask=True, activate=self.activate)
        groups = 1 if self.tower_axis else self.towers
        fc6 = TowerDense(self.own(_FC6_OF_150), groups, name="fc6")
        fc7 = TowerDense(self.own(_FC7_OF_150), groups, name="fc7")
        return [
            *(fc6, self.activate, self.dropout(mask=True)),
            *(fc7, self.activate, self.dropout(mask=True)),
            *self.read_both("fc8", alike=True),
            Dense(self.num_classes, name="fc8"),
        ]
