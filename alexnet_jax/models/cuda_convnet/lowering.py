"""From families of layers to the layers of this package.

Each family becomes one layer, or a few. Where its members read what no grouped layer
reads, such as two of four towers, they stay apart and are put beside each other.
"""

import math
import string
from collections.abc import Sequence
from itertools import groupby

from alexnet_jax.models.cuda_convnet.calls import Call, Name, layer, plain
from alexnet_jax.models.cuda_convnet.families import Family, Ref, find_families
from alexnet_jax.models.cuda_convnet.kinds import call_of, weight_calls
from alexnet_jax.models.cuda_convnet.layers import WEIGHTS, Layer
from alexnet_jax.models.cuda_convnet.lowered import Lowered, Weights
from alexnet_jax.models.cuda_convnet.parts import (
    Part,
    groups_of,
    parts_of,
    refs_of,
    whole_family,
)
from alexnet_jax.models.cuda_convnet.plan import IMAGES, Step

CLASSES = Name("self.num_classes")
_LAST_DENSE = 8  # Caffe's names: dense layers end with fc8, whose units are classes


def lower(layers: dict[str, Layer]) -> Lowered:
    """Returns what an experiment's layers become.

    Args:
      layers: From `read_layers`.

    Raises:
      InputError: They cannot be put together; file and line are named.
    """
    lowering = _Lowering(layers)
    for family in lowering.families[1:]:
        lowering.add(family)
    for ref in lowering.logits:
        if layers[ref.layer].type != "fc":
            raise layers[ref.layer].error(
                "what softmax reads must be an fc layer, or several"
            )
    lowering.source(lowering.logits, "logits")
    classes = sum(layers[ref.layer].channels for ref in lowering.logits)
    has_classes = any(CLASSES in step.call.args for step in lowering.steps)
    return Lowered(
        lowering.steps,
        lowering.weights,
        lowering.towers(),
        classes,
        has_classes,
        _unit(lowering.steps),
    )


def _unit(steps: Sequence[Step]) -> int:
    """Returns what divides into towers, and each tower's part into groups."""
    calls = [step.call for step in steps]
    towers = [call.args[1] for call in calls if call.function == "TakeTowers"]
    groups = [dict(call.kwargs).get("groups", 1) for call in calls]
    return math.lcm(2, *groups) * math.lcm(*towers)


