"""Named initializations, which a layer follows when it creates its parameters.

Two things that Flax's own do not know are in them: authors draw a layer by its name
(conv3 from N(0, 0.03)), and PyTorch draws a bias from its kernel's fan-in.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jax.nn import initializers

from alexnet_jax.errors import InputError

# (layer's name, kernel's shape) -> (kernel_init, bias_init), as linen's layers have.
Scheme = Callable[[str | None, tuple[int, ...]], tuple[Initializer, Initializer]]


def _zero_bias(kernel_init: Initializer) -> Scheme:
    return lambda name, kernel_shape: (kernel_init, initializers.zeros)


def _torch(
    name: str | None, kernel_shape: tuple[int, ...]
) -> tuple[Initializer, Initializer]:
    """Kaiming-uniform with a = √5: kernel and bias from U(-1/√fan_in, 1/√fan_in)."""
    bound = math.prod(kernel_shape[:-1]) ** -0.5

    def draw(
        key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> jax.Array:
        # Drawn flat: the same values, and XLA compiles it in half the time.
        flat = (math.prod(shape),)
        return jax.random.uniform(key, flat, dtype, -bound, bound).reshape(shape)

    return draw, draw


def gaussian(deviation: float) -> Initializer:
    """Returns an initializer that draws from N(0, deviation)."""

    def draw(
        key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> jax.Array:
        flat = (math.prod(shape),)  # as in `_torch`
        return deviation * jax.random.normal(key, flat, dtype).reshape(shape)

    return draw


@dataclass(frozen=True)
class _Gaussian:
    """Kernels from N(0, 0.01) and zero biases, but for the layers that are named."""

    deviations: Mapping[str, float]
    biases: Mapping[str, float]

    def of(self, name: str | None) -> tuple[float, float]:
        """Returns the deviation and the first bias of a layer."""
        return self.deviations.get(name or "", 0.01), self.biases.get(name or "", 0.0)

    def __call__(
        self, name: str | None, kernel_shape: tuple[int, ...]
    ) -> tuple[Initializer, Initializer]:
        deviation, bias = self.of(name)
        return gaussian(deviation), initializers.constant(bias)


_CONV_WIDE = dict.fromkeys(("conv3", "conv4", "conv5", "conv6"), 0.03)
_DENSE_NARROW = dict.fromkeys(("fc6", "fc7"), 0.005)
# A bias so that ReLU passes something from the first step on.
_BIASED = ("conv2", "conv4", "conv5", "conv6", "fc6", "fc7")
_ONES = dict.fromkeys(_BIASED, 1.0)
_convolutions = _Gaussian({}, dict.fromkeys(("conv2", "conv4", "conv5"), 1.0))


def _ungrouped(
    name: str | None, kernel_shape: tuple[int, ...]
) -> tuple[Initializer, Initializer]:
    """The paper's for convolutions, PyTorch's for dense layers."""
    scheme = _convolutions if len(kernel_shape) == 4 else _torch
    return scheme(name, kernel_shape)


SCHEMES: dict[str, Scheme] = {
    "lecun": _zero_bias(initializers.lecun_normal()),  # Flax's default
    "he": _zero_bias(initializers.he_normal()),
    "xavier": _zero_bias(initializers.xavier_uniform()),  # Keras's default
    "torch": _torch,  # PyTorch's default
    "paper": _Gaussian({}, _ONES),  # Krizhevsky et al. 2012, §5
    "2012": _Gaussian(_CONV_WIDE, _ONES),  # layers-145.cfg
    "one_weird_trick": _Gaussian(_CONV_WIDE, _ONES | {"fc8": -7.0}),  # 1 of 1000
    "caffe": _Gaussian(_DENSE_NARROW, dict.fromkeys(_BIASED, 0.1)),  # bvlc_alexnet
    "caffenet": _Gaussian(_DENSE_NARROW, _ONES),  # bvlc_reference_caffenet
    "ungrouped": _ungrouped,  # dansuh17/alexnet-pytorch
}


def gaussian_scheme(layers: Mapping[str, tuple[float, float]]) -> str | None:
    """Returns the scheme that draws layers from given distributions.

    Args:
      layers: By name, the deviation of the kernel, N(0, deviation), and the first value
        of the biases.

    Returns:
      A key of `SCHEMES`; None if there is none.

    Example:
      >>> gaussian_scheme({"conv1": (0.01, 0.0), "conv3": (0.03, 0.0)})
      '2012'
    """
    for key, scheme in SCHEMES.items():
        if isinstance(scheme, _Gaussian) and all(
            scheme.of(name) == given for name, given in layers.items()
        ):
            return key
    return None


class Initialized(nn.Module, kw_only=True):
    """A layer whose kernel `(..., in, out)` and bias are drawn by a named scheme.

    It stands before linen's class: `class Dense(Initialized, nn.Dense)`.

    Attributes:
      initializer: A key of `SCHEMES`, which is followed in place of `kernel_init` and
        `bias_init`; None: those. Authors' schemes go by the layer's name, `conv1` to
        `fc8`; a layer of another name is drawn from N(0, 0.01), its bias 0.

    Raises:
      InputError: `initializer` is unknown.
    """

    initializer: str | None = None

    @nn.nowrap
    def param(self, name: str, init_fn: Callable, *args: Any, **kwargs: Any) -> Any:
        """Creates a parameter as linen does: the kernel first, then its bias."""
        if self.initializer is not None and name in ("kernel", "bias"):
            if self.initializer not in SCHEMES:
                raise InputError(
                    f"{self.name}: initializer must be None or one of "
                    f"{tuple(SCHEMES)}; got {self.initializer!r}"
                )
            is_bias = name == "bias"
            shape = self.get_variable("params", "kernel").shape if is_bias else args[0]
            init_fn = self.drawn_by(SCHEMES[self.initializer], shape)[is_bias]
        return super().param(name, init_fn, *args, **kwargs)

    @nn.nowrap
    def drawn_by(
        self, scheme: Scheme, kernel_shape: tuple[int, ...]
    ) -> tuple[Initializer, Initializer]:
        """Returns what draws the kernel and the bias by a scheme."""
        return scheme(self.name, kernel_shape)
