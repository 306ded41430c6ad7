"""Prints the class that a person would write for a layer file."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import flax.linen as nn

from alexnet_jax.layers.graph import IMAGES
from alexnet_jax.models.cuda_convnet.calls import Call
from alexnet_jax.models.cuda_convnet.experiment import Experiment
from alexnet_jax.models.cuda_convnet.network import (
    LAYERS,
    METHODS,
    CfgNetwork,
    class_name,
)

_WIDTH = 88
# What is written once and used by name, where all of a network's are the same.
_SHORT = {
    "norm": "norm",
    "LocalResponseNorm": "norm",
    "MapNorm": "map_norm",
    "MapContrastNorm": "contrast_norm",
    "dropout": "drop",
}
_POOLS = ("max_pool_ceil", "max_pool_2x2", "avg_pool_3x3")
_WEIGHTS = ("conv", "dense", "local")
_ACTIVATIONS = ("relu", "sigmoid", "softplus", "tanh")
_SELECTING = ("TakeTowers", "RandomChannels")


def print_class(model: CfgNetwork) -> str:
    """Returns the code of a network's class, with the shapes of its own images.

    Args:
      model: As `network_class` makes it.
    """
    experiment = model.experiment
    reference = model.reference
    assert reference is not None
    calls = [call for block in experiment.blocks for call in block.calls]
    short = _shortened(calls)
    image = _shape(reference.input_shape[:2])
    shapes = iter(model.layer_shapes((1, *reference.input_shape)))
    lines = [
        *_imports(calls),
        "",
        "",
        f"class {class_name(experiment.file_name)}(AlexNetBase):",
        f'    """The network of {experiment.file_name}."""',
        "",
        "    reference: ClassVar = Reference(",
        f"        {reference.source!r}, {reference.input_shape}, "
        f"{reference.num_classes}, ''",
        "    )",
        *_class_fields(experiment),
        "",
        "    def setup(self) -> None:",
        f'        """Lays out the layers; shapes are for {image}."""',
        *_names(calls, short),
        *_net(experiment, short, shapes),
    ]
    return "\n".join(_quoted(line).rstrip() for line in lines)


def _quoted(line: str) -> str:
    """Returns a line with the quotes that Python's formatters prefer."""
    return line.replace("'", '"') if '"' not in line else line


def _class_fields(experiment: Experiment) -> list[str]:
    scheme, lowered = experiment.scheme, experiment.lowered
    lines = ["    author_scale: ClassVar[str] = 'pixels'"]
    if scheme:
        lines.insert(0, f"    author_initializer: ClassVar[str] = {scheme!r}")
    if lowered.towers > 1:
        lines.append(f"    towers: ClassVar[int] = {lowered.towers}")
    return lines + [f"    unit: ClassVar[int] = {lowered.unit}"] * (lowered.unit > 2)


def _imports(calls: Sequence[Call]) -> list[str]:
    used = {call.function for call in calls} | {
        word.text if hasattr(word, "text") else word.function
        for call in calls
        for word in (*call.args, *dict(call.kwargs).values())
        if hasattr(word, "text") or isinstance(word, Call)
    }
    modules: dict[str, set[str]] = {
        "alexnet_jax.models.base": {"AlexNetBase"},
        "alexnet_jax.models.classifier": {"Reference"},
    }
    for name in used & LAYERS.keys():
        modules.setdefault(_module(name), set()).add(name)
    flax = sorted(modules.pop("flax.linen", ()))
    lines = ["from typing import ClassVar", ""]
    lines += [f"from flax.linen import {', '.join(flax)}", ""] * bool(flax)
    own = sorted(modules.items())
    return lines + [f"from {module} import {', '.join(sorted(n))}" for module, n in own]


def _module(name: str) -> str:
    if name == "CEIL":
        return "alexnet_jax.layers.conv"
    layer: Any = LAYERS[name]
    return "flax.linen" if hasattr(nn, name) else layer.__module__


