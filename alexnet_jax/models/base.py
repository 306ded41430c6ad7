"""The base class of every network: d2l's `Classifier`, without its trainer."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError
from alexnet_jax.layers.initializers import SCHEMES, initialize


class Reference(NamedTuple):
    """Where a network comes from, and at what it was made to look.

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
    """Returns a layer's own name, such as `conv1`, else what it is called."""
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

    Source: d2l.ai §7.2 and §8.1, `d2l.Classifier`.
    """

    lr: float = 0.1
    num_classes: int = 10
    training: bool = True
    initializer: str = "author"

    reference: ClassVar[Reference | None] = None
    # The scheme behind `author`; None: what the layers themselves declare.
    author_initializer: ClassVar[str | None] = None
    # What the author fed it: a key of `scales.SCALES`.
    author_scale: ClassVar[str] = "unit"
    # Parts that can lie on devices of their own.
    towers: ClassVar[int] = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images `(B, H, W, C)` to logits `(B, num_classes)`."""
        return self.net(x)

    def layer_outputs(self, x: jax.Array) -> Iterator[tuple[Callable, jax.Array]]:
        """Yields each layer and what it makes of what the ones before made of `x`."""
        for layer in self.net.layers:
            x = layer(x)
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
          InputError: A layer would have nothing left to put out.
        """
        rows: list[tuple[str, tuple[int, ...]]] = []

        def trace(model: Classifier, x: jax.Array) -> None:
            for layer, output in model.layer_outputs(x):
                rows.append((type(layer).__name__, output.shape))
                if 0 in output.shape:
                    raise InputError(
                        f"image_size {input_shape[1]} is too small for "
                        f"{type(self).__name__}: layer {len(rows)}, "
                        f"{layer_name(layer)}, has no output left"
                    )

        # Not `self.init`: the initialisation has no part in the shapes.
        jax.eval_shape(
            lambda key: nn.Module.init(
                self,
                {"params": key, "dropout": key},
                jnp.zeros(input_shape),
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
