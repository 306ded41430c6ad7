"""Weights of another run: what fits is taken, the rest is drawn fresh and named."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from alexnet_jax.errors import InputError
from alexnet_jax.models.layer_names import layer_of, matches, select

Tree = Mapping[str, Any]
Arrays = dict[tuple[str, ...], Any]  # a layer's, by their paths in all collections


class Taken(NamedTuple):
    """A network's weights, some of them another run's.

    Attributes:
      weights: `params` and `model_state`.
      fresh: The layers that were drawn.
      lines: What was taken and what was not, for the terminal.
    """

    weights: dict[str, Any]
    fresh: list[str]
    lines: list[str]


def take_layers(
    stored: Tree, drawn: Tree, patterns: Sequence[str], channels: int, remedy: str
) -> Taken:
    """Puts the layers of another run into a network, where they fit.

    A layer is taken whole, with its BatchNorm statistics, if the names and shapes of
    all its arrays are the same. A convolution of gray images is taken for color ones,
    and the other way round, so that a gray image, shown as three equal channels, gives
    the same outputs if it is scaled in the same way: each channel has a third of the
    gray kernel, and the gray kernel is the sum over the channels.

    Args:
      stored: The other run's `params` and `model_state`, NumPy arrays.
      drawn: The network's own, freshly drawn.
      patterns: Over the names of the layers that are to be taken; empty takes all that
        fit.
      channels: Of the images that the network sees.
      remedy: What an error says to do where nothing fits.

    Raises:
      InputError: A pattern names no layer or none that fits, no layer fits, or what is
        taken holds NaN or inf.
    """
    there, here = _by_layer(stored), _by_layer(drawn)
    wanted = select([*here], patterns, "checkpoint.init_layers") or {*here}
    taken: Arrays = {}
    reasons: dict[str, str] = {}
    converted = []
    for layer, arrays in here.items():
        if layer not in wanted:
            reasons[layer] = "not in checkpoint.init_layers"
        elif layer not in there:
            reasons[layer] = "missing there"
        elif not (differing := _differing(there[layer], arrays)):
            taken |= there[layer]
        elif kernel := _other_channels(differing, there[layer], arrays, channels):
            old = np.asarray(there[layer][kernel])
            taken |= {**there[layer], kernel: _convert(old, channels)}
            how = "summed over" if channels == 1 else "divided among"
            count = max(channels, old.shape[2])
            converted.append(f"{layer}/{kernel[-1]} {how} {count} channels")
        else:
            reasons[layer] = ", ".join(differing.values())
    for pattern in patterns or ["*"]:
        named = [layer for layer in here if matches(layer, pattern)]
        if named and all(layer in reasons for layer in named):
            start = "checkpoint.init_from: no layer fits"
            if patterns:
                start = f"checkpoint.init_layers: no layer named {pattern!r} fits"
                remedy = "leave it out, and it is drawn fresh"
            raise InputError(
                f"{start}: {_grouped(named[:3], reasons)}{_more(named)}; {remedy}"
            )
    _check_finite(taken)
    lines = [f"taken: {', '.join(layer for layer in here if layer not in reasons)}"]
    if converted:
        same = "the same outputs for a gray image, where inputs are scaled as there"
        lines.append(f"converted: {', '.join(converted)}: {same}")
    if reasons:
        lines.append(f"drawn fresh: {_grouped(reasons, reasons)}")
    if left := [layer for layer in there if layer not in here]:
        lines.append(f"left there: {', '.join(left)}")
    return Taken(_replaced(drawn, taken), [*reasons], lines)


def _check_finite(taken: Arrays) -> None:
    for path, array in taken.items():
        if not np.isfinite(array).all():
            raise InputError(
                f"checkpoint.init_from: {'/'.join(path)} holds NaN or inf there; take "
                "an earlier checkpoint, WORKDIR/checkpoints/STEP, or another run"
            )


def _by_layer(weights: Tree) -> dict[str, Arrays]:
    """Returns the arrays of each layer, of all collections, by layers in order."""
    layers: dict[str, Arrays] = {}
    for path, leaf in sorted(traverse_util.flatten_dict(_plain(weights)).items()):
        if leaf is not None:
            start = 1 if path[0] == "params" else 2
            layers.setdefault(layer_of(path[start:]), {})[path] = leaf
    return dict(sorted(layers.items()))


def _plain(weights: Tree) -> dict[str, Any]:
    return {name: dict(tree) for name, tree in weights.items()}


def _differing(there: Arrays, here: Arrays) -> dict[tuple[str, ...], str]:
    """Returns the arrays that only one has, or that have two shapes; in words."""
    found = {}
    for path in sorted(there.keys() | here.keys()):
        shapes = [
            tuple(np.shape(arrays[path])) if path in arrays else "missing"
            for arrays in (there, here)
        ]
        if shapes[0] != shapes[1]:
            found[path] = f"{path[-1]} {shapes[0]} there, {shapes[1]} here"
    return found


def _other_channels(
    differing: Mapping[tuple[str, ...], str], there: Arrays, here: Arrays, channels: int
) -> tuple[str, ...] | None:
    """Returns the path of the one array that differs, if only in gray and color."""
    if len(differing) > 1:
        return None
    (path,) = differing
    if path not in there or path not in here or path[-1] != "kernel":
        return None
    old, new = np.shape(there[path]), np.shape(here[path])
    is_image = len(old) == len(new) == 4 and new[2] == channels
    alike = is_image and old[:2] + old[3:] == new[:2] + new[3:]
    return path if alike and {old[2], new[2]} == {1, 3} else None


def _convert(kernel: np.ndarray, channels: int) -> np.ndarray:
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return np.repeat(kernel / kernel.dtype.type(channels), channels, axis=2)


def _grouped(layers: Iterable[str], reasons: Mapping[str, str]) -> str:
    """Names layers with their reasons, those of one reason together."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        groups.setdefault(reasons[layer], []).append(layer)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in groups.items())


def _more(layers: Sequence[str]) -> str:
    return f" and {len(layers) - 3} more" if len(layers) > 3 else ""


def _replaced(drawn: Tree, taken: Arrays) -> dict[str, Any]:
    """Returns drawn weights with the taken ones in their places, in their dtypes."""
    flat = traverse_util.flatten_dict(_plain(drawn), keep_empty_nodes=True)
    flat |= {path: np.asarray(leaf, flat[path].dtype) for path, leaf in taken.items()}
    return traverse_util.unflatten_dict(flat)
