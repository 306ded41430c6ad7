"""Which maps the groups of a convolution read."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import InputError


@dataclass(frozen=True)
class RandomChannels:
    """Mixes maps at random, for the groups of the convolution that follows.

    They are drawn once: permutations of all maps one after the other, so that each map
    is read by as many groups as any other.

    Attributes:
      rounds: Permutations: how often each map is there.
      seed: Of the draw; the same seed gives the same maps in every run.

    Raises:
      InputError: A value is out of range.

    Source: cuda-convnet `randSparse`, which draws others in each run.
    """

    rounds: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.rounds < 1:
            raise InputError(f"rounds must be at least 1; got {self.rounds}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be from 0 to 2**32 - 1; got {self.seed}")

    def connections(self, inputs: int) -> np.ndarray:
        """Returns which of so many maps each one is, `(rounds * inputs,) int64`."""
        draw = np.random.RandomState(self.seed)
        rounds = [draw.permutation(inputs) for _ in range(self.rounds)]
        return np.concatenate(rounds).astype(np.int64)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(..., C)` to `(..., rounds * C)`."""
        inputs = x.shape[-1]
        # Round by round each map is read once, so that the gradients of no two places
        # are added in an order that is left to chance.
        rounds = [
            x.at[..., chosen].get(unique_indices=True, mode="promise_in_bounds")
            for chosen in self.connections(inputs).reshape(-1, inputs)
        ]
        return jnp.concatenate(rounds, axis=-1)
