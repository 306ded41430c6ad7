"""What the readers return, and the error that they raise."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


class Damaged(ValueError):
    """A file is cut short, or is not what it begins like. Its text says how."""


class HoldsCode(ValueError):
    """A pickle asks for a function that builds no array. Its text names it."""


@dataclass(frozen=True)
class Source:
    """Weights as a file holds them.

    Attributes:
      form: What the file is, in words.
      arrays: Of floats of any width, by the file's own names and in its order and
        layout; those that were converted are taken out, so that memory holds them once.
      layers: Which arrays are a layer's kernel and bias, for a file that says so itself
        and not by their names: layers in order.
      operations: Kinds of the network's layers in order, in capitals (`CONVOLUTION`,
        `LRN`, `POOLING`), where the file has them.
      metadata: What the file says of itself besides, by name.
    """

    form: str
    arrays: dict[str, np.ndarray]
    layers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
