"""Prints the class that a person would write for a layer file."""

from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn

from alexnet_jax.models.cuda_convnet.calls import Call
from alexnet_jax.models.cuda_convnet.experiment import Experiment
from alexnet_jax.models.cuda_convnet.network import (
    LAYERS,
    METHODS,
    CfgNetwork,
    class_name,
)
from alexnet_jax.models.cuda_convnet.plan import IMAGES

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
        *_imports(experiment, calls),
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
    scheme, towers = experiment.scheme, experiment.lowered.towers
    lines = ["    author_scale: ClassVar[str] = 'pixels'"]
    if scheme:
        lines.insert(0, f"    author_initializer: ClassVar[str] = {scheme!r}")
    return lines + [f"    towers: ClassVar[int] = {towers}"] * (towers > 1)


def _imports(experiment: Experiment, calls: Sequence[Call]) -> list[str]:
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
        rows: list[list[Call]] = []
        for call in block.calls:
            is_first = call.function in _WEIGHTS or call.function == "flatten"
            before = rows[-1][-1].function if rows else ""
            if not rows or (is_first and before not in ("flatten", "TakeTowers")):
                rows.append([])
            rows[-1].append(call)
        listed = []
        for row in rows:
            sizes = [next(shapes)[1] for _ in row]
            words = [_word(call, short) for call in row]
            listed.append((words, _shape(sizes[-1][1:])))
        if is_chain:
            for words, shape in listed:
                lines += _row(words, shape, 12, "[", "],")
        else:
            inputs = block.inputs[0] if len(block.inputs) == 1 else block.inputs
            words = [word for own, _ in listed for word in own]
            head = f"({block.name!r}, {inputs!r}, ["
            lines += _row(words, listed[-1][1], 12, head, "]),")
    return [*lines, "        )"]


def _word(call: Call, short: dict[str, str]) -> str:
    code = _code(call)
    if code in short:
        return short[code]
    return call.code() if call.function in _WEIGHTS else code


def _row(words: list[str], shape: str, indent: int, begin: str, end: str) -> list[str]:
    """Returns a row of layers, and the shape that it makes."""
    space = " " * indent
    line = f"{space}{begin}{', '.join(words)}{end}  # {shape}"
    if len(line) <= _WIDTH:
        return [line]
    inner = [f"{space}    {word}," for word in words]
    return [f"{space}{begin}", *inner, f"{space}{end}  # {shape}"]


def _shape(lengths: Iterable[int]) -> str:
    return "×".join(map(str, lengths))
