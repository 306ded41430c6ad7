"""Reads the sections of a layer file and of a layer-parameter file as layers."""

from collections.abc import Mapping
from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.files import File, Section, near
from alexnet_jax.models.cuda_convnet.keys import (
    FOREIGN,
    LAYER_KEYS,
    NO_EFFECT,
    PARAM_KEYS,
    READ,
    REFUSED_TYPES,
    Key,
)
from alexnet_jax.models.cuda_convnet.layers import NORMS, ONE_INPUT, WEIGHTS, Layer
from alexnet_jax.models.cuda_convnet.links import link

_PARAMS = "layer-parameter files"
_UPDATED = ("epsW", "epsB", "momW", "momB")


def read_layers(
    file: File, params: File | None = None, *, strict: bool = True
) -> dict[str, Layer]:
    """Reads the layers, each after those that it reads.

    Args:
      file: The layer file.
      params: The layer-parameter file; None leaves out what stands there.
      strict: Whether `params` may name only layers that there are.

    Returns:
      By name.

    Raises:
      InputError: A type, a key, a value, an input or a shape cannot be used; file and
        line are named.
    """
    layers = {
        name: _read_layer(section, params.sections.get(name) if params else None)
        for name, section in file.sections.items()
    }
    for section in params.sections.values() if params and strict else ():
        if section.name not in layers:
            raise section.error(
                f"there is no such layer in {file.name}{near(section.name, layers)}; "
                "remove the section"
            )
    if not layers:
        raise InputError(f"{file.name}: must hold layers, such as [conv1]; got none")
    return link(layers)


def check_params(file: File) -> None:
    """Checks a layer-parameter file whose layer file is not there.

    Raises:
      InputError: A key or a value cannot be used; file and line are named.
    """
    keys = {name: key for keys in PARAM_KEYS.values() for name, key in keys.items()}
    for section in file.sections.values():
        inputs = [
            len(value.text.split(","))
            for name, value in section.values.items()
            if name in ("epsw", "momw", "wc")
        ]
        _read_values(section, keys, max(inputs, default=1), _PARAMS)


def _read_layer(section: Section, params: Section | None) -> Layer:
    if "type" not in section.values:
        raise section.error(f"type must be one of {', '.join(LAYER_KEYS)}; got none")
    kind = section.values["type"].text
    if kind in REFUSED_TYPES:
        raise section.error(
            f"type {kind} is not supported: {REFUSED_TYPES[kind]}", "type"
        )
    if kind not in LAYER_KEYS:
        raise section.error(
            f"type must be one of {', '.join(LAYER_KEYS)}; got {kind[:60]!r}"
            f"{near(kind, LAYER_KEYS)}",
            "type",
        )
    count = (
        len(section.values["inputs"].text.split(","))
        if "inputs" in section.values
        else 0
    )
    keys = LAYER_KEYS[kind] | {"type": Key(str, "a type")}
    settings = _read_values(section, keys, count, f"{kind} layers")
    del settings["type"]
    if params is not None:
        what = _PARAMS if "type" in params.values else f"{kind} layers in {_PARAMS}"
        settings |= _read_values(params, PARAM_KEYS.get(kind, {}), count, what)
    inputs = settings.pop("inputs", ())
    layer = Layer(section.name, kind, section, inputs, settings, params)
    _check_complete(layer)
    return layer


def _read_values(
    section: Section, keys: Mapping[str, Key], count: int, what: str
) -> dict[str, Any]:
    """Returns the values of a section, those that have an effect.

    Args:
      section: The section.
      keys: That it may have.
      count: Inputs of the layer.
      what: What has those keys, for errors.
    """
    by_name = {name.lower(): (name, key) for name, key in keys.items()}
    values: dict[str, Any] = {}
    for written, value in section.values.items():
        if written not in by_name:
            raise section.error(
                f"{written} is no key of {what}{near(written, keys)}",
                written,
            )
        name, key = by_name[written]
        if key.effect not in (READ, NO_EFFECT, FOREIGN):
            raise section.error(f"{name} is not supported: {key.effect}", name)
        parts = value.text.split(",") if key.is_list else [value.text]
        try:
            read = [key.read(part.strip()) for part in parts]
        except (ValueError, KeyError, OverflowError):
            raise section.error(
                f"{name} must be {key.allowed}; got {value.text[:60]!r}", name
            ) from None
        if key.is_list and len(read) == 1:
            read *= count
        if key.is_list and len(read) != count:
            raise section.error(
                f"{name} must have a value for each of its {count} inputs, or one for "
                f"all; got {len(read)}",
                name,
            )
        if key.effect != NO_EFFECT:
            values[name] = tuple(read) if key.is_list else read[0]
    return values


_NEEDED = {
    "data": ("dataIdx",),
    "conv": ("channels", "filters", "filterSize", "initW"),
    "local": ("channels", "filters", "filterSize", "initW"),
    "fc": ("outputs",),
    "pool": ("pool", "channels", "sizeX", "stride"),
    "hs": ("keep",),
    "blur": ("stdev", "filterSize", "channels"),
    "nailbed": ("stride", "channels"),
    "href": ("channels",),
}


def _check_complete(layer: Layer) -> None:
    kind, settings = layer.type, layer.settings
    if kind in NORMS:
        if ("size" in settings) == ("sizeX" in settings):
            raise layer.error("size must be set, once; sizeX is its old name", "sizeX")
        settings["size"] = settings.pop("sizeX", settings.get("size"))
    for key in _NEEDED.get(kind, ()):
        if key not in settings:
            raise layer.error(f"{key} is missing")
    if kind != "data" and not layer.inputs:
        raise layer.error("inputs is missing: the layers that it reads")
    if kind in ONE_INPUT and len(layer.inputs) != 1:
        raise layer.error(
            f"inputs must be one layer; got {len(layer.inputs)}", "inputs"
        )
    if kind == "cost.logreg" and len(layer.inputs) != 2:
        raise layer.error("inputs must be the labels and a softmax layer", "inputs")
    if kind in WEIGHTS and layer.params is not None:
        for key in _UPDATED:
            if key not in settings:
                raise layer.params.error(f"{key} is missing")
        for low, high in zip(
            settings.get("wcNormMin", ()), settings.get("wcNormMax", ()), strict=False
        ):
            if low > high:
                raise layer.error(
                    f"wcNormMin must be at most wcNormMax; got {low:g} and {high:g}",
                    "wcNormMin",
                )
