"""Which maps a grouped convolution sees."""

from dataclasses import dataclass

import jax
import numpy as np

from alexnet_jax.errors import InputError


@dataclass(frozen=True)
class RandomChannels:
    """Picks the maps that each group of a convolution sees, at random but for good.

    The groups' maps are whole permutations of all maps, one after the other, so that
    each map is seen as often as any other.

    Attributes:
      groups: Of the convolution that follows.
      channels: Maps that a group sees.
      seed: Of the permutations: they are the network's, the same in each run.

    Raises:
      InputError: A value is out of range; or, when called, `groups` × `channels` is no
        multiple of the input's channels.

    Source: cuda-convnet `randSparse`.
    """

    groups: int
    channels: int
    seed: int

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("groups", "channels"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{name} must be at least 1; got {value}")

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(..., C)` → `(..., groups * channels)`."""
        count, total = x.shape[-1], self.groups * self.channels
        if total % count:
            raise InputError(
                f"groups × channels must be a multiple of the input's channels, "
                f"{count}; got {self.groups} × {self.channels}"
            )
        draw = np.random.RandomState(self.seed)
        rounds = [draw.permutation(count) for _ in range(total // count)]
        return x[..., np.concatenate(rounds)]
