"""The factors of layers' learning rates, by patterns of their names."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.models.layer_names import matches, names_itself, select


def factor_of(layer: str, rates: Mapping[str, float]) -> float:
    """Returns the factor of a layer's learning rate: 1 where no pattern names it.

    Of several patterns the narrowest holds: a name in full before all, then one that
    names the layer itself before one of a module that it is in, then one without
    wildcards, then the one with most letters.

    Examples:
      >>> rates = {"*": 0.1, "conv*": 0.01, "conv5": 1.0}
      >>> [factor_of(layer, rates) for layer in ("fc8", "conv1", "conv5")]
      [0.1, 0.01, 1.0]
    """
    narrowest = max(_narrow(layer, rates), default=None)
    return 1.0 if narrowest is None else rates[narrowest[-1]]


def _narrow(layer: str, rates: Mapping[str, float]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for pattern in rates:
        if matches(layer, pattern):
            letters = sum(map(str.isalnum, pattern))
            itself = names_itself(layer, pattern) and letters > 0
            plain = not {*"*?["} & {*pattern}
            found.append((pattern == layer, itself, plain, letters, pattern))
    return found


def check_rates(layers: Sequence[str], rates: Mapping[str, float]) -> None:
    """Checks that each rate is for a layer, and each layer's rate is plain.

    Raises:
      InputError: It is not.
    """
    select(layers, rates, "optim.rates")
    for layer in layers:
        found = sorted(_narrow(layer, rates), reverse=True)
        for (*one, first), (*other, second) in list(itertools.pairwise(found))[:1]:
            if one == other and rates[first] != rates[second]:
                raise InputError(
                    f"optim.rates: {second!r} and {first!r} both name {layer}; give it "
                    f"a rate under its full name, such as '{layer}={rates[first]:g}'"
                )
