"""How arrays learn, from the sections of a layer-parameter file."""

import dataclasses
from collections.abc import Mapping

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.files import File
from alexnet_jax.models.cuda_convnet.layers import WEIGHTS, Layer
from alexnet_jax.models.cuda_convnet.lowered import Weights
from alexnet_jax.models.cuda_convnet.updates import ArrayUpdate, LayerUpdates, Rate


def layer_updates(
    weights: Mapping[str, Weights], layers: Mapping[str, Layer], params: File
) -> LayerUpdates:
    """Returns how each array learns.

    Args:
      weights: By layer of the network.
      layers: Of the files.
      params: The layer-parameter file.

    Raises:
      InputError: A layer with weights, or the cost, has no section in it.
    """
    for layer in layers.values():
        needs = layer.type in WEIGHTS or layer.type == "cost.logreg"
        if needs and layer.params is None:
            raise InputError(
                f"{params.name}: must have a section [{layer.name}], for that layer of "
                f"{layer.section.place.file}:{layer.section.place.line}; got none"
            )
    arrays: dict[str, ArrayUpdate] = {}
    for name, one in weights.items():
        if not name.endswith("_bias"):
            arrays[f"{name}/kernel"] = _kernel(one)
        if one.has_bias:
            arrays[f"{name}/bias"] = _bias(one)
    cost = next(one for one in layers.values() if one.type == "cost.logreg")
    return LayerUpdates(arrays, cost.get("coeff", 1.0))


def _kernel(one: Weights) -> ArrayUpdate:
    layer, place = one.source, one.place
    contrast = (
        layer.of_input("wcNormMin", place, 0.0),
        layer.of_input("wcNormMax", place, 0.0),
    )
    return ArrayUpdate(
        _scheduled(layer.of_input("epsW", place), layer, "schedW"),
        layer.of_input("momW", place),
        layer.of_input("wc", place, 0.0),
        layer.of_input("wball", place, 0.0),
        contrast,
        local=layer.type == "local",
    )


def _bias(one: Weights) -> ArrayUpdate:
    layer = one.source
    rate = _scheduled(layer.settings["epsB"], layer, "schedB")
    return ArrayUpdate(rate, layer.settings["momB"], 0.0)


def _scheduled(base: Rate, layer: Layer, key: str) -> Rate:
    """Returns a rate with its schedule, which 2012's files write under a key apart.

    Their first form was one key, `sched`, for weights and biases. No code that reads it
    was released.
    """
    schedule = layer.get(key, layer.get("sched"))
    return base if schedule is None else dataclasses.replace(schedule, base=base.base)
