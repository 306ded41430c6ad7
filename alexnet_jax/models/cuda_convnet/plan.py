"""A network's plan: the blocks of layers that its `setup` creates."""

from collections.abc import Sequence
from typing import NamedTuple

from alexnet_jax.layers.graph import IMAGES
from alexnet_jax.models.cuda_convnet.calls import Call

_NAMING = ("conv", "local", "dense", "add", "concatenate")


class Step(NamedTuple):
    """One layer.

    Attributes:
      name: What others read it by.
      inputs: Names of what it reads.
      call: What creates it.
    """

    name: str
    inputs: tuple[str, ...]
    call: Call


class Block(NamedTuple):
    """Layers one after the other.

    Attributes:
      name: What other blocks read it by.
      inputs: Names of blocks, or `images`.
      calls: What creates its layers.
    """

    name: str
    inputs: tuple[str, ...]
    calls: tuple[Call, ...]


def join_steps(steps: Sequence[Step]) -> list[Block]:
    """Puts layers into as few blocks as there can be.

    Args:
      steps: Each after those that it reads; the last is the output.
    """
    readers: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            readers[name] = readers.get(name, 0) + 1
    blocks: list[list[Step]] = []
    for step in steps:
        previous = blocks[-1][-1].name if blocks else None
        if step.inputs == (previous,) and readers[step.inputs[0]] == 1:
            blocks[-1].append(step)
        else:
            blocks.append([step])
    names = {block[-1].name: _name(block) for block in blocks} | {IMAGES: IMAGES}
    return [
        Block(
            _name(block),
            tuple(names[name] for name in block[0].inputs),
            tuple(step.call for step in block),
        )
        for block in blocks
    ]


def _name(block: Sequence[Step]) -> str:
    """Returns a block's name: of its first layer with weights, else of its first."""
    named = (step.name for step in block if step.call.function in _NAMING)
    return next(named, block[0].name)
