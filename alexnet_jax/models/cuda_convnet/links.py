"""How the layers of an experiment read each other: their order, and what fits."""

from collections.abc import Mapping

from alexnet_jax.models.cuda_convnet.files import near
from alexnet_jax.models.cuda_convnet.layers import FILTERS, LABELS, Layer


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
    sized: dict[str, Layer] = {}
    for layer in ordered.values():
        _check_inputs(layer, sized)
        sized[layer.name] = _with_channels(layer, sized)
    return sized


def _in_order(layers: Mapping[str, Layer]) -> dict[str, Layer]:
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
                    f"there is no layer {name!r} to read{near(name, layers)}", "inputs"
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
    return ordered


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
    if layer.type in FILTERS:
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
