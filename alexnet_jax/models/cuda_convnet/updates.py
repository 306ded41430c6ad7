"""placeholder until merged."""

from dataclasses import dataclass
from typing import NamedTuple
from collections.abc import Mapping


@dataclass(frozen=True)
class Rate:
    base: float
    kind: str = "constant"
    factor: float = 1.0
    steps: int = 1


class ArrayUpdate(NamedTuple):
    rate: Rate
    momentum: float
    weight_decay: float
    max_norm: float = 0.0
    contrast: tuple[float, float] = (0.0, 0.0)


class LayerUpdates(NamedTuple):
    arrays: Mapping[str, ArrayUpdate]
    coefficient: float = 1.0
