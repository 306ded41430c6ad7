"""Networks by name.

Each file defines the networks of one lineage; `cuda_convnet/` reads those of released
layer files. Of the package, `models/` imports `layers/` and the config only;
everything that runs or describes a network may import it.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import is_cfg, learning_rate
from alexnet_jax.errors import InputError
from alexnet_jax.models.ablations import ABLATIONS, Ablatable
from alexnet_jax.models.caffe import AlexNetCaffe, CaffeNet
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.models.cuda_convnet import (
    PREFIX,
    CfgNetwork,
    Experiment,
    params_beside,
    read_text,
)
from alexnet_jax.models.cuda_convnet import network_class as cfg_class
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
    "is_network",
    "list_models",
    "network_class",
    "read_cfg",
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

    Examples:
      >>> list_models()[:2]
      ['alexnet_d2l', 'alexnet_paper']
    """
    return list(MODELS)


def is_network(name: str) -> bool:
    """Whether a name is a registered network's, or a layer file's (`cfg:PATH`)."""
    return name in MODELS or is_cfg(name)


def network_class(name: str, params: str | None = None) -> type[Classifier]:
    """Returns a network's class.

    Args:
      name: A key of `MODELS`, or `cfg:PATH`: cuda-convnet's layer file at a path.
      params: Path of the layer-parameter file; None takes the one of the layer file's
        name that lies beside it, if there is one.

    Raises:
      InputError: It is not registered; the nearest names are given. Or the files cannot
        be used; file and line are named.
    """
    if not isinstance(name, str):
        raise InputError(f"model.name must be a string; got {name!r}")
    if is_cfg(name):
        return _experiment_class(name, *read_cfg(name, params), params)
    if params is not None:
        raise InputError(f"params goes with cfg:PATH only; got {params!r} with {name}")
    if name in MODELS:
        return MODELS[name]
    nearest = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.5)
    hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
    raise InputError(
        f"model.name must be one of {tuple(MODELS)}, or cfg:PATH of a layer file; got "
        f"{name!r}{hint}"
    )


def read_cfg(name: str, params: str | None = None) -> tuple[str, str | None]:
    """Returns the text of a layer file and of its layer-parameter file.

    Args:
      name: `cfg:PATH`.
      params: As for `network_class`.

    Raises:
      InputError: One cannot be read.
    """
    path = name.removeprefix(PREFIX)
    layers = read_text(path, "model.name")
    if params is not None:
        return layers, read_text(params, "optim.params")
    beside = params_beside(path)
    return layers, None if beside is None else read_text(str(beside), "model.name")


def _experiment_class(
    name: str, layers: str, params: str | None, params_path: str | None
) -> type[CfgNetwork]:
    beside = params_beside(name.removeprefix(PREFIX))
    return cfg_class(
        Experiment(
            name,
            layers,
            params,
            params_path or str(beside or "layer-params"),
            # A file that nobody named may say more than this network needs.
            strict=params_path is not None,
        )
    )


def create_model(name: str, params: str | None = None, **fields: Any) -> Classifier:
    """Creates a network by its name.

    Args:
      name: A key of `MODELS`, or `cfg:PATH`: cuda-convnet's layer file at a path.
      params: With `cfg:PATH`, as for `network_class`.
      **fields: Its attributes: `num_classes` (default: its author's), `training`
        (default: False), `lr`, `initializer` and, for all but LeNet-5, `dropout_rate`
        and `width`; `softmax` for `alexnet_keras`; for Krizhevsky's, `ABLATIONS`.

    Raises:
      InputError: `name` is not registered, or it has no attribute or ablation that is
        given; or the layer file cannot be used.

    Examples:
      >>> model = create_model("alexnet_paper", width=0.25)
      >>> *_, (_, shape) = model.layer_shapes((1, 224, 224, 3))
      >>> shape, model.training
      ((1, 1000), False)
    """
    network = network_class(name, params)
    given: dict[str, Any] = {"training": False}
    if network.reference is not None:
        given["num_classes"] = network.reference.num_classes
    return _create(name, network, given | fields)


def _create(
    name: str, network: type[Classifier], fields: Mapping[str, Any]
) -> Classifier:
    given = dict(fields)
    if not issubclass(network, Ablatable):
        for field, by_author in ABLATIONS.items():
            _check_not_ablated(name, field, given.pop(field, by_author), by_author)
    known = {one.name for one in dataclasses.fields(network)} - {"parent", "name"}
    for field in given:
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1) or sorted(known)
            raise InputError(f"{name} has no {field}; it takes {', '.join(near)}")
    model = network(**given)
    if isinstance(model, CfgNetwork) and model.initializer == "author":
        model.experiment.check_initialization()
    return model


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
    settings, optim = config.model, config.optim
    name, texts = settings.name, (settings.cfg_layers, settings.cfg_params)
    if texts[0] is not None:
        network: type[Classifier] = _experiment_class(name, *texts, optim.params)
    else:
        network = network_class(name, optim.params)
    fields = {
        "lr": learning_rate(optim),
        "num_classes": settings.num_classes,
        "training": True,
        "initializer": settings.init,
        **{field: settings[field] for field in ABLATIONS},
    }
    rate = settings.dropout_rate
    if rate is not None and hasattr(network, "dropout_rate"):
        fields["dropout_rate"] = rate
    if hasattr(network, "width"):
        fields["width"] = settings.width
    elif settings.width != 1:
        raise InputError(
            f"model.width must be 1 with {name}, which has one width; "
            f"got {settings.width}"
        )
    model = _create(name, network, fields)
    if optim.params is not None and isinstance(model, CfgNetwork):
        _ = model.layer_updates  # what the file lacks is said before a run begins
    return model
