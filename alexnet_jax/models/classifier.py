"""d2l's `Classifier`, which all networks are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral, Real
from operator import lt
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError
from alexnet_jax.layers.graph import IMAGES, Block, Graph, blocks_of, named_block, read
from alexnet_jax.layers.initializers import SCHEMES
from alexnet_jax.layers.sequential import apply_layer, join_layers

# XLA counts in 32 bits; larger shapes take it minutes or end the process.
_LIMIT = 2**31
MAX_LENGTH = 1_000_000  # of a side, of channels, of a batch


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


def check_classifier(model: Any) -> None:
    """Checks that a model is a network that can be trained and summarized.

    Raises:
      InputError: It is no instance of `Classifier`.
    """
    if not isinstance(model, Classifier):
        is_class = isinstance(model, type) and issubclass(model, Classifier)
        got = (
            f"the class; write {model.__name__}()" if is_class else type(model).__name__
        )
        raise InputError(
            "model must be an alexnet_jax.Classifier whose setup fills self.net with "
            f"an nn.Sequential; got {got}"
        )


def _has_units(output: Any) -> bool:
    return 0 not in getattr(output, "shape", (0, 0))[1:]  # an empty batch has them


class Classifier(nn.Module):
    """An image classifier whose `setup` fills `self.net` with an `nn.Sequential`.

    Attributes:
      lr: Learning rate; the optimizer is its only reader.
      num_classes: Number of logits.
      training: Whether dropout is active. Never assigned:
        `model.clone(training=False)` evaluates.
      initializer: `author`, what the network's author used, or a key of
        `initializers.SCHEMES`.

    Examples:
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

    @nn.nowrap
    def scheme(self) -> str | None:
        """Returns the scheme that the layers follow: their own `initializer`.

        Raises:
          InputError: `initializer` is unknown.
        """
        if self.initializer not in ("author", *SCHEMES):
            raise InputError(
                f"model.init must be one of {('author', *SCHEMES)}; "
                f"got {self.initializer!r}"
            )
        by_author = self.initializer == "author"
        return self.author_initializer if by_author else self.initializer

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images `(B, H, W, C)` to logits `(B, num_classes)`.

        Raises:
          InputError: A field is out of range; `x` holds no images, or too small ones;
            `net` is missing; or, where parameters are drawn, a layer does not follow
            the scheme.
        """
        self._check(jnp.shape(x))
        net: Any = getattr(self, "net", None)
        if callable(net) and type(net) not in (nn.Sequential, Graph):
            with self._all_follow():
                return net(x)
        values: dict[str, Any] = {IMAGES: x}
        y: Any = x
        for block in self._blocks():
            y = read(block, values)
            for layer in join_layers(block.layers):
                with self._all_follow(), named_block(block):
                    y = apply_layer(layer, y)
                if not _has_units(y):
                    # Raises: names the layer.
                    self.clone(parent=None).layer_shapes(x.shape)
            values[block.name] = y
        return y

    @nn.nowrap  # linen's tables would look into what a method returns
    def layer_outputs(
        self, x: jax.Array, shifts: Mapping[int, jax.Array] | None = None
    ) -> Iterator[tuple[Callable, jax.Array]]:
        """Yields each layer and its output, from images `x` on.

        Args:
          x: `(B, H, W, C)`.
          shifts: What is added to the output of a layer, by its place from 0 on: the
            derivative by it is that by the output.

        Raises:
          InputError: As for `__call__`; `net` is no `nn.Sequential`, or a layer returns
            something else than an array.
        """
        self._set_up()
        self._check(jnp.shape(x))
        _, height, width, _ = x.shape
        size = height if height == width else f"{height}×{width}"
        values, place = {IMAGES: x}, 0
        for block in self._blocks():
            x = read(block, values)
            for layer in block.layers:
                place += 1
                with self._all_follow(), named_block(block):
                    x = apply_layer(layer, x)
                if not hasattr(x, "shape"):
                    raise InputError(
                        f"{type(self).__name__}: layer {place}, {layer_name(layer)}, "
                        f"must return an array; got {type(x).__name__}"
                    )
                if not _has_units(x):
                    raise InputError(
                        f"image_size {size} is too small for {type(self).__name__}: "
                        f"layer {place}, {layer_name(layer)}, has no output; use "
                        "larger images"
                    )
                if shifts and place - 1 in shifts:
                    x = x + shifts[place - 1].astype(x.dtype)
                yield layer, x
            values[block.name] = x

    @nn.nowrap
    def layer_shapes(
        self, input_shape: tuple[int, ...]
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Returns each layer's class name and output shape; allocates no array.

        Args:
          input_shape: `(B, H, W, C)`.

        Raises:
          InputError: As for `layer_outputs`.
        """
        layers, _ = self.trace_layers(input_shape)
        return [(type(layer).__name__, shape) for layer, _, shape in layers]

    @nn.nowrap
    def trace_layers(
        self, input_shape: tuple[int, ...]
    ) -> tuple[list[tuple[Callable, tuple[str, ...], tuple[int, ...]]], dict[str, Any]]:
        """Runs the layers on shapes alone; allocates no array.

        Args:
          input_shape: `(B, H, W, C)`.

        Returns:
          Each layer with its place among the variables (`()` of a function) and its
          output shape; shapes and dtypes of the variables, by collection.

        Raises:
          InputError: As for `layer_outputs`.
        """
        self._check(input_shape)
        layers: list[tuple[Callable, tuple[str, ...], tuple[int, ...]]] = []

        def trace(model: Classifier, x: jax.Array) -> None:
            for layer, output in model.layer_outputs(x):
                layers.append((layer, getattr(layer, "path", ()), output.shape))

        def init() -> Any:
            key = jax.random.key(0)  # inside: drawing one outside compiles
            images = jnp.zeros(input_shape, jnp.float32)
            return self.init({"params": key, "dropout": key}, images, method=trace)

        variables = jax.eval_shape(init)
        return layers, dict(variables)

    @nn.nowrap
    def variable_shapes(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        """Returns shapes and dtypes of the variables; allocates no array.

        Args:
          input_shape: `(B, H, W, C)`.

        Returns:
          By collection (`params`, `batch_stats`), as `init` has them.

        Raises:
          InputError: As for `__call__`.
        """
        keys = {name: jax.random.key(0) for name in ("params", "dropout")}
        image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
        return dict(jax.eval_shape(self.init, keys, image))

    def _set_up(self) -> None:
        """Lets linen run `setup` before this, so that a mistake in it is shown."""

    @nn.nowrap
    def _check(self, input_shape: Sequence[int]) -> None:
        self.scheme()
        classes = self.num_classes
        if not isinstance(classes, Integral) or not 0 < classes < _LIMIT:
            raise InputError(
                "model.num_classes must be an integer of at least 1 and below 2**31; "
                f"got {classes!r}"
            )
        least = 0, 0, 0, 1
        try:  # a symbolic length is no number, and is compared all the same
            is_shape = len(input_shape) == 4 and not any(map(lt, input_shape, least))
        except (TypeError, ValueError):
            is_shape = False
        if not is_shape or any(
            isinstance(n, Real) and not isinstance(n, Integral) for n in input_shape
        ):
            raise InputError(
                "images must have shape (batch, height, width, channels), gray ones "
                f"with 1 channel; got {input_shape}"
            )
        # A symbolic length has no bound.
        known = [n for n in input_shape if isinstance(n, Integral)]
        if max(known, default=0) > MAX_LENGTH:
            raise InputError(
                f"images must have lengths of at most {MAX_LENGTH:,}; got "
                f"{tuple(input_shape)}"
            )

    @nn.nowrap
    def _blocks(self) -> list[Block]:
        net: Any = getattr(self, "net", None)
        if not hasattr(net, "layers"):
            raise InputError(
                f"{type(self).__name__} must fill self.net with an nn.Sequential in "
                f"its setup; got {type(net).__name__}"
            )
        return blocks_of(net)

    @nn.nowrap
    def _all_follow(self) -> AbstractContextManager:
        """While parameters are drawn: checks that all kernels follow the scheme."""
        scheme = self.scheme()
        if scheme is None or not self.is_initializing() or self._has_other_layers():
            return nullcontext()

        def check(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
            output, layer = call(*args, **kwargs), context.module
            is_bound = layer.scope is not None
            has_kernel = is_bound and layer.has_variable("params", "kernel")
            if has_kernel and getattr(layer, "initializer", None) != scheme:
                raise InputError(
                    f"{type(self).__name__}: layer {layer.name} does not follow "
                    f"model.init {scheme!r}; make it with alexnet_jax.layers' Conv or "
                    "Dense and initializer=self.scheme(), or set initializer 'author'"
                )
            return output

        return nn.intercept_methods(check)

    @nn.nowrap
    def _has_other_layers(self) -> bool:
        """Whether the author's scheme is another class's than the layers are."""
        if self.initializer != "author":
            return False
        owners = [
            next(
                place
                for place, one in enumerate(type(self).__mro__)
                if name in vars(one)
            )
            for name in ("setup", "author_initializer")
        ]
        return owners[0] < owners[1]

    @nn.nowrap
    def layer_summary(self, input_shape: tuple[int, ...], key: Any = None) -> None:
        """Prints a line a layer: class name and output shape, as d2l does.

        Args:
          input_shape: `(B, H, W, C)`, for example `(1, 224, 224, 1)`.
          key: Taken as by d2l; no weights are drawn, so it changes nothing.

        Raises:
          InputError: As for `layer_shapes`.
        """
        del key
        for name, shape in self.layer_shapes(input_shape):
            print(name, "output shape:\t", shape)
