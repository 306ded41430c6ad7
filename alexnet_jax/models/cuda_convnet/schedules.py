"""Learning rates as layer-parameter files write them."""

import math
import re

from alexnet_jax.models.cuda_convnet.updates import Rate

_FORM = re.compile(r"(\w+)\s*(?:\[(.*)\]\s*)?$")
_ARGUMENTS = {
    "default": (),
    "const": (),
    "linear": ("tgtfactor", "noisestdev"),
    "exp": ("tgtfactor", "noisestdev"),
    "dexp": ("tgtfactor", "noisestdev", "numsteps"),
    "jdexp": ("tgtfactor", "noisestdev", "numsteps"),
}
_MAX_STEPS = 1000


def read_schedule(text: str) -> Rate:
    """Reads a schedule of 2012: `dexp[tgtFactor=250,noiseStdev=0,numSteps=4]`.

    Files from before arguments had names write `dexp[250,0,4]`, those from before there
    was noise `dexp[250,4]`.

    Returns:
      The schedule, of base rate 1.

    Raises:
      ValueError: It is no schedule.
    """
    kind, arguments = _split(text, ",")
    return _rate(1.0, kind, arguments)


def read_rate(text: str) -> Rate:
    """Reads a rate: a number or, in 2014, a schedule with its base.

    Such is `dexp[base=0.01;tgtFactor=250;numSteps=4]`.

    Raises:
      ValueError: It is neither.
    """
    if "[" not in text:
        return Rate(_at_least_0(text))
    kind, arguments = _split(text, ";")
    if "base" not in arguments:
        raise ValueError(text)
    return _rate(_at_least_0(arguments.pop("base")), kind, arguments)


def _split(text: str, separator: str) -> tuple[str, dict[str, str]]:
    """Returns a schedule's kind and its arguments by name, in lower case."""
    match = _FORM.match(text.strip())
    if not match or match[1] not in _ARGUMENTS:
        raise ValueError(text)
    names = _ARGUMENTS[match[1]]
    parts = [part.strip() for part in (match[2] or "").split(separator)]
    parts = [part for part in parts if part]
    if not any("=" in part for part in parts):
        if len(parts) < len(names):
            names = tuple(name for name in names if name != "noisestdev")
        return match[1], dict(zip(names, parts, strict=True))
    pairs = [part.partition("=") for part in parts]
    arguments = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if len(arguments) < len(parts) or not {*arguments} <= {*names, "base"}:
        raise ValueError(text)
    return match[1], arguments


def _rate(base: float, kind: str, arguments: dict[str, str]) -> Rate:
    if kind in ("default", "const"):
        if arguments:
            raise ValueError(kind)
        return Rate(base)
    if "tgtfactor" not in arguments:
        raise ValueError(kind)
    noise = _at_least_0(arguments.get("noisestdev", "0"))
    factor = _at_least_0(arguments["tgtfactor"])
    steps = int(arguments.get("numsteps", 0)) if "numsteps" in _ARGUMENTS[kind] else 1
    if factor == 0 or not 1 <= steps <= _MAX_STEPS:
        raise ValueError(kind)
    return Rate(base, kind, factor, steps, noise)


def _at_least_0(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(text)
    return value
