"""What was read from a file of weights, array by array, to be looked through."""

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.atomic import open_regular
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.weights.mapping import Conversion
from alexnet_jax.weights.own import variable_shapes

_PUBLISHED = "alexnet-owt-"  # how the names of torchvision's files begin
_PART = 1 << 20  # numbers that are held as float64 at a time


class Verified(NamedTuple):
    """A converted array in numbers.

    Attributes:
      name: Ours, such as `conv1/kernel`.
      source_name: The file's.
      source_shape: As the file has it.
      source_type: Of its numbers in the file.
      shape: Ours.
      changes: What was done to it, in words.
      parameters: Numbers in it.
      mean: Of them.
      deviation: Their standard deviation.
      bytes: What it takes, as float32.
      is_state: Whether it is no parameter, but a running statistic or the like.
    """

    name: str
    source_name: str
    source_shape: tuple[int, ...]
    source_type: str
    shape: tuple[int, ...]
    changes: str
    parameters: int
    mean: float
    deviation: float
    bytes: int
    is_state: bool = False


class Verification(NamedTuple):
    """The verification report of a conversion.

    Attributes:
      network: The registered name.
      form: What the file is, in words.
      num_classes: Outputs of the last layer.
      width: What the network's maps and units are multiplied by.
      arrays: In the network's order.
      left_over: The file's arrays that were left out.
      expected: Parameters that such a network has.
    """

    network: str
    form: str
    num_classes: int
    width: float
    arrays: list[Verified]
    left_over: list[str]
    expected: int

    @property
    def parameters(self) -> int:
        """How many they are in all."""
        return sum(one.parameters for one in self.arrays if not one.is_state)

    @property
    def bytes(self) -> int:
        """What all arrays take, as float32."""
        return sum(one.bytes for one in self.arrays)

    @property
    def network_text(self) -> str:
        """Names the network, and its width if that is not the author's."""
        return self.network + (f" of width {self.width:g}" if self.width != 1 else "")

    @property
    def expected_text(self) -> str:
        """Sets the parameters against those of such a network, in a line."""
        count, wanted = f"{self.parameters:,}", f"{self.expected:,}"
        as_many = self.parameters == self.expected
        has = "as" if as_many else f"not {wanted} as"
        others = sum(one.parameters for one in self.arrays if one.is_state)
        states = f"; {others:,} running statistics besides" if others else ""
        return (
            f"{count} parameters, {has} {self.network_text} has with "
            f"{self.num_classes:,} classes{states}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON has it."""
        return self._asdict() | {
            "arrays": [one._asdict() for one in self.arrays],
            "parameters": self.parameters,
            "bytes": self.bytes,
            "total": {"parameters": self.parameters, "bytes": self.bytes},
        }


def verify(conversion: Conversion, config: ConfigDict, spec: DataSpec) -> Verification:
    """Returns the verification report of a conversion.

    Args:
      conversion: What became of a file.
      config: Of the run that is made of it, whose network says what to expect.
      spec: Of its data.
    """
    params = variable_shapes(config, spec)["params"]
    expected = sum(leaf.size for leaf in jax.tree.leaves(params))
    arrays = []
    for one in conversion.arrays:
        mean, deviation = _moments(one.array)
        arrays.append(
            Verified(
                one.name,
                one.source_name,
                one.source_shape,
                one.source_type,
                one.array.shape,
                "; ".join(one.changes),
                one.array.size,
                mean,
                deviation,
                one.array.nbytes,
                one.is_state,
            )
        )
    return Verification(
        conversion.network,
        conversion.form,
        conversion.num_classes,
        conversion.width,
        arrays,
        conversion.left_over,
        expected,
    )


def digest(path: Path) -> str:
    """Returns a file's SHA-256, hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path) -> str | None:
    """Compares a file with the digest in its name, as PyTorch's downloads have it.

    Args:
      path: The file; `NAME-XXXXXXXX.EXT` says how its SHA-256 begins.

    Returns:
      What is wrong, or None.
    """
    named = re.search(r"-([0-9a-f]{8})\.[a-z]+$", path.name)
    if named is None:
        return None
    if named[1].isdigit() and not path.name.startswith(_PUBLISHED):
        return None  # a date, perhaps
    found = digest(path)
    if found.startswith(named[1]):
        return None
    return (
        f"{path}: its SHA-256 begins with {found[:8]}, not as its name says; it is "
        "damaged, changed, or another file"
    )


def _moments(array: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation, computed in float64, a part at a time."""
    flat = array.reshape(-1)

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, flat.size, _PART):
            yield flat[start : start + _PART].astype(np.float64)

    mean = sum(part.sum() for part in parts()) / flat.size
    squares = sum(np.square(part - mean).sum() for part in parts())
    return float(mean), math.sqrt(squares / flat.size)
