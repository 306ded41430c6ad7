"""Local response normalization in every form that AlexNets have had.

What is called LRN differs between its sources by up to a factor of five in alpha and of
two in k, so each form has a name here and none is the default.
"""

import math
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.errors import InputError
from alexnet_jax.layers.cpu.gradient import with_gradient
from alexnet_jax.layers.cpu.switch import by_platform


def check_window(size: int, k: float, **others: float) -> None:
    """Checks the settings of a normalization.

    Args:
      size: Of its window, in maps or in units of a map.
      k: The constant in its denominator.
      **others: A factor and an exponent, by their names.

    Raises:
      InputError: One is out of range.
    """
    if not isinstance(size, Integral) or size < 1:
        raise InputError(f"size must be an integer of at least 1; got {size!r}")
    for name, value in others.items():
        if not 0 <= value < math.inf:
            raise InputError(f"{name} must be at least 0, and finite; got {value}")
    if not 0 < k < math.inf:
        raise InputError(f"k must be greater than 0, and finite; got {k}")


class Convention(NamedTuple):
    """What a source means by LRN's letters.

    Attributes:
      divides: Whether alpha is divided by the window's size.
      k: The constant in the denominator.
      even: Whether a window of even size is defined; it then reaches one further down.
    """

    divides: bool
    k: float
    even: bool


CONVENTIONS = {
    "paper": Convention(divides=False, k=2.0, even=False),
    "2012": Convention(divides=True, k=2.0, even=True),  # the code behind the paper
    "caffe": Convention(divides=True, k=1.0, even=False),
    "torch": Convention(divides=True, k=1.0, even=True),
}


