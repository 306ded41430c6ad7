"""What all AlexNets share: their fields and the layers that they are made of."""

from collections.abc import Callable

import flax.linen as nn
import jax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import Dense, MaskDropout, flatten
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.pooling import MAX_POOLS, max_pool_of_relu
from alexnet_jax.layers.towers import NormAcrossTowers, ReadBoth
from alexnet_jax.models.base import Classifier

Layer = Callable


class Stack(nn.Sequential):
    """`nn.Sequential` that takes ReLU and max-pooling after it in one."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps an array through all layers."""
        layers = list(self.layers)
        while layers:
            layer = layers.pop(0)
            if layer is nn.relu and layers and layers[0] in MAX_POOLS:
                x = max_pool_of_relu(x, layers.pop(0))
            else:
                x = layer(x)
        return x


class Variant(Classifier):
    """An AlexNet: a `Classifier` whose layers have Caffe's names.

    Attributes:
      dropout_rate: Share of units that dropout drops in training, in [0, 1).
      width: What the numbers of channels and hidden units are multiplied by; they are
        rounded to even ones, so that two groups divide them.
      tower_axis: The axis of the devices that hold a tower each, inside
        `jax.shard_map`; None where one device holds them all. Then parameters are a
        tower's: the last axis of every array but fc8's is divided by `towers`.
    """

    dropout_rate: float = 0.5
    width: float = 1.0
    tower_axis: str | None = None

    @nn.nowrap
    def stack(self, *blocks: list[Layer]) -> nn.Sequential:
        """Returns the layers of all blocks, one after the other."""
        return Stack([layer for block in blocks for layer in block])

    @nn.nowrap
    def scaled(self, features: int) -> int:
        """Returns a number of channels or units times `width`.

        Raises:
          InputError: `width` is out of range.
        """
        if not 0 < self.width <= 16:
            raise InputError(f"model.width must be in (0, 16]; got {self.width!r}")
        if self.width == 1:
            return features
        return max(2 * round(features * self.width / 2), 2)

    @nn.nowrap
    def own(self, features: int) -> int:
        """Returns a number of channels or units, as many as lie on a device."""
        return self.scaled(features) // (self.towers if self.tower_axis else 1)

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
        """Returns a convolution, in the order of arguments that Caffe and PyTorch have.

        Args:
          name: Its parameters' name.
          features: Maps to put out, before `width`.
          size: Height and width of the kernel.
          stride: In pixels.
          pad: Zeros on each side, or `convolution.CEIL`.
          groups: Groups of maps that do not see each other: the towers.
        """
        return Conv(
            self.own(features),
            (size, size),
            strides=stride,
            padding=pad,
            feature_group_count=1 if self.tower_axis else groups,
            name=name,
        )

    @nn.nowrap
    def read_both(self, reader: str, *, alike: bool = False) -> list[Layer]:
        """Returns what a layer that reads the maps of all towers wants before it.

        Args:
          reader: The layer's name.
          alike: Whether every tower computes it alike.
        """
        return [ReadBoth(self.tower_axis, reader, alike)] if self.tower_axis else []

    @nn.nowrap
    def norm(self, convention: str, *, crosses: bool = False) -> Layer:
        """Returns normalisation across maps.

        Args:
          convention: As `LocalResponseNorm` takes it.
          crosses: Whether it crosses from tower to tower.
        """
        if self.tower_axis is None:
            groups = 1 if crosses else self.towers
            return LocalResponseNorm(convention, groups=groups)
        norm = LocalResponseNorm(convention)
        return NormAcrossTowers(norm, self.tower_axis) if crosses else norm

    @nn.nowrap
    def dropout(self, *, mask: bool = False) -> nn.Module:
        """Returns dropout, today's or, with `mask`, that of 2012.

        Raises:
          InputError: `dropout_rate` is out of range.
        """
        if not 0 <= self.dropout_rate < 1:
            raise InputError(
                f"model.dropout_rate must be in [0, 1); got {self.dropout_rate!r}"
            )
        kind = MaskDropout if mask else nn.Dropout
        return kind(self.dropout_rate, deterministic=not self.training)

    @nn.nowrap
    def head(
        self, units: int = 4096, *, mask: bool = False, activate: Layer = nn.relu
    ) -> list[Layer]:
        """Returns the dense layers that most AlexNets end with: fc6, fc7 and fc8.

        Args:
          units: Of fc6 and fc7, before `width`.
          mask: Whether dropout is that of 2012.
          activate: The non-linearity.
        """
        hidden = self.own(units)
        return [
            *(*self.read_both("fc6"), flatten),
            *(Dense(hidden, name="fc6"), activate, self.dropout(mask=mask)),
            *self.read_both("fc7"),
            *(Dense(hidden, name="fc7"), activate, self.dropout(mask=mask)),
            *self.read_both("fc8", alike=True),
            Dense(self.num_classes, name="fc8"),
        ]

    @nn.nowrap
    def head_dropout_first(self) -> list[Layer]:
        """Returns `head` with dropout before fc6 and fc7 instead of after them."""
        hidden = self.scaled(4096)
        return [
            flatten,
            *(self.dropout(), Dense(hidden, name="fc6"), nn.relu),
            *(self.dropout(), Dense(hidden, name="fc7"), nn.relu),
            Dense(self.num_classes, name="fc8"),
        ]
