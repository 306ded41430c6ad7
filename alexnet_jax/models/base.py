"""What AlexNets derive from: the methods that their tables are written with."""

from collections.abc import Callable, Iterable, Sequence, Set
from numbers import Real
from typing import Any, ClassVar

import flax.linen as nn

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import Dense, TowerDense
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.graph import IMAGES, Block, Graph, create_graph
from alexnet_jax.layers.initializers import gaussian
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.towers import one_tower_graph
from alexnet_jax.models.classifier import Classifier


class AlexNetBase(Classifier):
    """An AlexNet: `setup` writes its table with the methods below.

    `conv`, `dense`, `norm` and `dropout` describe layers of the whole network at full
    width; `sequential` creates them. Layers have Caffe's names.

    Attributes:
      dropout_rate: Share of units that dropout drops in training, in [0, 1).
      width: What the numbers of channels and hidden units are multiplied by; they are
        rounded to multiples of `unit`, so that groups divide them.
      tower_axis: The axis of the devices that hold a tower each, inside
        `jax.shard_map`; None where one device holds them all. Then parameters are a
        tower's: the last axis of every array but fc8's is divided by `towers`.
    """

    dropout_rate: float = 0.5
    width: float = 1.0
    tower_axis: str | None = None

    unit: ClassVar[int] = 2

    @nn.nowrap
    def conv(
        self,
        name: str,
        features: int,
        size: int,
        stride: int = 1,
        pad: int | str = 0,
        groups: int = 1,
        *,
        deviation: float | None = None,
        bias: float = 0.0,
        use_bias: bool = True,
    ) -> Conv:
        """Describes a convolution, in the order of arguments of Caffe and PyTorch.

        Args:
          name: Its parameters' name.
          features: Output maps, before `width`.
          size: Height and width of the kernel.
          stride: In pixels.
          pad: Zeros on each side, `CEIL`, or `ceil_pad`'s for both.
          groups: Groups of maps that do not see each other: the towers.
          deviation: Of the kernel's first values, N(0, deviation), where the network
            has no scheme; None for Flax's.
          bias: First value of the biases, where the network has no scheme.
          use_bias: Whether there are any.
        """
        return Conv(
            features,
            (size, size),
            strides=stride,
            padding=pad,
            feature_group_count=groups,
            use_bias=use_bias,
            **self._initializers(name, deviation, bias),
        )

    @nn.nowrap
    def local(
        self,
        name: str,
        features: int,
        size: int,
        stride: int = 1,
        pad: int | str = 0,
        *,
        deviation: float | None = None,
        bias: float = 0.0,
        use_bias: bool = True,
    ) -> LocallyConnected:
        """Describes a locally connected layer; its arguments are those of `conv`."""
        return LocallyConnected(
            features,
            size,
            strides=stride,
            padding=pad,
            use_bias=use_bias,
            **self._initializers(name, deviation, bias),
        )

    @nn.nowrap
    def dense(
        self,
        name: str,
        units: int,
        groups: int = 1,
        *,
        deviation: float | None = None,
        bias: float = 0.0,
        use_bias: bool = True,
    ) -> Dense | TowerDense:
        """Describes a dense layer.

        Args:
          name: Its parameters' name.
          units: Outputs; before `width` in all but the network's last layer.
          groups: Groups of maps that do not see each other; of more than one, the layer
            reads maps, so that no `flatten` stands before it.
          deviation: As for `conv`.
          bias: As for `conv`.
          use_bias: As for `conv`.
        """
        settings = self._initializers(name, deviation, bias)
        if groups > 1:
            return TowerDense(units, groups, use_bias=use_bias, **settings)
        return Dense(units, use_bias=use_bias, **settings)

    @nn.nowrap
    def place_bias(self, name: str, bias: float = 0.0) -> PlaceBias:
        """Describes a bias for each place of each map.

        Args:
          name: Its parameter's name.
          bias: Its first value.
        """
        return PlaceBias(nn.initializers.constant(bias), name=name, parent=None)

    @nn.nowrap
    def _initializers(
        self, name: str, deviation: float | None, bias: float
    ) -> dict[str, Any]:
        settings: dict[str, Any] = {"initializer": self.scheme()}
        if deviation is not None:
            settings["kernel_init"] = gaussian(deviation)
        if bias:
            settings["bias_init"] = nn.initializers.constant(bias)
        return {**settings, "name": name, "parent": None}

    @nn.nowrap
    def norm(self, convention: str, *, crosses: bool = False) -> LocalResponseNorm:
        """Describes normalization across maps.

        Args:
          convention: As `LocalResponseNorm` takes it.
          crosses: Whether it crosses from tower to tower.
        """
        return LocalResponseNorm(convention, groups=1 if crosses else self.towers)

    @nn.nowrap
    def dropout(self, *, mask: bool = False, rate: float | None = None) -> nn.Module:
        """Describes dropout, today's or, with `mask`, that of 2012.

        Args:
          mask: Whether units are scaled at test, and not in training.
          rate: Share of units that are dropped; None for `dropout_rate`.

        Raises:
          InputError: The rate is out of range.
        """
        rate = self.dropout_rate if rate is None else rate
        if not isinstance(rate, Real) or not 0 <= rate < 1:
            raise InputError(f"model.dropout_rate must be in [0, 1); got {rate!r}")
        kind = MaskDropout if mask else nn.Dropout
        return kind(rate, deterministic=not self.training, parent=None)

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
            chain = Block("net", (IMAGES,), tuple(layers))
            (chain,) = one_tower_graph([chain], self.tower_axis, self.towers)
            layers = list(chain.layers)
        return nn.Sequential([self._create(layer) for layer in layers])

    @nn.nowrap
    def graph(
        self, *blocks: tuple[str, str | tuple[str, ...], Sequence[Callable]]
    ) -> Graph:
        """Creates the layers of a network that is no chain.

        Args:
          *blocks: Name, what the block reads, and its layers. It reads blocks before
            it, or `images`; of several, its first layer gets a tuple. The last one's
            output is the network's.

        Raises:
          InputError: `width` is out of range, the blocks do not fit each other, or
            they cannot lie on a device for each tower.
        """
        last = _last_with_features(blocks)
        layers = self._scale([layer for *_, own in blocks for layer in own], last)
        found, begin = [], 0
        for name, inputs, own in blocks:
            reads = _names(inputs)
            found.append(Block(name, reads, tuple(layers[begin : begin + len(own)])))
            begin += len(own)
        if self.tower_axis is not None:
            found = one_tower_graph(found, self.tower_axis, self.towers)
        return create_graph(
            [
                block._replace(layers=tuple(map(self._create, block.layers)))
                for block in found
            ]
        )

    @nn.nowrap
    def _scale(
        self, layers: list[Callable], whole: Set[int] | None = None
    ) -> list[Callable]:
        """Applies `width` to every layer with features but those of the classes.

        Args:
          layers: Of the whole network.
          whole: Places of the layers that make the classes; None: the last.
        """
        if not isinstance(self.width, Real) or not 0 < self.width <= 16:
            raise InputError(f"model.width must be in (0, 16]; got {self.width!r}")
        if self.width == 1:
            return layers
        places = [i for i, layer in enumerate(layers) if hasattr(layer, "features")]
        scaled: list[Any] = list(layers)
        kept = {*places[-1:]} if whole is None else whole
        for place in (place for place in places if place not in kept):
            layer = scaled[place]
            count = round(layer.features * self.width / self.unit)
            features = self.unit * max(count, 1)
            scaled[place] = layer.clone(features=features)
        return scaled

    @nn.nowrap
    def _create(self, layer: Any) -> Callable:
        is_description = isinstance(layer, nn.Module) and layer.parent is None
        return layer.clone(parent=self) if is_description else layer


def _names(inputs: str | tuple[str, ...]) -> tuple[str, ...]:
    return (inputs,) if isinstance(inputs, str) else tuple(inputs)


def _last_with_features(
    blocks: Sequence[tuple[str, str | tuple[str, ...], Sequence[Callable]]],
) -> set[int]:
    """Returns the places of the layers that no other one with features follows."""
    begin = sum(len(own) for *_, own in blocks)
    ends = {name for name, *_ in blocks[-1:]}
    places = set()
    for name, inputs, own in reversed(blocks):
        begin -= len(own)
        last = [i for i, one in enumerate(own, begin) if hasattr(one, "features")][-1:]
        if name in ends:
            places |= {*last}
            ends |= set() if last else {*_names(inputs)}
    return places
