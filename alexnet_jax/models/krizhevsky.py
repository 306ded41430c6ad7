"""Krizhevsky's own networks: the paper's text, the runs behind it, and their heir.

In the code behind the paper the last window of a convolution or a pool may hang over
the edge, where it sees zeros (`CEIL`, `max_pool_ceil`): so 224 pixels make 55×55 maps.
"""

from typing import ClassVar

from flax.linen import relu

from alexnet_jax.layers.conv import CEIL
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.normalization import MapNorm
from alexnet_jax.layers.pooling import max_pool_ceil
from alexnet_jax.models.ablations import Ablatable
from alexnet_jax.models.classifier import Reference

_IMAGENET = (224, 224, 3), 1000


class AlexNetPaper(Ablatable):
    """AlexNet as the text of the paper has it.

    Input: `(B, 224, 224, 3)`, 0 to 255 less the mean image. 60,965,224 parameters and
    724,406,816 multiply-adds an image.
    Published: 40.7 % top-1 and 18.2 % top-5 error on ImageNet 2012 (validation, ten
    views) for one network; of the runs that gave this, see `AlexNet2012`.

    Differences: none from the text. Where it leaves something open, the code behind it
    is followed: the last windows of conv1 hang over the edge, and normalization stays
    within a tower, as each lay on a GPU of its own.

    Source: Krizhevsky, Sutskever and Hinton 2012, §3 to §5.
    """

    reference: ClassVar = Reference(
        "Krizhevsky et al. 2012, text", *_IMAGENET, "ImageNet 59.3 / 81.8 (ten views)"
    )
    author_initializer: ClassVar[str] = "paper"
    author_scale: ClassVar[str] = "pixels"
    towers: ClassVar[int] = 2

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, pool = self.conv, self.dense, max_pool_ceil
        norm, drop = self.norm("paper"), self.dropout(mask=True)
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4, pad=CEIL), relu, norm, pool],  # 27×27×96
            [conv("conv2", 256, 5, pad=2, groups=2), relu, norm, pool],  # 13×13×256
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384, reads both towers
            [conv("conv4", 384, 3, pad=1, groups=2), relu],  # 13×13×384
            [conv("conv5", 256, 3, pad=1, groups=2), relu, pool],  # 6×6×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class AlexNet2012(Ablatable):
    """AlexNet as it was run: configuration 145 of the released code.

    Input: `(B, 224, 224, 3)`, 0 to 255 less the mean image. 60,965,224 parameters and
    724,406,816 multiply-adds an image.
    Published: 40.66 % top-1 and 18.21 % top-5 error on ImageNet 2012 (validation, ten
    views), logged in layer-params-145.cfg: the paper's "1 CNN".

    Differences:
      * Normalization divides alpha by its window's size: 2e-5, not 1e-4.
      * In layer 1, normalization and pooling come before ReLU.
      * In layer 2, a second normalization follows, over 5×5 units of the same map.
      * Kernels of conv3, conv4 and conv5 are drawn from N(0, 0.03), not N(0, 0.01).
      * Biases learn at twice the rate of weights and do not decay (`optim.name`
        'sgd_2012').

    Source: computerhistory/AlexNet-Source-Code, layers-145.cfg, layer-params-145.cfg.
    """

    reference: ClassVar = Reference(
        "cuda-convnet layers-145.cfg", *_IMAGENET, "ImageNet 59.34 / 81.79 (ten views)"
    )
    author_initializer: ClassVar[str] = "2012"
    author_scale: ClassVar[str] = "pixels"
    towers: ClassVar[int] = 2

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, pool = self.conv, self.dense, max_pool_ceil
        norm, map_norm, drop = self.norm("2012"), MapNorm(), self.dropout(mask=True)
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4, pad=CEIL), norm, pool, relu],  # 27×27×96
            [conv("conv2", 256, 5, pad=2, groups=2), relu],  # 27×27×256
            [norm, map_norm, pool],  # 13×13×256
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384, reads both towers
            [conv("conv4", 384, 3, pad=1, groups=2), relu],  # 13×13×384
            [conv("conv5", 256, 3, pad=1, groups=2), pool, relu],  # 6×6×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class AlexNet2012Conv6(Ablatable):
    """The 2012 network with a sixth convolution, for pre-training on all of ImageNet.

    Input: `(B, 224, 224, 3)`, 0 to 255 less the mean image. 61,555,304 parameters and
    745,640,480 multiply-adds an image.
    Published: 38.99 % top-1 and 16.62 % top-5 error on ImageNet 2012 (validation, ten
    views), pre-trained on the Fall 2011 release: the paper's "1 CNN*".

    Differences: those of `AlexNet2012`, and
      * conv6, 3×3 and reading both towers, after the last pool.

    Source: computerhistory/AlexNet-Source-Code, layers-146-2012-2011.cfg.
    """

    reference: ClassVar = Reference(
        "cuda-convnet layers-146-2012-2011.cfg",
        *_IMAGENET,
        "ImageNet 61.01 / 83.38 (pre-trained, ten views)",
    )
    author_initializer: ClassVar[str] = "2012"
    author_scale: ClassVar[str] = "pixels"
    towers: ClassVar[int] = 2

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, pool = self.conv, self.dense, max_pool_ceil
        norm, map_norm, drop = self.norm("2012"), MapNorm(), self.dropout(mask=True)
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4, pad=CEIL), norm, pool, relu],  # 27×27×96
            [conv("conv2", 256, 5, pad=2, groups=2), relu],  # 27×27×256
            [norm, map_norm, pool],  # 13×13×256
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384, reads both towers
            [conv("conv4", 384, 3, pad=1, groups=2), relu],  # 13×13×384
            [conv("conv5", 256, 3, pad=1, groups=2), pool, relu],  # 6×6×256
            [conv("conv6", 256, 3, pad=1), relu],  # 6×6×256, reads both towers
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class AlexNet2012OneGPU(Ablatable):
    """The 2012 network's control on one GPU: a single tower.

    Input: `(B, 224, 224, 3)`, 0 to 255 less the mean image. 59,798,312 parameters and
    391,514,384 multiply-adds an image.
    Published: 39.17 % top-1 and 18.23 % top-5 error on ImageNet 2010 (test, ten views),
    against 37.47 and 17.00 of two towers.

    Differences: those of `AlexNet2012`, and
      * One tower of half the maps, but conv5 has all 256, and the dense layers all
        4,096 units: "half" is true of the convolutions alone.

    Source: computerhistory/AlexNet-Source-Code, layers-145-half.cfg.
    """

    reference: ClassVar = Reference(
        "cuda-convnet layers-145-half.cfg",
        *_IMAGENET,
        "ImageNet 2010 60.83 / 81.77 (ten views)",
    )
    author_initializer: ClassVar[str] = "2012"
    author_scale: ClassVar[str] = "pixels"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, pool = self.conv, self.dense, max_pool_ceil
        norm, map_norm, drop = self.norm("2012"), MapNorm(), self.dropout(mask=True)
        self.net = self.sequential(
            [conv("conv1", 48, 11, stride=4, pad=CEIL), norm, pool, relu],  # 27×27×48
            [conv("conv2", 128, 5, pad=2), relu],  # 27×27×128
            [norm, map_norm, pool],  # 13×13×128
            [conv("conv3", 192, 3, pad=1), relu],  # 13×13×192
            [conv("conv4", 192, 3, pad=1), relu],  # 13×13×192
            [conv("conv5", 256, 3, pad=1), pool, relu],  # 6×6×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class AlexNetOneWeirdTrick(Ablatable):
    """Krizhevsky's network of 2014, for cuda-convnet2: one tower, fewer maps.

    Input: `(B, 224, 224, 3)`, 0 to 255 less the mean image. 61,100,840 parameters and
    714,188,480 multiply-adds an image.
    Published: 42.55 % top-1 and 19.81 % top-5 error on ImageNet 2012 (validation,
    center crop), 40.42 and 18.15 with ten views.

    Differences:
      * One tower of 64, 192, 384, 256 and 256 maps. The 2014 paper's footnote has 384
        in conv4; the released configuration, followed here, has 256.
      * Normalization divides alpha by its window's size; in layer 1 it and pooling come
        before ReLU.
      * Kernels of conv3, conv4 and conv5 from N(0, 0.03); fc8's biases start at -7.

    Source: akrizhevsky/cuda-convnet2, layers-imagenet-1gpu.cfg; Krizhevsky 2014, "One
    weird trick for parallelizing convolutional neural networks".
    """

    reference: ClassVar = Reference(
        "cuda-convnet2 layers-imagenet-1gpu.cfg",
        *_IMAGENET,
        "ImageNet 57.45 / 80.19",
    )
    author_initializer: ClassVar[str] = "one_weird_trick"
    author_scale: ClassVar[str] = "pixels"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, pool = self.conv, self.dense, max_pool_ceil
        norm, drop = self.norm("2012"), self.dropout(mask=True)
        self.net = self.sequential(
            [conv("conv1", 64, 11, stride=4, pad=CEIL), norm, pool, relu],  # 27×27×64
            [conv("conv2", 192, 5, pad=2), relu, norm, pool],  # 13×13×192
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384
            [conv("conv4", 256, 3, pad=1), relu],  # 13×13×256
            [conv("conv5", 256, 3, pad=1), pool, relu],  # 6×6×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )
