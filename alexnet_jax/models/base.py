"""What networks derive from: d2l's `Classifier`, and `AlexNetBase`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import Dense
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.initializers import SCHEMES, initialize
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.sequential import Sequential, apply_layer
from alexnet_jax.layers.towers import one_tower


class Reference(NamedTuple):
    """Where a network comes from, and the input that it was made for.

    Attributes:
      source: Author and year, or file.
      input_shape: Height, width and channels of its author's images.
      num_classes: Classes of its author's data.
      published: The accuracy that its author published, in a few words.
    """

    source: str
    input_shape: tuple[int, int, int]
    num_classes: int
    published: str


def layer_name(layer: Callable) -> str:
    """Returns a layer's own name, such as `conv1`, else its class's or function's."""
    kind = getattr(layer, "__name__", type(layer).__name__)
    return getattr(layer, "name", None) or kind


class Classifier(nn.Module):
    """An image classifier whose `setup` fills `self.net` with an `nn.Sequential`.

    Attributes:
      lr: Learning rate; the optimizer is its only reader.
      num_classes: Number of logits.
      training: Whether dropout is active. Never assigned:
        `model.clone(training=False)` evaluates.
      initializer: `author`, what the network's author used, or a key of
        `initializers.SCHEMES`.

    Example:
      >>> class Linear(Classifier):
      ...     def setup(self):
      ...         self.net = nn.Sequential([flatten, nn.Dense(self.num_classes)])
      >>> Linear().layer_summary((1, 28, 28, 1))
      function output shape: (1, 784)
      Dense output shape: (1, 10)

    Source: d2l.ai §7.2 and §8.1, `d2l.Classifier`.
    """

    lr: float = 0.1
    num_classes: int = 10
    training: bool = True
    initializer: str = "author"

    reference: ClassVar[Reference | None] = None
    # The scheme behind `author`; None: what the layers themselves declare.
    author_initializer: ClassVar[str | None] = None
    # The author's input scale: a key of `SCALES` in preprocessing/normalize.py.
    author_scale: ClassVar[str] = "unit"
    # Parts that can lie on devices of their own.
    towers: ClassVar[int] = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images `(B, H, W, C)` to logits `(B, num_classes)`."""
        return self.net(x)

    def layer_outputs(self, x: jax.Array) -> Iterator[tuple[Callable, jax.Array]]:
        """Yields each layer and its output, from images `x` on."""
        for layer in self.net.layers:
            x = apply_layer(layer, x)
            yield layer, x

    @nn.nowrap
    def init(
        self,
        rngs: jax.Array | dict[str, jax.Array],
        *args: Any,
        **kwargs: Any,
    ) -> dict:
        """Draws the variables as `nn.Module.init` does, by `initializer`'s scheme.

        Raises:
          InputError: `initializer` is unknown.
        """
        if self.initializer not in ("author", *SCHEMES):
            raise InputError(
                f"model.init must be one of {('author', *SCHEMES)}; "
                f"got {self.initializer!r}"
            )
        variables: Any = super().init(rngs, *args, **kwargs)
        by_author = self.initializer == "author"
        scheme = self.author_initializer if by_author else self.initializer
        if scheme is not None:
            key = rngs["params"] if isinstance(rngs, dict) else rngs
            params = initialize(variables["params"], key, scheme)
            variables = {**variables, "params": params}
        return variables

    @nn.nowrap
    def layer_shapes(
        self, input_shape: tuple[int, ...]
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Returns each layer's class name and output shape; allocates no array.

        Args:
          input_shape: `(B, H, W, C)`.

        Raises:
          InputError: The images are too small: a layer has no output.
        """
        rows: list[tuple[str, tuple[int, ...]]] = []

        def trace(model: Classifier, x: jax.Array) -> None:
            for layer, output in model.layer_outputs(x):
                rows.append((type(layer).__name__, output.shape))
                if 0 in output.shape:
                    raise InputError(
                        f"image_size {input_shape[1]} is too small for "
                        f"{type(self).__name__}: layer {len(rows)}, "
                        f"{layer_name(layer)}, has no output; use larger images"
                    )

        # Not `self.init`: the initialization has no part in the shapes.
        jax.eval_shape(
            lambda key: nn.Module.init(
                self,
                {"params": key, "dropout": key},
                jnp.zeros(input_shape, jnp.float32),
                method=trace,
            ),
            jax.random.key(0),
        )
        return rows

    @nn.nowrap
    def layer_summary(self, input_shape: tuple[int, ...]) -> None:
        """Prints a line a layer: class name and output shape, as d2l does.

        Args:
          input_shape: `(B, H, W, C)`, for example `(1, 224, 224, 1)`.
        """
        for name, shape in self.layer_shapes(input_shape):
            print(name, "output shape:\t", shape)


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
        return Dense(units, name=name, parent=None)

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
        return Sequential([self._create(layer) for layer in layers])

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