def _shortened(calls: Iterable[Call]) -> dict[str, str]:
    """Returns names for layers without weights, by their code."""
    variants: dict[str, set[str]] = {}
    for call in calls:
        name = "pool" if call.function in _POOLS else _SHORT.get(call.function)
        if name:
            variants.setdefault(name, set()).add(_code(call))
    return {one.pop(): name for name, one in variants.items() if len(one) == 1}


def _code(call: Call) -> str:
    is_method = call.function in (*METHODS, "dropout")
    return f"{'self.' * is_method}{call.code()}"


def _names(calls: Sequence[Call], short: dict[str, str]) -> list[str]:
    used = [name for name in _WEIGHTS if any(call.function == name for call in calls)]
    names = {name: f"self.{name}" for name in used}
    names |= {name: code for code, name in short.items()}
    lines, pairs = [], [*names.items()]
    for start in range(0, len(pairs), 2):
        two = pairs[start : start + 2]
        line = (
            f"        {', '.join(n for n, _ in two)} = {', '.join(c for _, c in two)}"
        )
        if len(line) <= _WIDTH:
            lines.append(line)
        else:
            lines += [f"        {name} = {code}" for name, code in two]
    return lines


def _net(experiment: Experiment, short: dict[str, str], shapes: Any) -> list[str]:
    blocks = experiment.blocks
    is_chain = len(blocks) == 1 and blocks[0].inputs == (IMAGES,)
    lines = [f"        self.net = self.{'sequential' if is_chain else 'graph'}("]
    for block in blocks:
        rows = [
            ([_word(call, short) for call in row], [next(shapes)[1] for _ in row])
            for row in _rows(block.calls)
        ]
        if is_chain:
            lines += [line for row in rows for line in _lists(*row)]
            continue
        reads = block.inputs[0] if len(block.inputs) == 1 else block.inputs
        lines.append(f"            ({block.name!r}, {reads!r}, [")
        for words, made in rows:
            lines += _lines(words, _shape(made[-1][1:]))
        lines.append("            ]),")
    return [*lines, "        )"]


def _rows(calls: Sequence[Call]) -> list[list[Call]]:
    """Returns rows of layers: one with weights and what follows it."""
    rows: list[list[Call]] = []
    for call in calls:
        begins = call.function in (*_WEIGHTS, "flatten")
        before = rows[-1][-1].function if rows else ""
        if not rows or (begins and before not in ("flatten", *_SELECTING)):
            rows.append([])
        rows[-1].append(call)
    return rows


def _lists(words: list[str], made: list[tuple[int, ...]]) -> list[str]:
    """Returns a row as a list, or as several if it is long, and the shape of each."""

    def line(begin: int, end: int) -> str:
        shape = _shape(made[end - 1][1:])
        return f"            [{', '.join(words[begin:end])}],  # {shape}"

    after = next((i for i, word in enumerate(words, 1) if word in _ACTIVATIONS), 1)
    cuts = [0, after, len(words)]
    if len(line(0, len(words))) <= _WIDTH:
        cuts = [0, len(words)]
    elif max(len(line(0, after)), len(line(after, len(words)))) > _WIDTH:
        cuts = [0]
        for end in range(1, len(words) + 1):
            if len(line(cuts[-1], end)) > _WIDTH and end - 1 > cuts[-1]:
                cuts.append(end - 1)
        cuts.append(len(words))
    lines = [line(*ends) for ends in pairwise(cuts) if ends[0] < ends[1]]
    return [one if len(one) <= _WIDTH else one.partition("  #")[0] for one in lines]


def _lines(words: list[str], shape: str) -> list[str]:
    """Returns a row within a block, on as few lines as it fits, and what it makes."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word},".strip()
        if lines[-1] and len(longer) + 16 > _WIDTH:
            lines.append(f"{word},")
        else:
            lines[-1] = longer
    last = f"                {lines[-1]}  # {shape}"
    before = [f"                {line}" for line in lines[:-1]]
    return [*before, last if len(last) <= _WIDTH else last.partition("  #")[0]]


def _word(call: Call, short: dict[str, str]) -> str:
    code = _code(call)
    if code in short:
        return short[code]
    return call.code() if call.function in _WEIGHTS else code


def _shape(lengths: Iterable[int]) -> str:
    return "×".join(map(str, lengths))
