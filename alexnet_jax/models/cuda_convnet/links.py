"""How the layers of an experiment read each other: their order, and what fits."""

import dataclasses
from collections.abc import Mapping

from alexnet_jax.models.cuda_convnet.files import near
from alexnet_jax.models.cuda_convnet.layers import (
    FILTERS,
    IMAGES,
    LABELS,
    MAPPED,
    MAX_COUNT,
    Layer,
)


def link(layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Puts layers in order, and says how many channels each has.

    Args:
      layers: By name, at least one.

    Returns:
      The same, each after those that it reads.

    Raises:
      InputError: A layer reads what it cannot read, or is read by none; file and line
        are named.
    """
    ordered = _in_order(layers)
    _check_used(ordered)
    images = _image_channels(ordered)
    sized: dict[str, Layer] = {}
    for layer in ordered.values():
        _check_inputs(layer, sized)
        sized[layer.name] = _with_channels(layer, sized, images)
    return sized


def _in_order(layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Returns the layers in the file's order, but each after its inputs."""
    ordered: dict[str, Layer] = {}
    waiting: dict[str, None] = {}  # those that are looked at, from reader to input
    # A loop and no recursion: a file may have thousands of layers.
    stack = [(layer, iter(layer.inputs)) for layer in reversed([*layers.values()])]
    while stack:
        layer, rest = stack[-1]
        if layer.name in ordered:
            stack.pop()
            continue
        waiting[layer.name] = None
        for name in rest:
            if name not in layers:
                raise layer.error(
                    f"there is no layer {name[:60]!r} to read{near(name, layers)}",
                    "inputs",
                )
            if name in waiting:
                names = [*waiting]
                circle = [*names[names.index(name) :], name][-6:]
                raise layer.error(
                    "layers must not read each other in a circle: "
                    f"{' ← '.join(reversed(circle))}",
                    "inputs",
                )
            if name not in ordered:
                stack.append((layers[name], iter(layers[name].inputs)))
                break
        else:
            ordered[layer.name] = layer
            del waiting[layer.name]
            stack.pop()
    return ordered


def _image_channels(layers: Mapping[str, Layer]) -> int:
    """Returns the channels of the images, those that their first reader names."""
    for layer in layers.values():
        for place, name in enumerate(layer.inputs):
            said = _said_channels(layer, place)
            if layers[name].get("dataIdx") == IMAGES and said is not None:
                return said
    return 3


def _said_channels(layer: Layer, place: int) -> int | None:
    """Returns how many channels a layer says that one of its inputs has."""
    said = layer.get("channels")
    return said[place] if isinstance(said, tuple) else said


def _check_used(layers: Mapping[str, Layer]) -> None:
    costs = [layer for layer in layers.values() if layer.type.startswith("cost.")]
    last = [*layers.values()][-1]
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
        said = _said_channels(layer, place)
        if layer.type in MAPPED and not one.has_maps:
            raise layer.error(
                f"{one.name} makes units, not maps, which {layer.type} needs", "inputs"
            )
        if said not in (None, one.channels):
            raise layer.error(
                f"channels must be {one.channels}, those of {one.name}; got {said}",
                "channels",
            )


def _with_channels(layer: Layer, before: Mapping[str, Layer], images: int) -> Layer:
    """Returns the layer with the number of its maps or units."""
    inputs = [before[name] for name in layer.inputs]
    counts = [one.channels for one in inputs]
    with_maps = {one.has_maps for one in inputs}
    if layer.type in FILTERS:
        channels = _filter_channels(layer)
    elif layer.type == "fc":
        channels = layer.settings["outputs"]
    elif layer.type in ("concat", "pass"):
        channels = sum(counts)
    else:
        channels = counts[0] if counts else images
    if channels > MAX_COUNT:
        raise layer.error(
            f"it must have at most {MAX_COUNT:,} maps or units; got {channels:,}"
        )
    if layer.type == "eltsum" and (len({*counts}) > 1 or len(with_maps) > 1):
        kinds = (
            f"{n} {'maps' if one.has_maps else 'units'}"
            for n, one in zip(counts[:6], inputs, strict=False)
        )
        raise layer.error(
            f"inputs must have the same channels; got {', '.join(kinds)}", "inputs"
        )
    return dataclasses.replace(
        layer,
        channels=channels,
        has_maps=layer.type != "fc" and with_maps <= {True},
    )


def _filter_channels(layer: Layer) -> int:
    """Checks the groups of a layer with filters; returns its maps."""
    totals = set()
    for place in range(len(layer.inputs)):
        groups = layer.of_input("groups", place, 1)
        channels = layer.settings["channels"][place]
        totals.add(layer.settings["filters"][place] * groups)
        if layer.of_input("randSparse", place, False):
            if layer.type == "local":
                raise layer.error(
                    "randSparse must be 0 in a local layer; got 1", "randSparse"
                )
            seen = layer.of_input("filterChannels", place, channels // groups)
            if groups == 1 or (groups * seen) % channels or channels % seen:
                key = "filterChannels"
                raise layer.error(
                    "randSparse must have groups, more than one, and filterChannels "
                    "that divide channels, a multiple of which is their product; got "
                    f"{groups} × {seen} of {channels}",
                    key if key in layer.settings else "groups",
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
