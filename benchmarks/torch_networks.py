"""The same networks in PyTorch: the peers of the benchmark and of the golden numbers.

Written from the networks' sources, not from this project's layers.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn


class CeilPad(nn.Module):
    """Zeros at the bottom and right, so that windows cover all of the image."""

    def __init__(self, window: int, stride: int) -> None:
        """Takes the window and stride of the convolution that follows."""
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pads `(B, C, H, W)`."""
        height, width = (-(size - self.window) % self.stride for size in x.shape[2:])
        return nn.functional.pad(x, (0, width, 0, height))


class TowerNorm(nn.Module):
    """PyTorch's normalization for each tower."""

    def __init__(self, alpha: float, k: float, towers: int) -> None:
        """Takes PyTorch's alpha, which it divides by 5."""
        super().__init__()
        self.towers, self.norm = towers, nn.LocalResponseNorm(5, alpha, 0.75, k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes `(B, C, H, W)`."""
        return torch.cat([self.norm(part) for part in x.chunk(self.towers, 1)], 1)


class MapNorm(nn.Module):
    """The same-map normalization of layers-145.cfg."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes `(B, C, H, W)`."""
        mean = nn.functional.avg_pool2d(x * x, 5, 1, 2)  # zeros beyond the edge count
        return x / (1 + 0.001 * mean) ** 0.75


class MaskDropout(nn.Module):
    """Dropout of 2012: a mask in training, half of everything at test."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, units)`."""
        return x * (torch.rand_like(x) < 0.5) if self.training else x * 0.5


class Source(NamedTuple):
    """What a network's source says of its layers.

    Attributes:
      maps: Of conv1 to conv5.
      pad: Of conv1: pixels on each side, or "ceil".
      first: What follows conv1.
      second: What follows conv2.
      fifth: What follows conv5.
      towers: Groups of conv2, conv4 and conv5.
      norm: PyTorch's alpha and k, and the towers that normalization keeps apart.
      ceil: Whether the last window of a pool may hang over the edge.
      drop: Dropout of 2012, "mask", or today's, "scale".
      hidden: fc6 and fc7, each: what comes before and after its weights.
      units: Of fc6 and fc7.
    """

    maps: tuple[int, ...] = (96, 256, 384, 384, 256)
    pad: int | str = 0
    first: str = "relu pool"
    second: str = "relu pool"
    fifth: str = "relu pool"
    towers: int = 1
    norm: tuple[float, float, int] = (1e-4, 2.0, 1)
    ceil: bool = False
    drop: str = "scale"
    hidden: str = "linear relu drop"
    units: int = 4096


_KRIZHEVSKY = {"pad": "ceil", "ceil": True, "drop": "mask"}
_NORMALIZED = {"first": "relu norm pool", "second": "relu norm pool"}
_DROP_FIRST = "drop linear relu"
_2012 = Source(
    first="norm pool relu",
    second="relu norm map_norm pool",
    fifth="pool relu",
    towers=2,
    norm=(1e-4, 2.0, 2),
    **_KRIZHEVSKY,
)
_CAFFE = Source(towers=2, norm=(1e-4, 1.0, 1), ceil=True, **_NORMALIZED)
_OF_2014 = (64, 192, 384, 256, 256)


def _lenet(channels: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid()),
        nn.Linear(84, 10),
    )


# Each registered network: an AlexNet's source, or a function of the images' channels.
SOURCES: dict[str, Source | Callable[[int], nn.Sequential]] = {
    "alexnet_d2l": Source(pad=1),
    # PyTorch divides alpha by 5, the paper does not.
    "alexnet_paper": Source(
        towers=2, norm=(5e-4, 2.0, 2), **_NORMALIZED, **_KRIZHEVSKY
    ),
    "alexnet_2012": _2012,
    "alexnet_2012_one_gpu": _2012._replace(
        maps=(48, 128, 192, 192, 256), towers=1, norm=(1e-4, 2.0, 1)
    ),
    "alexnet_2012_conv6": _2012._replace(fifth="pool relu conv6 relu"),
    "alexnet_caffe": _CAFFE,
    "caffenet": _CAFFE._replace(first="relu pool norm", second="relu pool norm"),
    "alexnet_one_weird_trick": _2012._replace(
        maps=_OF_2014, second="relu norm pool", towers=1, norm=(1e-4, 2.0, 1)
    ),
    "alexnet_torchvision": Source(
        _OF_2014, pad=2, fifth="relu pool average", hidden=_DROP_FIRST
    ),
    "alexnet_keras": Source(),
    "alexnet_fashion": Source(),
    "alexnet_half": Source((48, 128, 192, 192, 128), pad=2, units=2048),
    "alexnet_ungrouped": Source(hidden=_DROP_FIRST, **_NORMALIZED),
    "lenet5": _lenet,
}


def torch_network(
    name: str, image_size: int = 224, channels: int = 1, width: float = 1.0
) -> nn.Sequential:
    """Returns a registered network for ten classes.

    Args:
      name: Its registered name.
      image_size: Height and width of the images.
      channels: Of the images.
      width: What maps and units are multiplied by.
    """
    source = SOURCES[name]
    if not isinstance(source, Source):
        return source(channels)
    maps = [round(count * width) for count in source.maps]
    parts = {
        "relu": nn.ReLU(),
        "norm": TowerNorm(*source.norm),
        "map_norm": MapNorm(),
        "pool": nn.MaxPool2d(3, 2, ceil_mode=source.ceil),
        "conv6": nn.Conv2d(maps[4], maps[4], 3, padding=1),
        "average": nn.AdaptiveAvgPool2d(6),
        "drop": MaskDropout() if source.drop == "mask" else nn.Dropout(0.5),
    }

    def conv(number: int, size: int, after: str, groups: int = 1) -> list[nn.Module]:
        read, made = maps[number - 2], maps[number - 1]
        layer = nn.Conv2d(read, made, size, padding=size // 2, groups=groups)
        return [layer, *(parts[word] for word in after.split())]

    def hidden(read: int, made: int) -> list[nn.Module]:
        linear = nn.Linear(read, made)
        return [parts.get(word, linear) for word in source.hidden.split()]

    pad = 0 if source.pad == "ceil" else source.pad
    layers = [
        *([CeilPad(11, 4)] if source.pad == "ceil" else []),
        nn.Conv2d(channels, maps[0], 11, 4, pad),
        *(parts[word] for word in source.first.split()),
        *conv(2, 5, source.second, source.towers),
        *conv(3, 3, "relu"),
        *conv(4, 3, "relu", source.towers),
        *conv(5, 3, source.fifth, source.towers),
        nn.Flatten(),
    ]
    with torch.no_grad():
        image = torch.zeros(1, channels, image_size, image_size)
        features = nn.Sequential(*layers)(image).shape[1]
    units = round(source.units * width)
    layers += [*hidden(features, units), *hidden(units, units)]
    return nn.Sequential(*layers, nn.Linear(units, 10))
