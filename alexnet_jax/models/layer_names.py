"""The layers of a network by their names, and the patterns that name them."""

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax

from alexnet_jax.errors import InputError

_MOST_SHOWN = 12


def layer_of(path: Sequence[Any]) -> str:
    """Returns the name of the layer that an array belongs to, such as `conv1`.

    Args:
      path: Its keys in the parameters, as `jax.tree_util` or `flatten_dict` gives them.
        A module within another has both names, `block/conv1`; an array of the network's
        own is a layer of its own.
    """
    names = [str(getattr(key, "key", key)) for key in path]
    return "/".join(names[:-1] or names)


def whole_name(name: str) -> str:
    """Returns what a layer is a part of: `conv2` of `conv2`, `conv2a` and `conv2_1`."""
    found = re.fullmatch(r"((?:conv|local|fc)\d+)[a-z]*(?:_\w+)?", name)
    return found[1] if found else name


def layers_of(*trees: Any) -> list[str]:
    """Returns the names of the layers that have arrays, sorted.

    Args:
      *trees: Parameters, or one of a network's other collections.
    """
    paths = (path for tree in trees for path, _ in jax.tree.leaves_with_path(tree))
    return sorted({layer_of(path) for path in paths})


def matches(layer: str, pattern: str) -> bool:
    """Whether a pattern names a layer, a module that it is in, or its last name.

    Examples:
      >>> [matches("block/conv1", pattern) for pattern in ("block", "conv*", "fc*")]
      [True, True, False]
    """
    parts = layer.split("/")
    wholes = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    return any(fnmatchcase(name, pattern) for name in {*parts, *wholes})


def names_itself(layer: str, pattern: str) -> bool:
    """Whether a pattern names a layer by its whole or its last name."""
    return any(fnmatchcase(one, pattern) for one in (layer, layer.rpartition("/")[2]))


def select(layers: Sequence[str], patterns: Iterable[str], key: str) -> set[str]:
    """Returns the layers that patterns name.

    Args:
      layers: All that there are.
      patterns: As in `fnmatch`: `*`, `?` and `[12]`.
      key: The config's, for errors.

    Raises:
      InputError: A pattern names none; with the nearest names.
    """
    found = set()
    for pattern in patterns:
        named = {layer for layer in layers if matches(layer, pattern)}
        if not named:
            raise InputError(
                f"{key}: no layer is named {pattern!r}; {_near(pattern, layers)}"
            )
        found |= named
    return found


def _near(pattern: str, layers: Sequence[str]) -> str:
    """Says which names there are, or those that are like a pattern."""
    lower = {layer.lower().rpartition("/")[2]: layer for layer in layers}
    lower |= {layer.lower(): layer for layer in layers}
    plain = pattern.lower().strip("*?")
    if close := difflib.get_close_matches(plain, lower, n=8, cutoff=0.5):
        return f"the nearest: {', '.join(sorted({lower[one] for one in close}))}"
    more = f", ... ({len(layers)} in all)" if len(layers) > _MOST_SHOWN else ""
    return f"there are {', '.join(layers[:_MOST_SHOWN])}{more}"
