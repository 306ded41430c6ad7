"""What the readers return, and the error that they raise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Damaged(ValueError):
    """A file is cut short, or is not what it begins like. Its text says how."""


class NotRead(ValueError):
    """A file is whole, but of a kind that is not read. Its text names that."""


class HoldsCode(ValueError):
    """A pickle asks for a function that builds no array. Its text names it."""


@dataclass(frozen=True)
class Source:
    """Weights as a file holds them.

    Attributes:
      form: What the file is, in words.
      arrays: Of floats of any width, by the file's own names and in its order and
        layout; those that were converted are taken out, so that memory holds them once.
      weighted: For a file that has its layers in order: whether each is `conv`, `norm`
        (BatchNorm) or `fc`, and the names of its arrays; "" for one that it lacks.
      operations: Kinds of the network's layers in order, in capitals (`CONVOLUTION`,
        `LRN`, `POOLING`), where the file has them.
      attributes: Those of each operation of an ONNX graph by name, in the same order.
      metadata: What the file says of itself besides, by name.
    """

    form: str
    arrays: dict[str, np.ndarray]
    weighted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    operations: tuple[str, ...] = ()
    attributes: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
