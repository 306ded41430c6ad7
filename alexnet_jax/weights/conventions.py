"""How the frameworks name an AlexNet's arrays, and lay them out."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from alexnet_jax.models import MODELS

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
# What PyTorch calls the arrays of a layer: of convolutions, dense ones and BatchNorm.
_PARTS = {
    **{"kernel": "weight", "scale": "weight", "bias": "bias"},
    **{"mean": "running_mean", "var": "running_var"},
}


@dataclass(frozen=True)
class Convention:
    """How a framework names the arrays of a network, and lays them out.

    Attributes:
      networks: Our names of those that are published so; the first, unless the file or
        the user says otherwise.
      names: Theirs of each layer's kernel and bias, by layer; of others, our layer's
        name with PyTorch's of the array, such as `conv1.weight`.
      channels_first: Whether kernels are `(out, in, height, width)` and `(out, in)`,
        the inputs of fc6 in the order channels, height, width.
      is_bgr: Whether the network sees blue first.
    """

    networks: tuple[str, ...]
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    channels_first: bool = True
    is_bgr: bool = False

    def source_name(self, ours: str) -> str:
        """Returns the name in a file of an array of ours, such as `conv1/kernel`."""
        layer, part = ours.split("/")
        if layer in self.names:
            return self.names[layer][part != "kernel"]
        return f"{layer}.{_PARTS[part]}"


_TORCHVISION = dict(
    zip(
        _LAYERS,
        [
            *(f"features.{place}" for place in (0, 3, 6, 8, 10)),
            *(f"classifier.{place}" for place in (1, 4, 6)),
        ],
        strict=True,
    )
)
_BLOBS = {layer: (f"{layer}/0", f"{layer}/1") for layer in _LAYERS}
TORCHVISION = Convention(
    ("alexnet_torchvision",),
    {ours: (f"{name}.weight", f"{name}.bias") for ours, name in _TORCHVISION.items()},
)
_OF_CAFFE = ("alexnet_caffe", "caffenet")
CAFFE = Convention(_OF_CAFFE, _BLOBS, is_bgr=True)
# As caffe-tensorflow wrote them: Caffe's order of colors, TensorFlow's of axes.
TENSORFLOW = Convention(_OF_CAFFE, _BLOBS, channels_first=False, is_bgr=True)
# As this project exports networks to PyTorch and ONNX: any of them, as it is here but
# for the layout. A file of it says which network it is, or the user does.
TWIN = Convention(tuple(MODELS))


def of_state_dict(names: Container[str]) -> Convention:
    """Returns the convention of a state dict with arrays of these names."""
    return TWIN if "conv1.weight" in names else TORCHVISION