class _Lowering:
    """The walk through the families.

    Attributes:
      families: Each after those that it reads.
      logits: What softmax reads.
      steps: The layers so far.
      weights: Of these, those with weights.
    """

    def __init__(self, layers: dict[str, Layer]) -> None:
        self.families, self.logits = find_families(layers)
        self.steps: list[Step] = []
        self.weights: dict[str, Weights] = {}
        self._values = {0: IMAGES}  # by family, the step that computes all of it
        self._has_maps = {IMAGES}
        self._used: dict[str, int] = {}  # by name of a step, its last number
        self._is_uneven = False  # whether something cannot lie on devices of its own
        kinds = [family.members[0].type for family in self.families]
        self._next = {"conv": 1, "fc": max(_LAST_DENSE + 1 - kinds.count("fc"), 1)}

    def towers(self) -> int:
        """Returns the number of devices that can hold a tower each."""
        last = {ref.family for ref in self.logits}
        counts = {
            len(family.members)
            for family in self.families
            if family.members[0].type in WEIGHTS and family.number not in last
        }
        return counts.pop() if len(counts) == 1 and not self._is_uneven else 1

    def add(self, family: Family) -> None:
        """Adds the layers that a family becomes."""
        first = family.members[0]
        if first.type in WEIGHTS:
            value = self._add_weights(family)
        else:
            value = self._add_other(family)
        if neuron := first.get("neuron"):
            value = self._step((value,), plain(neuron))
        self._values[family.number] = value

    def source(self, refs: Sequence[Ref], reader: str) -> str:
        """Returns the step whose output is what some layers make, side by side."""
        sources = []
        for number, same in groupby(refs, key=lambda ref: ref.family):
            family = self.families[number]
            places = [family.place(ref.layer) for ref in same]
            value = self._values[number]
            if places != [*range(len(family.members))]:
                self._is_uneven = True
                towers = tuple(places), len(family.members)
                value = self._step((value,), layer("TakeTowers", *towers))
            sources.append(value)
        if len(sources) == 1:
            return sources[0]
        self._is_uneven = True
        maps = [source in self._has_maps for source in sources]
        if any(maps) and not all(maps):
            sources = [self._flat(source) for source in sources]
        return self._step(tuple(sources), plain("concatenate"))

    def _step(self, inputs: tuple[str, ...], call: Call, name: str = "") -> str:
        """Adds a layer; its output has maps if all of its inputs have."""
        base = name or call.function.lower().removeprefix("gaussian")
        free, number = base, self._used.get(base, 0)
        while free in self._used:
            number += 1
            free = f"{base}{number}"
        self._used[base], self._used[free] = max(number, 1), 1
        self.steps.append(Step(free, inputs, call))
        if all(one in self._has_maps for one in inputs):
            self._has_maps.add(free)
        return free

    def _flat(self, value: str) -> str:
        return (
            self._step((value,), plain("flatten")) if value in self._has_maps else value
        )

    def _add_other(self, family: Family) -> str:
        """Adds layers without weights."""
        members, first = family.members, family.members[0]
        places = range(len(first.inputs))
        wholes = [
            self._whole([refs_of(family, member, place) for member in members])
            for place in places
        ]
        values = [value for value in wholes if value is not None]
        if len(values) == len(wholes):
            return self._step(tuple(values), call_of(first, len(members)))
        apart = []
        for member in members:
            sources = [
                self.source(refs_of(family, member, place), member.name)
                for place in places
            ]
            apart.append(self._step(tuple(sources), call_of(member, 1)))
        return self._beside(apart)

    def _beside(self, values: Sequence[str], name: str = "") -> str:
        if len(values) == 1:
            return values[0]
        self._is_uneven = True
        return self._step(tuple(values), plain("concatenate"), name)

    def _whole(self, refs: Sequence[Sequence[Ref]]) -> str | None:
        """Returns the step whose output is what members read, one after the other."""
        number = whole_family(refs, self.families)
        return None if number is None else self._values[number]

    def _add_weights(self, family: Family) -> str:
        first = family.members[0]
        kind = "fc" if first.type == "fc" else "conv"
        number = self._next[kind]
        self._next[kind] += 1
        name = f"{'local' if first.type == 'local' else kind}{number}"
        parts = parts_of(family, self.families)
        groups = [groups_of(family, part, self.families) for part in parts]
        if None not in groups:
            # Towers that share with some others cannot lie on a device each.
            self._is_uneven |= not {*groups} <= {1, len(family.members)}
            return self._add_kernels(family, family.members, name, parts, groups)
        self._is_uneven = True
        letters = string.ascii_lowercase if len(family.members) > 1 else [""]
        apart = [
            self._add_kernels(
                family,
                [member],
                f"{name}{letters[i % 26] * (i // 26 + 1)}",
                [Part(part.place, [part.refs[i]]) for part in parts],
                [1] * len(parts),
            )
            for i, member in enumerate(family.members)
        ]
        return self._beside(apart, name)

    def _add_kernels(
        self,
        family: Family,
        members: Sequence[Layer],
        name: str,
        parts: Sequence[Part],
        groups: Sequence[int | None],
    ) -> str:
        """Adds a kernel for each part, and the sum of what they make."""
        first, made = members[0], []
        features: int | Name = sum(member.channels for member in members)
        if sorted(ref.layer for ref in self.logits) == sorted(m.name for m in members):
            features = CLASSES
        shares_biases = first.get("sharedBiases", True)
        for i, (part, count) in enumerate(zip(parts, groups, strict=True)):
            whole = self._whole([own for own, _ in groupby(part.refs)])
            value = whole or self.source(part.refs[0], name)
            own_name = name if len(parts) == 1 else f"{name}_{i + 1}"
            has_bias = i == 0 and shares_biases
            self.weights[own_name] = Weights(first, part.place, has_bias)
            seed = len(self.weights)  # each kernel has connections of its own
            *before, call = weight_calls(
                first, part.place, own_name, features, count or 1, has_bias, seed
            )
            for one in before:
                value = self._step((value,), one)
            if call.function == "dense" and not dict(call.kwargs).get("groups"):
                value = self._flat(value)
            value = self._step((value,), call, own_name)
            if first.type == "fc":
                self._has_maps.discard(value)
            made.append(value)
        value = made[0]
        if len(made) > 1:
            value = self._step(tuple(made), plain("add"), name)
        if not shares_biases:
            self.weights[f"{name}_bias"] = Weights(first, 0, True)
            call = layer("place_bias", f"{name}_bias", bias=first.get("initB", 0.0))
            value = self._step((value,), call, f"{name}_bias")
        return value
