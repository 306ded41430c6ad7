"""Which inputs of a family have one kernel, and which members read apart."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from alexnet_jax.models.cuda_convnet.families import Family, Ref
from alexnet_jax.models.cuda_convnet.layers import Layer


class Part(NamedTuple):
    """Inputs of a family that have one kernel together.

    Attributes:
      place: Their first place in the file's lists.
      refs: Of each member: what it reads, in the order of the towers.
    """

    place: int
    refs: list[list[Ref]]


def whole_family(
    refs: Sequence[Sequence[Ref]], families: Sequence[Family]
) -> int | None:
    """Returns the family whose members are what some layers read, one after the other.

    Args:
      refs: What each reads.
      families: All of them.

    Returns:
      Its number; None, if together they do not read all of one family, each member
      once, in order.
    """
    read = [ref for own in refs for ref in own]
    family = families[read[0].family]
    is_one = {ref.family for ref in read} == {family.number}
    is_whole = [ref.layer for ref in read] == [one.name for one in family.members]
    is_even = len({len(own) for own in refs}) == 1
    return family.number if is_one and is_whole and is_even else None


def parts_of(family: Family, families: Sequence[Family]) -> list[Part]:
    """Returns which inputs of a family have one kernel together.

    They are sorted: weights are drawn anew, so that their order says nothing.
    """
    parts: dict[object, Part] = {}
    for one in family.inputs[family.members[0].name]:
        key = one.ref.family, one.settings
        if key not in parts:
            parts[key] = Part(one.place, [[] for _ in family.members])
    for own, member in enumerate(family.members):
        for one in family.inputs[member.name]:
            parts[one.ref.family, one.settings].refs[own].append(one.ref)
    for part in parts.values():
        read = families[part.refs[0][0].family]
        for own_refs in part.refs:
            own_refs.sort(key=lambda ref: read.place(ref.layer))
    return [*parts.values()]


def groups_of(family: Family, part: Part, families: Sequence[Family]) -> int | None:
    """Returns how many groups of members read apart; None if no layer does so."""
    first, count = family.members[0], len(part.refs)
    distinct = [own for own, _ in groupby(part.refs)]
    if whole_family(distinct, families) is None or count % len(distinct):
        return None
    sizes = {len([*same]) for _, same in groupby(part.refs)}
    own_groups = first.of_input("groups", part.place, 1)
    if count == 1:
        return 1
    if len(sizes) > 1 or (first.type == "local" and len(distinct) > 1):
        return None
    # In groups of its own, a member reads apart from the others or not at all.
    alone = len(distinct) == count and not first.of_input("randSparse", part.place)
    return len(distinct) if own_groups == 1 or alone else None


def refs_of(family: Family, member: Layer, place: int) -> list[Ref]:
    """Returns what a member reads as one of its inputs."""
    return [one.ref for one in family.inputs[member.name] if one.place == place]
