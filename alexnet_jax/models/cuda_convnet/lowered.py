"""What an experiment's layers become, as data."""

from typing import NamedTuple

from alexnet_jax.models.cuda_convnet.layers import Layer
from alexnet_jax.models.cuda_convnet.plan import Step


class Weights(NamedTuple):
    """A layer with weights, and what the files say of them.

    Attributes:
      source: The layer of the file.
      place: The input that the lists of the file are looked up for.
      has_bias: Whether it has biases.
    """

    source: Layer
    place: int
    has_bias: bool


class Lowered(NamedTuple):
    """What an experiment's layers become.

    Attributes:
      steps: In order; the last are the logits.
      weights: By the name of the layer.
      towers: Devices that can hold a part each.
      num_classes: That the file names.
      has_classes: Whether there may be other ones: one layer computes all of them.
      unit: What numbers of maps must be multiples of, for their groups.
    """

    steps: list[Step]
    weights: dict[str, Weights]
    towers: int
    num_classes: int
    has_classes: bool
    unit: int
