"""What a layer-parameter file says of each array's update, as data.

Source: cuda-convnet lr.cu and weights.cu, 2012, and cuda-convnet2's of 2014.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from alexnet_jax.errors import InputError

KINDS = ("constant", "linear", "exp", "dexp", "jdexp")


@dataclass(frozen=True)
class Rate:
    """A learning rate over a run's length.

    `linear` and `exp` fall from `base` to `base / factor`, the latter by the same share
    in the same time; `dexp` does so in steps of equal length; `jdexp` is half a step
    late, by the geometric mean, in the middle of the run.

    Attributes:
      base: At the begin, at least 0; 0 means that the array is not updated at all.
      kind: One of `KINDS`.
      factor: What the rate is divided by at the end, above 0.
      steps: How many `dexp` and `jdexp` have.
      noise: Share of the rate that is added, times the magnitude of a draw from
        N(0, 1), a new one at each step; `at` leaves it out.

    Raises:
      InputError: A value is not allowed.
    """

    base: float
    kind: str = "constant"
    factor: float = 1.0
    steps: int = 1
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind must be one of {KINDS}; got {self.kind!r}")
        for name, least, fits in (
            ("base", "at least 0", self.base >= 0),
            ("factor", "above 0", self.factor > 0),
            ("steps", "at least 1", self.steps >= 1),
            ("noise", "at least 0", self.noise >= 0),
        ):
            if not fits:
                raise InputError(f"{name} must be {least}; got {getattr(self, name)}")

    def at(self, progress: ArrayLike) -> jax.Array:
        """Returns the rate at moments of the run.

        Args:
          progress: Share of the run that is done, in [0, 1], of any shape. At the very
            moment at which a step of `dexp` ends it still holds, as in the source.

        Returns:
          `float32` of that shape.
        """
        done = jnp.asarray(progress, jnp.float32)
        if self.kind == "linear":
            return self.base * (1 - done) + self.base / self.factor * done
        if self.kind == "exp":
            return self.base * jnp.float32(self.factor) ** -done
        if self.kind == "constant":
            return jnp.full_like(done, self.base)
        rates = self._stairs()
        rate = jnp.full_like(done, rates[0])
        for index in range(1, self.steps):
            now = jnp.full_like(done, rates[index])
            if self.kind == "jdexp":
                is_late = (done > (index + 0.5) / self.steps) & (done > 0.2)
                mean = (rates[index] * rates[index - 1]) ** 0.5
                now = jnp.where(is_late & (done < 0.9), mean, now)
            rate = jnp.where(done > index / self.steps, now, rate)
        return rate

    def _stairs(self) -> list[float]:
        last = self.steps - 1
        stairs = [self.base * self.factor ** (-step / last) for step in range(last)]
        return [*stairs, self.base / self.factor]


class ArrayUpdate(NamedTuple):
    """How one array is updated.

    Attributes:
      rate: Its learning rate.
      momentum: Share of the last change that is kept.
      weight_decay: Share of the array that joins the gradient.
      max_norm: Times the number of a unit's weights, what their norm is held at or
        below; 0: not held.
      contrast: Least and largest deviation of a filter's weights, its mean taken off;
        a largest of 0: not held.
      local: Whether the first two axes are places, each with units of its own.
    """

    rate: Rate
    momentum: float
    weight_decay: float
    max_norm: float = 0.0
    contrast: tuple[float, float] = (0.0, 0.0)
    local: bool = False


class LayerUpdates(NamedTuple):
    """How a network's arrays are updated.

    Attributes:
      arrays: By name, such as `conv1/kernel`.
      coefficient: What the loss is multiplied by.
    """

    arrays: Mapping[str, ArrayUpdate]
    coefficient: float = 1.0
