"""Networks by name.

Each file defines the networks of one lineage. Of the package, `models/` imports
`layers/` and the config only; everything that runs or describes a network may import
it.
"""

import difflib
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import learning_rate
from alexnet_jax.errors import InputError
from alexnet_jax.models.ablations import ABLATIONS, Ablatable
from alexnet_jax.models.caffe import AlexNetCaffe, CaffeNet
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.models.d2l import (
    AlexNet,
    AlexNetFashion,
    AlexNetHalf,
    AlexNetKeras,
)
from alexnet_jax.models.krizhevsky import (
    AlexNet2012,
    AlexNet2012Conv6,
    AlexNet2012OneGPU,
    AlexNetOneWeirdTrick,
    AlexNetPaper,
)
from alexnet_jax.models.lenet import LeNet
from alexnet_jax.models.torchvision import AlexNetTorchvision, AlexNetUngrouped

__all__ = [
    "ABLATIONS",
    "MODELS",
    "AlexNet",
    "Classifier",
    "LeNet",
    "create_configured",
    "create_model",
    "list_models",
]

MODELS: dict[str, type[Classifier]] = {
    "alexnet_d2l": AlexNet,
    "alexnet_paper": AlexNetPaper,
    "alexnet_2012": AlexNet2012,
    "alexnet_2012_one_gpu": AlexNet2012OneGPU,
    "alexnet_2012_conv6": AlexNet2012Conv6,
    "alexnet_caffe": AlexNetCaffe,
    "caffenet": CaffeNet,
    "alexnet_one_weird_trick": AlexNetOneWeirdTrick,
    "alexnet_torchvision": AlexNetTorchvision,
    "alexnet_keras": AlexNetKeras,
    "alexnet_fashion": AlexNetFashion,
    "alexnet_half": AlexNetHalf,
    "alexnet_ungrouped": AlexNetUngrouped,
    "lenet5": LeNet,
}


def list_models() -> list[str]:
    """Returns the names of all networks.

    Example:
      >>> list_models()[:2]
      ['alexnet_d2l', 'alexnet_paper']
    """
    return list(MODELS)


def read_cfg(name: str, params: str | None) -> tuple[str, str | None]:
    """Returns the texts of a layer file and a layer-parameter file."""
    raise InputError(f"model.name: {name} cannot be read yet")


def check_name(name: str) -> None:
    """Checks that a network is registered.

    Raises:
      InputError: It is not; the nearest names are given.
    """
    if name in MODELS:
        return
    nearest = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.5)
    hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
    raise InputError(f"model.name must be one of {tuple(MODELS)}; got {name!r}{hint}")


def create_model(name: str, **fields: Any) -> Classifier:
    """Creates a network by its registered name.

    Args:
      name: A key of `MODELS`.
      **fields: Its attributes: `num_classes`, `training`, `lr`, `initializer` and, for
        all but LeNet-5, `dropout_rate` and `width`; `softmax` for `alexnet_keras`;
        for Krizhevsky's, `ABLATIONS`.

    Raises:
      InputError: `name` is not registered, or it has no ablation that is set.

    Example:
      >>> model = create_model("alexnet_paper", num_classes=10, width=0.25)
      >>> *_, (_, shape) = model.layer_shapes((1, 224, 224, 3))
      >>> shape
      (1, 10)
    """
    check_name(name)
    network = MODELS[name]
    if not issubclass(network, Ablatable):
        for field, by_author in ABLATIONS.items():
            _check_not_ablated(name, field, fields.pop(field, by_author), by_author)
    return network(**fields)


def _check_not_ablated(name: str, field: str, value: Any, by_author: Any) -> None:
    if value != by_author:
        able = (other for other, kind in MODELS.items() if issubclass(kind, Ablatable))
        raise InputError(
            f"model.{field} must be {by_author!r} with {name}, which has no such "
            f"ablation; got {value!r}; networks with ablations: {', '.join(able)}"
        )


def create_configured(config: ConfigDict) -> Classifier:
    """Creates the network that a run's config asks for.

    Raises:
      InputError: Its name is not registered, or it cannot be as asked for.
    """
    fields = {
        "lr": learning_rate(config.optim),
        "num_classes": config.model.num_classes,
        "initializer": config.model.init,
        **{field: config.model[field] for field in ABLATIONS},
    }
    network = MODELS.get(config.model.name)
    if hasattr(network, "dropout_rate"):
        fields["dropout_rate"] = config.model.dropout_rate
    if hasattr(network, "width"):
        fields["width"] = config.model.width
    elif network is not None and config.model.width != 1:
        raise InputError(
            f"model.width must be 1 with {config.model.name}, which has one width; "
            f"got {config.model.width}"
        )
    return create_model(config.model.name, **fields)
