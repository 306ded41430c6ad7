"""Networks by name."""

from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.models.d2l import AlexNet, AlexNetHalf
from alexnet_jax.models.lenet import LeNet

__all__ = ["MODELS", "AlexNet", "AlexNetHalf", "Classifier", "LeNet", "create_model"]

MODELS: dict[str, type[Classifier]] = {
    "alexnet_d2l": AlexNet,
    "alexnet_half": AlexNetHalf,
    "lenet5": LeNet,
}


def create_model(name: str, **fields: Any) -> Classifier:
    """Creates a network by its registered name.

    Args:
      name: A key of `MODELS`.
      **fields: Its attributes: `num_classes`, `training`, `lr`, `initializer` and, for
        networks that have dropout, `dropout_rate`.

    Raises:
      InputError: `name` is not registered.
    """
    if name not in MODELS:
        raise InputError(f"model.name must be one of {tuple(MODELS)}; got {name!r}")
    return MODELS[name](**fields)
