"""The network that a layer file describes."""

import functools
import re
from typing import Any, ClassVar

import flax.linen as nn

from alexnet_jax.errors import InputError
from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.contrast import MapContrastNorm
from alexnet_jax.layers.conv import CEIL, ceil_pad
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.graph import Add, TakeTowers, add, concatenate
from alexnet_jax.layers.images import GaussianBlur, Subsample, mirror
from alexnet_jax.layers.normalization import LocalResponseNorm, MapNorm
from alexnet_jax.layers.pooling import (
    CeilPool,
    avg_pool_3x3,
    max_pool_2x2,
    max_pool_ceil,
)
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference
from alexnet_jax.models.cuda_convnet.experiment import Experiment
from alexnet_jax.models.cuda_convnet.plan import IMAGES
from alexnet_jax.models.cuda_convnet.updates import LayerUpdates

# What a layer is written with, besides the methods of `AlexNetBase`; and where it is
# imported from.
LAYERS: dict[str, Any] = {
    "CEIL": CEIL,
    "Add": Add,
    "ceil_pad": ceil_pad,
    "CeilPool": CeilPool,
    "GaussianBlur": GaussianBlur,
    "LocalResponseNorm": LocalResponseNorm,
    "MapContrastNorm": MapContrastNorm,
    "MapNorm": MapNorm,
    "MaskDropout": MaskDropout,
    "RandomChannels": RandomChannels,
    "Subsample": Subsample,
    "TakeTowers": TakeTowers,
    "add": add,
    "avg_pool_3x3": avg_pool_3x3,
    "concatenate": concatenate,
    "flatten": flatten,
    "max_pool_2x2": max_pool_2x2,
    "max_pool_ceil": max_pool_ceil,
    "mirror": mirror,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "softplus": nn.softplus,
    "tanh": nn.tanh,
}
METHODS = ("conv", "dense", "local", "norm", "place_bias")


class CfgNetwork(AlexNetBase):
    """A network that is read from one of cuda-convnet's layer files.

    Its layers have Caffe's names, by their place: `conv1`, `local3`, and dense layers
    from the last, `fc8`, backward. Layers of several towers are one layer in groups.

    Attributes:
      dropout_rate: Replaces what the file keeps; None leaves it.

    Source: computerhistory/AlexNet-Source-Code and akrizhevsky/cuda-convnet2, layer.py.
    """

    dropout_rate: float | None = None  # type: ignore[assignment]

    author_scale: ClassVar[str] = "pixels"
    experiment: ClassVar[Experiment]

    @property
    def layer_updates(self) -> LayerUpdates | None:
        """How each array learns; None without a layer-parameter file.

        Raises:
          InputError: The file leaves a layer out.
        """
        has_params = self.experiment.params_text is not None
        return self.experiment.updates if has_params else None

    def setup(self) -> None:
        """Lays out the layers that the file names."""
        names = LAYERS | {name: getattr(self, name) for name in METHODS}
        names |= {
            "dropout": self._dropout,
            "self.num_classes": self._classes(),
            "True": True,
        }
        blocks = [
            (block.name, block.inputs, [call.evaluate(names) for call in block.calls])
            for block in self.experiment.blocks
        ]
        is_chain = len(blocks) == 1 and blocks[0][1] == (IMAGES,)
        self.net = self.sequential(blocks[0][2]) if is_chain else self.graph(*blocks)

    @nn.nowrap
    def _dropout(self, *, mask: bool = False, rate: float = 0.5) -> nn.Module:
        given = rate if self.dropout_rate is None else self.dropout_rate
        return self.dropout(mask=mask, rate=given)

    @nn.nowrap
    def _classes(self) -> int:
        lowered = self.experiment.lowered
        if not lowered.has_classes and self.num_classes != lowered.num_classes:
            raise InputError(
                f"model.num_classes must be {lowered.num_classes:,} with "
                f"{self.experiment.name}, whose classes are in several layers; got "
                f"{self.num_classes}"
            )
        return self.num_classes


@functools.cache
def network_class(experiment: Experiment) -> type[CfgNetwork]:
    """Returns the class of an experiment's network, whose classes are the file's.

    Args:
      experiment: From the text of its files.

    Raises:
      InputError: The files cannot be used; file and line are named.
    """
    source = f"cuda-convnet {experiment.file_name}"
    classes = experiment.lowered.num_classes
    members = {
        "__doc__": f"The network of {experiment.file_name}.",
        "__module__": __name__,
        "__annotations__": {"num_classes": int},
        "num_classes": classes,
        "experiment": experiment,
        "reference": Reference(source, experiment.input_shape, classes, ""),
        "author_initializer": experiment.scheme,
        "towers": experiment.lowered.towers,
        "unit": experiment.lowered.unit,
    }
    _ = experiment.blocks  # what cannot be read is said now, not when it is trained
    return type(class_name(experiment.file_name), (CfgNetwork,), members)


def class_name(file_name: str) -> str:
    """Returns the name of a file's class: `layers-145-half.cfg` → `Layers145Half`."""
    stem = re.sub(r"\.cfg$", "", file_name)
    words = re.findall(r"[A-Za-z0-9]+", stem) or ["Layers"]
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return name if not name[0].isdigit() else f"Layers{name}"
