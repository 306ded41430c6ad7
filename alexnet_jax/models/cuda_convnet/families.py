"""Finds what belongs together: layers of several towers that are one layer.

In the files each tower has layers of its own, `conv1a` and `conv1b`, since each lay on
a GPU of its own. Layers that are alike and read the like are a family; merged, a family
is one layer of as many groups as its members see apart.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from alexnet_jax.models.cuda_convnet.layers import IMAGES, WEIGHTS, Layer

# Values that say nothing of what a layer computes or learns.
_APART = ("gpu", "initWFunc", "initBFunc", "initCFunc")
_LISTS = {"filters", "channels", "filterSize", "padding", "stride", "groups", "initW"}
_LISTS |= {"randSparse", "filterChannels", "epsW", "momW", "wc", "wball"}
_LISTS |= {"wcNormMin", "wcNormMax", "coeffs"}
# A few lines of layers that read each other twice make any number of inputs.
_MAX_READ = 100_000


class Ref(NamedTuple):
    """A member of a family, as what another layer reads.

    Attributes:
      family: The family's number.
      layer: The member's name.
    """

    family: int
    layer: str


class Input(NamedTuple):
    """An input of a layer.

    Attributes:
      ref: What is read.
      settings: What the layer's lists say of it: inputs with the same have one kernel.
      place: Its place in those lists.
    """

    ref: Ref
    settings: Hashable
    place: int


class Family:
    """Layers that are one layer in several towers.

    Attributes:
      number: From 1 on; 0 are the images.
      members: In the order of the towers.
      inputs: Of each member.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.members: list[Layer] = []
        self.inputs: dict[str, list[Input]] = {}

    def place(self, name: str) -> int:
        """Returns a member's place."""
        return next(i for i, one in enumerate(self.members) if one.name == name)


def find_families(layers: Mapping[str, Layer]) -> tuple[list[Family], list[Ref]]:
    """Groups an experiment's layers.

    Args:
      layers: By name, each after those that it reads.

    Returns:
      The families, each after those that it reads, images first; and what the softmax
      reads.
    """
    images = Family(0)
    families, by_signature = [images], dict[Hashable, Family]()
    values: dict[str, list[Ref]] = {}  # what a layer's name stands for
    logits: list[Ref] = []
    count = 0
    for layer in layers.values():
        if layer.type == "data":
            if layer.get("dataIdx") == IMAGES:
                images.members = images.members or [layer]
                values[layer.name] = [Ref(0, images.members[0].name)]
            continue
        if layer.type == "cost.logreg":
            continue
        read = [(place, values[name]) for place, name in enumerate(layer.inputs)]
        count += sum(len(refs) for _, refs in read)
        if count > _MAX_READ:
            raise layer.error(
                f"this and the layers before read more than {_MAX_READ:,} layers, "
                "those in concat layers counted one by one",
                "inputs",
            )
        if layer.type in ("concat", "pass", "softmax"):
            values[layer.name] = [ref for _, refs in read for ref in refs]
            logits = values[layer.name] if layer.type == "softmax" else logits
            continue
        for place, refs in read:
            if len(refs) > 1 and layer.of_input("groups", place, 1) > 1:
                raise layer.error(
                    f"groups must be 1 for {layer.inputs[place]}, which puts several "
                    f"layers together; got {layer.of_input('groups', place)}",
                    "groups",
                )
        inputs = [
            Input(ref, settings, place)
            for place, refs in read
            for settings in [_frozen_of_input(layer, place)]
            for ref in refs
        ]
        signature = _signature(layer, inputs)
        if signature not in by_signature:
            by_signature[signature] = Family(len(families))
            families.append(by_signature[signature])
        family = by_signature[signature]
        family.members.append(layer)
        family.inputs[layer.name] = inputs
        values[layer.name] = [Ref(family.number, layer.name)]
    for family in families:
        _sort(family, families)
    return families, logits


def _frozen_of_input(layer: Layer, place: int) -> Hashable:
    """Returns what tells one input's weights from another's, and its place if need be.

    Inputs of the same kind have one kernel, over all of their maps. But groups and
    bounds of filters are those of each input's own.
    """
    if layer.type not in WEIGHTS:
        return place
    said = tuple(
        (key, layer.of_input(key, place))
        for key in sorted(_LISTS)
        if key != "channels" and layer.of_input(key, place) is not None
    )
    apart = layer.of_input("groups", place, 1) > 1 or any(
        layer.of_input(key, place) for key in ("wball", "wcNormMax")
    )
    return (place, *said) if apart else said


def _signature(layer: Layer, inputs: Sequence[Input]) -> Hashable:
    """Returns what all members of a family have in common."""
    # What lists say of an input of weights stands with that input.
    apart = {*_APART, *_LISTS} if layer.type in WEIGHTS else {*_APART, "channels"}
    said = tuple(
        (key, value)
        for key, value in sorted(layer.settings.items())
        if key not in apart
    )
    read = Counter((one.ref.family, one.settings) for one in inputs)
    return layer.type, layer.channels, said, frozenset(read.items())


def _sort(family: Family, families: Sequence[Family]) -> None:
    """Puts members in the order of what they read; else they stay as in the file."""

    def places(layer: Layer) -> list[tuple[int, int]]:
        refs = [one.ref for one in family.inputs.get(layer.name, ())]
        return sorted(
            (ref.family, families[ref.family].place(ref.layer)) for ref in refs
        )

    family.members.sort(key=places)
