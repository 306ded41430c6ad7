"""The layers of an experiment: a layer file's sections, read and checked."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.files import File, Section
from alexnet_jax.models.cuda_convnet.keys import (
    FOREIGN,
    LAYER_KEYS,
    NO_EFFECT,
    PARAM_KEYS,
    READ,
    REFUSED_TYPES,
    Key,
)

IMAGES, LABELS = 0, 1  # dataIdx
_ONE_INPUT = {"pool", "cmrnorm", "rnorm", "cnorm", "hs", "dropout", "dropout2"}
_ONE_INPUT |= {"blur", "nailbed", "href", "softmax"}
_FILTERS = {"conv", "local"}
WEIGHTS = _FILTERS | {"fc"}
NORMS = ("cmrnorm", "rnorm", "cnorm")
_UPDATED = ("epsW", "epsB", "momW", "momB")


@dataclass(frozen=True)
class Layer:
    """A layer as its files describe it.

    Attributes:
      name: Its section's.
      type: Its type, a key of `LAYER_KEYS`.
      section: Of the layer file.
      inputs: Names of the layers that it reads.
      settings: Values by key, of both files; a list has a value for each input.
      params: The section of the layer-parameter file, if there is one.
      channels: Its maps or units, over all of its groups; None for images.
    """

    name: str
    type: str
    section: Section
    inputs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    params: Section | None = None
    channels: int | None = None

    def error(self, message: str, key: str | None = None) -> InputError:
        """Returns an error at a key's line, in whichever file it stands."""
        in_params = self.params and (key or "").lower() in self.params.values
        section = self.params if in_params and self.params else self.section
        return section.error(message, key)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key, or a default if it is in neither file."""
        return self.settings.get(key, default)

    def of_input(self, key: str, place: int, default: Any = None) -> Any:
        """Returns what a list says of an input."""
        values = self.settings.get(key)
        return default if values is None else values[place]


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
                f"there is no such layer in {file.name}{_near(section.name, layers)}; "
                "remove the section"
            )
    if not layers:
        raise InputError(f"{file.name}: must hold layers, such as [conv1]; got none")
    layers = {layer.name: layer for layer in _in_order(layers)}
    _check_used(layers)
    sized: dict[str, Layer] = {}
    for layer in layers.values():
        _check_inputs(layer, sized)
        sized[layer.name] = _with_channels(layer, sized)
    return sized


def complete(layers: Mapping[str, Layer]) -> None:
    """Gives 1 for each constant that stands in neither file."""
    for layer in layers.values():
        if layer.type in NORMS:
            layer.settings.setdefault("scale", 1.0)
            layer.settings.setdefault("pow", 1.0)
        if layer.get("pool") == "rand":
            layer.settings.setdefault("doMax", True)


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
        _read_values(section, keys, max(inputs, default=1))


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
            f"type must be one of {', '.join(LAYER_KEYS)}; got {kind!r}"
            f"{_near(kind, LAYER_KEYS)}",
            "type",
        )
    count = (
        len(section.values["inputs"].text.split(","))
        if "inputs" in section.values
        else 0
    )
    settings = _read_values(section, LAYER_KEYS[kind], count)
    if params is not None:
        settings |= _read_values(params, PARAM_KEYS.get(kind, {}), count)
    inputs = settings.pop("inputs", ())
    layer = Layer(section.name, kind, section, inputs, settings, params)
    _check_complete(layer)
    return layer


def _read_values(
    section: Section, keys: Mapping[str, Key], count: int
) -> dict[str, Any]:
    by_name = {name.lower(): (name, key) for name, key in keys.items()}
    values: dict[str, Any] = {}
    for written, value in section.values.items():
        if written == "type":
            continue
        if written not in by_name:
            raise section.error(
                f"{written} is no key of this type of layer{_near(written, keys)}",
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
    if kind in _ONE_INPUT and len(layer.inputs) != 1:
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


def _near(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; the nearest: {', '.join(nearest)}" if nearest else ""


def _in_order(layers: Mapping[str, Layer]) -> list[Layer]:
    """Returns the layers in the file's order, but each after its inputs."""
    ordered: dict[str, Layer] = {}
    waiting: list[str] = []  # those that are being looked at, from reader to input

    # A loop and no recursion: a file may have thousands of layers.
    stack = [(layer, iter(layer.inputs)) for layer in reversed(layers.values())]
    started: set[str] = set()
    while stack:
        layer, rest = stack[-1]
        if layer.name in ordered:
            stack.pop()
            continue
        if layer.name not in started:
            started.add(layer.name)
            waiting.append(layer.name)
        for name in rest:
            if name not in layers:
                raise layer.error(
                    f"there is no layer {name!r} to read{_near(name, layers)}", "inputs"
                )
            if name in waiting:
                circle = [*waiting[waiting.index(name) :], name]
                raise layer.error(
                    f"layers must not read each other in a circle: "
                    f"{' ← '.join(reversed(circle))}",
                    "inputs",
                )
            if name not in ordered:
                stack.append((layers[name], iter(layers[name].inputs)))
                break
        else:
            ordered[layer.name] = layer
            waiting.pop()
            stack.pop()
    return list(ordered.values())


