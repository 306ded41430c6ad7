"""A network as a list of operations, laid out as PyTorch, ONNX and Caffe have it.

Maps are `(C, H, W)`, convolutions' weights `(out, in / groups, height, width)`, dense
ones `(out, in)`. A dense layer that reads flattened maps has its columns in the order
C, H, W, which is what flattening makes of maps that are channels first.
"""

from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]

# What is said of a dense layer in groups, whatever the format.
IN_GROUPS = (
    "a dense layer in groups; written as a convolution whose window is the whole map"
)


def rounded_up(down: int, across: int, what: str) -> str:
    """Returns what is said of windows that hang over the edge."""
    return (
        f"its last windows hang over the edge; written as {what}, {down} at the bottom "
        f"and {across} on the right"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """What a layer does at test.

    Attributes:
      name: Caffe's, as in the layer table: `conv1`, `relu1`, `norm1`, `fc6`; each is
        there once.
      input_shape: Of one image: `(C, H, W)` or `(units,)`.
      output_shape: Likewise.
    """

    name: str
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Operation):
    """A convolution; also what a dense layer in groups is: a window of the whole map.

    Attributes:
      weight: `(out, in / groups, height, width) float32`.
      bias: `(out,) float32`; None if there is none.
      strides: Down and across.
      pads: Zeros `((top, bottom), (left, right))`.
      dilations: Between a window's rows and columns.
      groups: Groups of maps that do not see each other.
      rounds_up: Whether the zeros follow from the size of the image, so that windows
        cover all of it.
      is_dense: Whether it is a dense layer in groups.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    strides: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    rounds_up: bool = False
    is_dense: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Operation):
    """A dense layer: `weight` `(out, in)`, `bias` `(out,)` or None, `float32`."""

    weight: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm(Operation):
    """Each map less its mean, by its deviation: four arrays `(C,) float32`.

    Attributes:
      weight: What the result is multiplied by.
      bias: What is then added.
      mean: Running mean.
      variance: Running variance.
      epsilon: Added to the variance.
      momentum: Share of the running statistics that a step of training keeps.
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    momentum: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseNorm(Operation):
    """a / (k + alpha · mean of a²)^beta over a window of `size` maps.

    The mean is the sum divided by `size`, at the ends too. Maps are those from
    size // 2 below to (size - 1) // 2 above.

    Attributes:
      size: Width of the window in maps.
      alpha: As PyTorch, Caffe and ONNX write it.
      beta: The exponent.
      k: The constant.
      groups: Groups of maps that do not see each other.
    """

    size: int
    alpha: float
    beta: float
    k: float
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class MapNorm(Operation):
    """a / (1 + alpha · mean of a²)^beta over `size` × `size` units of the same map.

    The mean is the sum divided by size², at the edges too.
    """

    size: int
    alpha: float
    beta: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Operation):
    """Maxima or averages over windows; beyond the edge nothing counts.

    Attributes:
      average: Whether averages are taken.
      size: Height and width of the window.
      stride: Down and across.
      overhang: By how much the last windows hang over the bottom and the right.
      rounds_up: Whether they may.
    """

    average: bool
    size: int
    stride: int
    overhang: tuple[int, int] = (0, 0)
    rounds_up: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptivePool(Operation):
    """Averages into as many cells as PyTorch's `AdaptiveAvgPool2d` makes: 6×6."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Operation):
    """`function` is `relu`, `tanh`, `sigmoid`, or `softmax` along C or the units."""

    function: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Dropout(Operation):
    """Dropout at a rate; `mask`: that of 2012, at test everything times 1 - rate."""

    rate: float
    mask: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Operation):
    """Maps to units, in the order C, H, W."""
