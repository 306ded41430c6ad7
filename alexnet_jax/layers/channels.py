"""Which maps a grouped convolution sees."""

from dataclasses import dataclass

import jax
import numpy as np

from alexnet_jax.errors import InputError


@dataclass(frozen=True)
class RandomChannels:
    """Mixes maps at random but for good, for the groups of the next convolution.

    What it returns are whole permutations of all maps, one after the other, so that
    each map is seen by as many groups as any other.

    Attributes:
      rounds: Permutations, how often each map is there.
      seed: Of the permutations: they are the network's, the same in each run.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `randSparse`.
    """

    rounds: int
    seed: int

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, least in (("rounds", 1), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                raise InputError(f"{name} must be at least {least}; got {value}")

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(..., C)` → `(..., rounds * C)`."""
        draw = np.random.RandomState(self.seed)
        rounds = [draw.permutation(x.shape[-1]) for _ in range(self.rounds)]
        return x[..., np.concatenate(rounds)]
