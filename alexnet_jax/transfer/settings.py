"""The forms in which layers, and rates for them, are written in a config.

Layers: `'conv*'`, `'conv*,fc6'` or `('conv*', 'fc6')`. Rates: `{'fc8': 10.0}`,
`'fc8=10,conv*=0.1'` or `('fc8=10', 'conv*=0.1')`; a config holds the last of these.
"""

import abc
import ast
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

_FLOAT32_MAX = 3.4e38


class Names(abc.ABC):  # noqa: B024 (no base class: a name for three types)
    """The type of patterns over the names of layers: one, or a tuple of them."""


class Rates(abc.ABC):  # noqa: B024 (likewise)
    """The type of rates by pattern: a tuple of `PATTERN=RATE`."""


for _type in (str, tuple, list):  # JSON has lists
    Names.register(_type)
for _type in (tuple, list):
    Rates.register(_type)


class RatesReference(FieldReference):
    """A field of type `Rates` that is unset, and takes dicts and strings as well."""

    def __init__(self, default: Any = None, field_type: type = Rates) -> None:
        super().__init__(default, field_type=field_type)

    def set(self, value: Any, type_safe: bool = True) -> None:  # noqa: D102
        super().set(as_tuple(value), type_safe)


def as_tuple(value: Any) -> Any:
    """Returns rates in the form that a config holds; what is none unchanged."""
    if isinstance(value, Mapping | ConfigDict):
        return tuple(f"{pattern}={rate}" for pattern, rate in value.items())
    return _split(value) if isinstance(value, str) else value


def _split(text: str) -> tuple[str, ...]:
    # A comma within brackets is one of the letters that these name.
    parts = re.split(r",(?![^\[\]]*\])", text)
    return tuple(part.strip() for part in parts if part.strip())


def patterns_of(names: Any) -> tuple[str, ...]:
    """Returns the patterns that a value of type `Names` holds, each once, in order.

    Examples:
      >>> patterns_of("conv*,fc6"), patterns_of(["fc8", "fc8"]), patterns_of(None)
      (('conv*', 'fc6'), ('fc8',), ())
    """
    texts = [names] if isinstance(names, str) else names or ()
    return tuple(dict.fromkeys(part for text in texts for part in _split(text)))


def rates_of(rates: Any) -> dict[str, float]:
    """Returns the rate of each pattern, from a value of type `Rates` or a dict.

    Examples:
      >>> rates_of(("fc8=10", "conv*=0.1"))
      {'fc8': 10.0, 'conv*': 0.1}
    """
    return dict(_pairs(rates))


def _pairs(rates: Any) -> list[tuple[str, float]]:
    parts = (part.rpartition("=") for part in as_tuple(rates) or ())
    return [
        (pattern, float(rate))
        for patterns, _, rate in parts
        for pattern in _split(patterns) or ("",)
    ]


def are_names(value: Any) -> bool:
    """Whether a value of type `Names` holds patterns, none of them empty.

    An empty tuple is as not set.
    """
    parts = [value] if isinstance(value, str) else value
    return all(isinstance(part, str) and _split(part) for part in parts)


def are_rates(value: Any) -> bool:
    """Whether a value of type `Rates` holds patterns, each once, with finite rates."""
    try:
        pairs = _pairs(value)
    except (AttributeError, TypeError, ValueError):  # no strings; no numbers
        return False
    return len(dict(pairs)) == len(pairs) and all(
        pattern and 0 <= rate < _FLOAT32_MAX for pattern, rate in pairs
    )


def in_one_form(value: Any, kind: type) -> Any:
    """Returns a value in the form that two configs are compared in, as JSON has it.

    Args:
      value: Of a key that takes patterns or rates, or anything.
      kind: `Names` or `Rates`.
    """
    if kind is Names and isinstance(value, Names) and are_names(value):
        return sorted(patterns_of(value)) or None
    if kind is Rates and isinstance(value, Rates) and are_rates(value):
        rates = rates_of(value)
        return [f"{one}={rates[one]!r}" for one in sorted(rates)] or None
    return value


def parse_names(text: str) -> Any:
    """Parses what a flag says of layers."""
    value = _literal(text)
    return value if isinstance(value, Names) else text


def parse_rates(text: str) -> Any:
    """Parses what a flag says of layers' rates.

    Raises:
      ValueError: It says something else.
    """
    value = _literal(text)
    value = as_tuple(text if value is None else value)
    if not (text.strip() and isinstance(value, Rates) and are_rates(value)):
        raise ValueError(f"must be {RATES_ALLOWED}")
    return value


def _literal(text: str) -> Any:
    """Returns what a Python literal says, None if a text is no literal."""
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return None


NAMES_ALLOWED = "a layer's name or a pattern such as 'conv*', or a tuple of them"
RATES_ALLOWED = (
    "a factor for each of some layers, such as \"{'fc8': 10.0}\" or 'fc8=10,conv*=0.1',"
    " finite and at least 0, each pattern once"
)