def _check_used(layers: Mapping[str, Layer]) -> None:
    costs = [layer for layer in layers.values() if layer.type.startswith("cost.")]
    last = next(reversed(layers.values()))
    if not costs:
        raise last.error("a cost.logreg layer must end the network; there is none")
    if len(costs) > 1:
        raise costs[1].error(f"a second cost, beside {costs[0].name}, is not supported")
    read = {name for layer in layers.values() for name in layer.inputs}
    for layer in layers.values():
        if layer.name not in read and layer is not costs[0]:
            raise layer.error("no layer reads this one; remove it")


def _check_inputs(layer: Layer, before: Mapping[str, Layer]) -> None:
    """Checks that a layer can read what it reads."""
    inputs = [before[name] for name in layer.inputs]
    if layer.type == "cost.logreg":
        kinds = [one.type for one in inputs]
        is_labels = inputs[0].type == "data" and inputs[0].get("dataIdx") == LABELS
        if kinds[1] != "softmax" or not is_labels:
            raise layer.error(
                "inputs must be the labels (data with dataIdx=1) and a softmax layer; "
                f"got {', '.join(layer.inputs)}",
                "inputs",
            )
        return
    for place, one in enumerate(inputs):
        if one.type == "data" and one.get("dataIdx") == LABELS:
            raise layer.error(f"{one.name} holds labels, not images", "inputs")
        if one.type in ("softmax", "cost.logreg"):
            raise layer.error(
                f"{one.name} ({one.type}) can be read by a cost only", "inputs"
            )
        said = layer.get("channels")
        said = said[place] if isinstance(said, tuple) else said
        if said is not None and one.channels not in (None, said):
            raise layer.error(
                f"channels must be {one.channels}, those of {one.name}; got {said}",
                "channels",
            )


def _with_channels(layer: Layer, before: Mapping[str, Layer]) -> Layer:
    """Returns the layer with the number of its maps or units."""
    inputs = [before[name].channels for name in layer.inputs]
    channels: int | None
    if layer.type in _FILTERS:
        channels = _filter_channels(layer)
    elif layer.type == "fc":
        channels = layer.settings["outputs"]
    elif layer.type in ("concat", "pass"):
        channels = None if None in inputs else sum(n for n in inputs if n is not None)
    elif layer.type == "eltsum" and len({*inputs}) > 1:
        raise layer.error(f"inputs must have the same channels; got {inputs}", "inputs")
    else:
        channels = inputs[0] if inputs and layer.type != "cost.logreg" else None
    return Layer(
        layer.name,
        layer.type,
        layer.section,
        layer.inputs,
        layer.settings,
        layer.params,
        channels,
    )


def _filter_channels(layer: Layer) -> int:
    """Checks the groups of a layer with filters; returns its maps."""
    totals = set()
    for place in range(len(layer.inputs)):
        groups = layer.of_input("groups", place, 1)
        channels = layer.settings["channels"][place]
        totals.add(layer.settings["filters"][place] * groups)
        if layer.of_input("randSparse", place, False):
            seen = layer.of_input("filterChannels", place, channels // groups)
            if groups == 1 or (groups * seen) % channels:
                raise layer.error(
                    "groups × filterChannels must be a multiple of channels, "
                    f"{channels}, in more than one group; got {groups} × {seen}",
                    "groups",
                )
        elif channels % groups:
            raise layer.error(
                f"groups must divide channels, {channels}; got {groups}", "groups"
            )
    if len(totals) > 1:
        raise layer.error(
            f"filters × groups must be the same for all inputs; got {sorted(totals)}",
            "filters",
        )
    return totals.pop()
