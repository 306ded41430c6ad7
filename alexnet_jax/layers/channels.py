"""Which maps the groups of a convolution read."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import InputError


@dataclass(frozen=True)
class RandomChannels:
    """Gives each group of the convolution that follows maps drawn at random.

    They are drawn once: permutations of all maps one after the other, of which group g
    reads entries g · channels to (g + 1) · channels - 1.

    Attributes:
      groups: The convolution's.
      channels: Maps that each group reads.
      seed: Of the draw; the same seed gives the same maps in every run.

    Raises:
      InputError: A value is out of range; or, when called, the maps of all groups are
        not a multiple of the input's.

    Source: cuda-convnet `randSparse`, which draws others in each run.
    """

    groups: int
    channels: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, value in (("groups", self.groups), ("channels", self.channels)):
            if value < 1:
                raise InputError(f"{name} must be at least 1; got {value}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be from 0 to 2**32 - 1; got {self.seed}")

    def connections(self, inputs: int) -> np.ndarray:
        """Returns which of so many maps each one is, `(groups * channels,) int64`.

        Raises:
          InputError: `groups * channels` is no multiple of them.
        """
        total = self.groups * self.channels
        if total % inputs:
            raise InputError(
                f"groups × channels must be a multiple of the input's channels, "
                f"{inputs}; got {self.groups} × {self.channels}"
            )
        draw = np.random.RandomState(self.seed)
        rounds = [draw.permutation(inputs) for _ in range(total // inputs)]
        return np.concatenate(rounds).astype(np.int64)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(..., C)` to `(..., groups * channels)`."""
        inputs = x.shape[-1]
        # Round by round each map is read once, so that the gradients of no two places
        # are added in an order that is left to chance.
        rounds = [
            x.at[..., chosen].get(unique_indices=True, mode="promise_in_bounds")
            for chosen in self.connections(inputs).reshape(-1, inputs)
        ]
        return jnp.concatenate(rounds, axis=-1)
