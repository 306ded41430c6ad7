"""What AlexNets derive from: the methods that their tables are written with."""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import Dense
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.towers import one_tower
from alexnet_jax.models.classifier import Classifier


class AlexNetBase(Classifier):
    """An AlexNet: `setup` writes its table with the methods below.

    `conv`, `dense`, `norm` and `dropout` describe layers of the whole network at full
    width; `sequential` creates them. Layers have Caffe's names.

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
    def conv(
        self,
        name: str,
        features: int,
        size: int,
        stride: int = 1,
        pad: int | str = 0,
        groups: int = 1,
    ) -> Conv:
        """Describes a convolution, in the order of arguments of Caffe and PyTorch.

        Args:
          name: Its parameters' name.
          features: Output maps, before `width`.
          size: Height and width of the kernel.
          stride: In pixels.
          pad: Zeros on each side, or `CEIL`.
          groups: Groups of maps that do not see each other: the towers.
        """
        return Conv(
            features,
            (size, size),
            strides=stride,
            padding=pad,
            feature_group_count=groups,
            initializer=self.scheme(),
            name=name,
            parent=None,
        )

    @nn.nowrap
    def dense(self, name: str, units: int) -> Dense:
        """Describes a dense layer.

        Args:
          name: Its parameters' name.
          units: Outputs; before `width` in all but the network's last layer.
        """
        return Dense(units, initializer=self.scheme(), name=name, parent=None)

    @nn.nowrap
    def norm(self, convention: str, *, crosses: bool = False) -> LocalResponseNorm:
        """Describes normalization across maps.

        Args:
          convention: As `LocalResponseNorm` takes it.
          crosses: Whether it crosses from tower to tower.
        """
        return LocalResponseNorm(convention, groups=1 if crosses else self.towers)

    @nn.nowrap
    def dropout(self, *, mask: bool = False) -> nn.Module:
        """Describes dropout, today's or, with `mask`, that of 2012.

        Raises:
          InputError: `dropout_rate` is out of range.
        """
        if not 0 <= self.dropout_rate < 1:
            raise InputError(
                f"model.dropout_rate must be in [0, 1); got {self.dropout_rate!r}"
            )
        kind = MaskDropout if mask else nn.Dropout
        return kind(self.dropout_rate, deterministic=not self.training, parent=None)

    @nn.nowrap
    def sequential(self, *blocks: Iterable[Callable]) -> nn.Sequential:
        """Creates the layers of a table, which map one after the other.

        Args:
          *blocks: Layers in order. One that stands in several places is a layer of its
            own in each. Functions and modules of other origin stand as they are.

        Raises:
          InputError: `width` is out of range.
        """
        layers = self._scale([layer for block in blocks for layer in block])
        if self.tower_axis is not None:
            layers = one_tower(layers, self.tower_axis, self.towers)
        return nn.Sequential([self._create(layer) for layer in layers])

    @nn.nowrap
    def _scale(self, layers: list[Callable]) -> list[Callable]:
        """Applies `width` to every layer with features but the last, the classes."""
        if not 0 < self.width <= 16:
            raise InputError(f"model.width must be in (0, 16]; got {self.width!r}")
        if self.width == 1:
            return layers
        places = [i for i, layer in enumerate(layers) if hasattr(layer, "features")]
        scaled: list[Any] = list(layers)
        for place in places[:-1]:
            layer = scaled[place]
            features = max(2 * round(layer.features * self.width / 2), 2)
            scaled[place] = layer.clone(features=features)
        return scaled

    @nn.nowrap
    def _create(self, layer: Any) -> Callable:
        is_description = isinstance(layer, nn.Module) and layer.parent is None
        return layer.clone(parent=self) if is_description else layer
