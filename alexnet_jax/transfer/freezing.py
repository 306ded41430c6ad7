"""Layers that stand still while the others learn.

A frozen layer's arrays take no part in the gradient: what lies below the first layer
that learns is computed forward only, and the optimizer keeps nothing for frozen arrays.
Its BatchNorm normalizes by its running statistics and leaves them, as in evaluation;
dropout, which has no arrays, goes on.

Source: Keras, `layer.trainable = False`, of BatchNorm as well; Caffe, `lr_mult: 0`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.linen as nn
from flax import traverse_util
from ml_collections import ConfigDict

from alexnet_jax.errors import InputError
from alexnet_jax.models.layer_names import layer_of, layers_of
from alexnet_jax.models.layer_names import select as select_layers
from alexnet_jax.transfer.rates import check_rates, factor_of
from alexnet_jax.transfer.settings import patterns_of, rates_of

Frozen = frozenset[str]  # names of layers
NONE: Frozen = frozenset()


def frozen_layers(
    optim: ConfigDict, params: Any, model_state: Mapping[str, Any]
) -> Frozen:
    """Returns the layers of `optim.freeze`, and those whose rate in `optim.rates` is 0.

    Args:
      optim: `config.optim`.
      params: The network's parameters, or their shapes.
      model_state: Its other collections, likewise.

    Raises:
      InputError: A pattern of one of the two keys names no layer, a rate is of frozen
        layers only, or nothing is left to learn.
    """
    freeze, rates = patterns_of(optim.freeze), rates_of(optim.rates)
    learnable = layers_of(params)
    layers = layers_of(params, *model_state.values())
    by_name = select_layers(layers, freeze, "optim.freeze")
    check_rates(learnable, rates)
    frozen = by_name | {layer for layer in learnable if factor_of(layer, rates) == 0}
    if frozen.issuperset(learnable):
        key = "freeze" if by_name.issuperset(learnable) else "rates"
        raise InputError(
            f"optim.{key}: {optim[key]!r} leaves no layer to learn; one of "
            f"{', '.join(learnable)} must not be frozen"
        )
    for pattern, rate in rates.items():
        if rate and select_layers(learnable, [pattern], "optim.rates") <= by_name:
            raise InputError(
                f"optim.rates: all layers named {pattern!r} are frozen by optim.freeze "
                f"{optim.freeze!r}; leave one of the two out"
            )
    return frozenset(frozen)


def split(params: Any, frozen: Frozen) -> tuple[Any, Any]:
    """Returns the parameters that learn, and those that do not."""
    if not frozen:
        return params, {}
    flat = traverse_util.flatten_dict(params)
    parts = [
        {path: leaf for path, leaf in flat.items() if (layer_of(path) in frozen) == is_}
        for is_ in (False, True)
    ]
    learning, held = map(traverse_util.unflatten_dict, parts)
    return learning, held


def join(learning: Any, held: Any) -> Any:
    """Returns all parameters of the two parts of `split`."""
    if not held:
        return learning
    flat = traverse_util.flatten_dict(learning) | traverse_util.flatten_dict(held)
    return traverse_util.unflatten_dict(flat)


def hold_state(new: Any, old: Any, frozen: Frozen) -> Any:
    """Returns a network's collections after a step, as before it in frozen layers."""
    return {
        name: join(split(tree, frozen)[0], split(old[name], frozen)[1])
        for name, tree in new.items()
    }


def evaluated(frozen: Frozen) -> AbstractContextManager:
    """While a network is applied: frozen BatchNorm uses its running statistics."""
    if not frozen:
        return nullcontext()

    def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        layer: Any = context.module
        own = getattr(layer, "use_running_average", True)
        in_training = own is not True and context.method_name == "__call__"
        if not (in_training and "/".join(layer.path) in frozen):
            return method(*args, **kwargs)
        kwargs = {k: v for k, v in kwargs.items() if k != "use_running_average"}
        layer = layer.clone(parent=layer.scope, use_running_average=True)
        return layer(*args[:1], **kwargs)

    return nn.intercept_methods(call)
