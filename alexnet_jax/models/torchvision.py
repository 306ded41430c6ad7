"""What PyTorch's users know as AlexNet; `d2l.py` says how to read the tables."""

from typing import ClassVar

from flax.linen import relu

from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.pooling import adaptive_avg_pool, max_pool
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference


class AlexNetTorchvision(AlexNetBase):
    """torchvision's AlexNet, from the network of 2014.

    Input: `(B, 224, 224, 3)`, standardized by channel; any size from 63×63, since the
    maps before fc6 are averaged or repeated to 6×6. 61,100,840 parameters and
    714,188,480 multiply-adds an image.
    Published: 56.522 % top-1 and 79.066 % top-5 accuracy on ImageNet 2012 (validation,
    center crop).

    Differences:
      * One tower of 64, 192, 384, 256 and 256 maps; no response normalization.
      * conv1 pads by 2: the 55×55 grid starts two pixels outside the image, so its
        weights do not fit the others' grid.
      * Dropout comes before fc6 and fc7, not after, and is rescaled in training.
      * PyTorch's default initialization.

    Source: pytorch/vision, torchvision/models/alexnet.py.
    """

    reference: ClassVar = Reference(
        "pytorch/vision alexnet.py", (224, 224, 3), 1000, "ImageNet 56.52 / 79.07"
    )
    author_initializer: ClassVar[str] = "torch"
    author_scale: ClassVar[str] = "standard"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, drop, pool = self.conv, self.dense, self.dropout(), max_pool
        self.net = self.sequential(
            [conv("conv1", 64, 11, stride=4, pad=2), relu, pool],  # 27×27×64
            [conv("conv2", 192, 5, pad=2), relu, pool],  # 13×13×192
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384
            [conv("conv4", 256, 3, pad=1), relu],  # 13×13×256
            [conv("conv5", 256, 3, pad=1), relu, pool],  # 6×6×256
            [adaptive_avg_pool, flatten, drop, dense("fc6", 4096), relu],
            [drop, dense("fc7", 4096), relu],
            [dense("fc8", self.num_classes)],
        )


class AlexNetUngrouped(AlexNetBase):
    """The paper's network without its two towers, as most ports have it.

    Input: `(B, 227, 227, 3)`, standardized by channel. 62,378,344 parameters and
    1,135,256,096 multiply-adds an image: the "62 million" that is often quoted for the
    paper's network.
    Published: nothing; its author found that the paper's settings do not train it.

    Differences:
      * One tower: conv2, conv4 and conv5 read all maps of the layer before.
      * 227×227 images; at 227 conv1 pads nothing.
      * Normalization divides alpha by its window's size.
      * Dropout comes before fc6 and fc7, not after, and is rescaled in training.
      * The dense layers keep PyTorch's default initialization.

    Source: dansuh17/alexnet-pytorch, model.py.
    """

    reference: ClassVar = Reference(
        "dansuh17/alexnet-pytorch", (227, 227, 3), 1000, "-"
    )
    author_initializer: ClassVar[str] = "ungrouped"
    author_scale: ClassVar[str] = "standard"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 227×227."""
        conv, dense, drop, pool = self.conv, self.dense, self.dropout(), max_pool
        norm = LocalResponseNorm("torch", k=2.0)
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4), relu, norm, pool],  # 27×27×96
            [conv("conv2", 256, 5, pad=2), relu, norm, pool],  # 13×13×256
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384
            [conv("conv4", 384, 3, pad=1), relu],  # 13×13×384
            [conv("conv5", 256, 3, pad=1), relu, pool],  # 6×6×256
            [flatten, drop, dense("fc6", 4096), relu],
            [drop, dense("fc7", 4096), relu],
            [dense("fc8", self.num_classes)],
        )
