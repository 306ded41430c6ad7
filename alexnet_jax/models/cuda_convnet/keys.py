"""The layer types and keys of cuda-convnet's files: which are read, which refused.

A new key is a line here. A new type is a dictionary here and a function in `lowering`.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from alexnet_jax.models.cuda_convnet.layers import MAX_COUNT
from alexnet_jax.models.cuda_convnet.schedules import read_rate, read_schedule

READ = "read"
NO_EFFECT = "no effect on the result"
# It would take weights from another run, by code that was not released: read, but where
# weights are to be drawn as the file says, refused.
FOREIGN = "refused where weights are drawn"


class Key(NamedTuple):
    """How a key is read.

    Attributes:
      read: Text → value; raises ValueError.
      allowed: What it accepts, in words.
      is_list: Whether it has a value for each input; one stands for all.
      effect: What becomes of it: `READ`, `NO_EFFECT`, `FOREIGN`, or else why it is
        refused.
    """

    read: Callable[[str], Any]
    allowed: str
    is_list: bool = False
    effect: str = READ

    def for_each_input(self) -> "Key":
        """Returns the key of a list."""
        return self._replace(is_list=True)


def _checked(
    convert: Callable[[str], Any], is_allowed: Callable[[Any], bool], allowed: str
) -> Key:
    def read(text: str) -> Any:
        value = convert(text)
        if not is_allowed(value):
            raise ValueError(text)
        return value

    return Key(read, allowed)


def _integer(low: int) -> Key:
    words = f"an integer of at least {low}"
    return _checked(int, lambda value: low <= value <= MAX_COUNT, words)


def _number(low: float = -math.inf) -> Key:
    words = "a number" if math.isinf(low) else f"a number of at least {low:g}"
    return _checked(float, lambda value: math.isfinite(value) and value >= low, words)


def _word(words: Mapping[str, Any]) -> Key:
    def read(text: str) -> Any:
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]

    return Key(read, f"one of {', '.join(words)}")


def _refused(why: str) -> Key:
    return Key(str, "a word", effect=why)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ValueError(text)
    return names


_COUNT = _integer(1)
_COUNTS = _COUNT.for_each_input()
_AMOUNT = _number(0)
_AMOUNTS = _AMOUNT.for_each_input()
_FLAG = _word({"true": True, "1": True, "false": False, "0": False})
_MEMORY = _integer(0)._replace(effect=NO_EFFECT)  # how 2012's kernels use memory
_SHARE = _checked(float, lambda value: 0 < value <= 1, "a number above 0, up to 1")
_FOREIGN = _refused(FOREIGN)
_QUANTIZED = _refused("rounding of the values between layers is not supported")
_SCHEDULE = Key(read_schedule, "a schedule: default, linear, exp, dexp or jdexp")
_NEURON = _word(
    {
        "ident": None,
        "relu": "relu",
        "logistic": "sigmoid",
        "softrelu": "softplus",
        "tanh[1,1]": "tanh",
    }
)

_NUMBERS = re.compile(r"\d+(\s*,\s*\d+)*")
_INPUT = {
    "inputs": Key(_names, "names of layers, with commas between them"),
    "gpu": _checked(
        str, lambda text: bool(_NUMBERS.fullmatch(text)), "numbers of GPUs"
    )._replace(effect=NO_EFFECT),
}
_WEIGHTS = _INPUT | {
    "initW": _AMOUNTS,
    "initB": _number(),
    "initWFunc": _FOREIGN,
    "initBFunc": _FOREIGN,
    "neuron": _NEURON,
}
_FILTERS = _WEIGHTS | {
    "channels": _COUNTS,
    "filters": _COUNTS,
    "filterSize": _COUNTS,
    "padding": _integer(0).for_each_input(),
    "stride": _COUNTS,
    "groups": _COUNTS,
    "randSparse": _FLAG.for_each_input(),
    "filterChannels": _COUNTS,
    "initCFunc": _FOREIGN,
}
_CONSTANTS = {"scale": _AMOUNT, "pow": _AMOUNT, "minDiv": _AMOUNT}
_NORM = _INPUT | {"channels": _COUNT, "size": _COUNT, "sizeX": _COUNT} | _CONSTANTS
_POOL = _INPUT | {
    "pool": _word({"max": "max", "avg": "avg", "rand": "rand"}),
    "channels": _COUNT,
    "sizeX": _COUNT,
    "stride": _COUNT,
    "start": _checked(int, lambda v: -MAX_COUNT <= v <= 0, "an integer, at most 0"),
    "outputsX": _checked(int, lambda value: value == 0, "0: as many as fit"),
    "neuron": _NEURON,
}

# By layer type, the keys of a layer file besides `type`.
LAYER_KEYS: dict[str, dict[str, Key]] = {
    "data": {
        "dataIdx": _checked(int, lambda v: v in (0, 1), "0 (images) or 1 (labels)")
    },
    "conv": _FILTERS
    | {"partialSum": _MEMORY, "sumWidth": _MEMORY, "sharedBiases": _FLAG},
    "local": _FILTERS,
    "fc": _WEIGHTS | {"outputs": _COUNT},
    "pool": _POOL,
    "cmrnorm": _NORM,
    "rnorm": _NORM,
    "cnorm": _NORM,
    "hs": _INPUT | {"keep": _SHARE},
    "dropout": _INPUT,
    "dropout2": _INPUT,
    "concat": _INPUT,
    "pass": _INPUT,
    "eltsum": _INPUT | {"coeffs": _number().for_each_input()},
    "blur": _INPUT
    | {
        "stdev": _checked(float, lambda v: 0 < v < math.inf, "a number above 0"),
        "filterSize": _checked(int, lambda v: v in (3, 5, 7, 9), "3, 5, 7 or 9"),
        "channels": _COUNT,
    },
    "nailbed": _INPUT | {"stride": _COUNT, "channels": _COUNT},
    "href": _INPUT | {"channels": _COUNT},
    "softmax": _INPUT,
    "cost.logreg": _INPUT,
}
REFUSED_TYPES = {
    "treefc": "classes that are a tree, whose file was not released",
    "cost.crossent2": "several labels for an image",
    "cost.rflickr": "several labels for an image",
    "cost.sum2": "several labels for an image",
}

_QUANTIZERS = {"quantF": _QUANTIZED, "quantB": _QUANTIZED}
_RATES = _QUANTIZERS | {
    "epsW": Key(read_rate, "a rate of at least 0, or a schedule", is_list=True),
    "epsB": Key(read_rate, "a rate of at least 0, or a schedule"),
    "momW": _checked(float, lambda v: 0 <= v < 1, "in [0, 1)").for_each_input(),
    "momB": _checked(float, lambda v: 0 <= v < 1, "in [0, 1)"),
    "wc": _AMOUNTS,
    "wball": _AMOUNTS,
    "schedW": _SCHEDULE,
    "schedB": _SCHEDULE,
    "sched": _SCHEDULE,
    "updatePeriod": _checked(int, lambda value: value == 1, "1"),
    "wcnorm": _checked(float, lambda value: value == 0, "0").for_each_input(),
}
_DROPOUT = _QUANTIZERS | {"enable": _FLAG}

# By layer type, the keys of a layer-parameter file.
PARAM_KEYS: dict[str, dict[str, Key]] = {
    "conv": _RATES | {"wcNormMin": _AMOUNTS, "wcNormMax": _AMOUNTS},
    "local": _RATES,
    "fc": _RATES,
    "pool": _QUANTIZERS | {"doMax": _FLAG},
    "cmrnorm": _QUANTIZERS | _CONSTANTS,
    "rnorm": _QUANTIZERS | _CONSTANTS,
    "cnorm": _QUANTIZERS | _CONSTANTS,
    "hs": _DROPOUT,
    "dropout": _DROPOUT | {"keep": _SHARE},
    "dropout2": _DROPOUT | {"keep": _SHARE},
    "cost.logreg": {"coeff": _AMOUNT, "topk": _COUNT._replace(effect=NO_EFFECT)},
}