@dataclass(frozen=True)
class LocalResponseNorm:
    """Divides each unit by its neighbors' strength in the maps beside it.

    b_i = a_i / (k + alpha' · Σ a_j²)^beta over the `size` maps j around i; the window
    is cut off at the ends. alpha' is alpha, or alpha / size where the convention
    divides. Summed in float32 if the input is narrower. TensorFlow's
    `lrn(depth_radius=r, bias, alpha, beta)` is `paper` with size 2r + 1 and its k.

    Attributes:
      convention: A key of `CONVENTIONS`: `paper` (plain sum, k 2), `2012` (alpha /
        size, k 2), `caffe` and `torch` (alpha / size, k 1).
      size: Width of the window in maps. An even one, where the convention has it, is
        maps i - size/2 to i + size/2 - 1.
      alpha: As the source writes it, before any division.
      beta: The exponent.
      k: Another constant than the convention's.
      groups: Maps are cut into so many groups that do not see each other: the towers.

    Raises:
      InputError: A value is out of range; or, when called, `groups` does not divide the
        channels.

    Source: Krizhevsky et al. 2012, §3.3; cuda-convnet `cmrnorm`; Caffe `LRN`
    ACROSS_CHANNELS; PyTorch `LocalResponseNorm`.
    """

    convention: str
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float | None = None
    groups: int = 1

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.convention not in CONVENTIONS:
            raise InputError(
                f"convention must be one of {tuple(CONVENTIONS)}; "
                f"got {self.convention!r}"
            )
        even = CONVENTIONS[self.convention].even
        whole = isinstance(self.size, Integral)
        if not whole or self.size < 1 or (self.size % 2 == 0 and not even):
            kind = "an integer" if even else "an odd integer"
            raise InputError(
                f"size must be {kind} of at least 1 with convention "
                f"{self.convention!r}; got {self.size}"
            )
        check_window(self.size, self.constant, alpha=self.alpha, beta=self.beta)
        if self.groups < 1:
            raise InputError(f"groups must be at least 1; got {self.groups}")

    @property
    def constant(self) -> float:
        """The k that is used."""
        return CONVENTIONS[self.convention].k if self.k is None else self.k

    @property
    def scale(self) -> float:
        """What multiplies the sum of squares."""
        divides = CONVENTIONS[self.convention].divides
        return self.alpha / self.size if divides else self.alpha

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(..., C)` to the same shape and dtype."""
        channels = x.shape[-1]
        if channels % self.groups:
            raise InputError(
                f"groups must divide the channels, {channels}; got {self.groups}"
            )
        grouped = x.reshape((*x.shape[:-1], self.groups, channels // self.groups))
        window = (1,) * (grouped.ndim - 1) + (self.size,)
        y = _normalize(grouped, window, self.constant, self.scale, self.beta)
        return y.reshape(x.shape)


@dataclass(frozen=True)
class MapNorm:
    """Divides each unit by its neighbors' strength in its own map.

    b = a / (k + scale / size² · Σ a²)^power over the `size` × `size` units around,
    zeros beyond the edge. The runs behind the paper had it after conv2; the paper is
    silent.

    Attributes:
      size: Height and width of the window. An even one reaches one unit further up and
        left.
      scale: As the source writes it, before the division.
      power: The exponent.
      k: The constant in the denominator, cuda-convnet2's `minDiv`.

    Source: cuda-convnet `rnorm` in layers-145.cfg; Caffe `LRN` WITHIN_CHANNEL. The
    constant 1 is the kernel's default there; its own source was not released.
    """

    size: int = 5
    scale: float = 1e-3
    power: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        """Checks the values."""
        check_window(self.size, self.k, scale=self.scale, power=self.power)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to the same shape and dtype."""
        window = (1, self.size, self.size, 1)
        return _normalize(x, window, self.k, self.scale / self.size**2, self.power)


def _normalize(
    x: jax.Array, window: tuple[int, ...], k: float, scale: float, beta: float
) -> jax.Array:
    """Returns x / (k + scale · Σ x²)^beta, Σ over a window.

    The gradient is written out because it needs x alone, where the derived one keeps
    five arrays of its size; on two CPU cores it takes a third of the time.
    """

    def normalize(x: jax.Array) -> jax.Array:
        wide = widen(x)
        denominator = _denominator(wide, window, k, scale)
        return (wide * inverse_power(denominator, beta)).astype(x.dtype)

    def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return normalize(x), x

    def terms(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        wide = widen(x)
        denominator = _denominator(wide, window, k, scale)
        return wide, denominator, inverse_power(denominator, beta)

    def derive(x: jax.Array, gradient: jax.Array, sparing: bool = False) -> jax.Array:
        incoming = widen(gradient)
        # XLA takes a barrier's results for other arrays, and so computes denominators
        # anew; else it would write them to memory, in float32, and read them twice.
        if sparing:
            x = lax.optimization_barrier(x)
        wide, denominator, power = terms(x)
        # Each unit has a part in all the sums whose window it lies in: the mirrored
        # window.
        part = incoming * wide * power / denominator
        if sparing:
            x, part = lax.optimization_barrier((x, part.astype(x.dtype)))
            part, (wide, _, power) = widen(part), terms(x)
        shared = window_sum(part, window, mirrored=True)
        result = incoming * power - (2 * scale * beta) * wide * shared
        return result.astype(x.dtype)

    sparing = partial(derive, sparing=True)

    def backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
        return (by_platform(x, gradient, cuda=sparing, default=derive),)

    return with_gradient(normalize, forward, backward)(x)


def widen(x: jax.Array) -> jax.Array:
    """Returns the input in float32 at least: what is summed is rounded once."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def _denominator(
    x: jax.Array, window: tuple[int, ...], k: float, scale: float
) -> jax.Array:
    return k + scale * window_sum(x * x, window)


def window_sum(
    x: jax.Array, window: tuple[int, ...], mirrored: bool = False
) -> jax.Array:
    """Returns sums over windows; an even one reaches one further down."""
    before_after = [(size // 2, (size - 1) // 2) for size in window]
    if mirrored:
        before_after = [(after, before) for before, after in before_after]
    zero = np.zeros((), x.dtype)
    return lax.reduce_window(x, zero, lax.add, window, (1,) * x.ndim, before_after)


def inverse_power(x: jax.Array, beta: float) -> jax.Array:
    """Returns x^-beta; for 3/4 by square roots, which take half the time."""
    if beta == 0.75:
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**-beta
