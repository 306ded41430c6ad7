"""Caffe's two AlexNets, for which most of the early weights were published."""

from typing import ClassVar

from flax.linen import relu

from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.pooling import max_pool_ceil
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference


class AlexNetCaffe(AlexNetBase):
    """Caffe's bvlc_alexnet.

    Input: `(B, 227, 227, 3)`, 0 to 255 less the mean image; its published weights take
    BGR. 60,965,224 parameters and 724,406,816 multiply-adds an image.
    Published: 57.1 % top-1 and 80.2 % top-5 accuracy on ImageNet 2012 (validation,
    center crop).

    Differences:
      * 227×227 crops of images warped to 256×256; at 227 conv1 pads nothing. At 224 it
        makes 54×54 maps, and pooling, which rounds up, 27×27 all the same.
      * Normalization divides alpha by its window's size, has k 1, and crosses the
        border between the towers.
      * fc6 and fc7 from N(0, 0.005); biases start at 0.1 where the paper has 1, with
        which the loss stayed flat.
      * Dropout is rescaled in training, not at test.

    Source: BVLC/caffe, models/bvlc_alexnet.
    """

    reference: ClassVar = Reference(
        "BVLC/caffe bvlc_alexnet", (227, 227, 3), 1000, "ImageNet 57.1 / 80.2"
    )
    author_initializer: ClassVar[str] = "caffe"
    author_scale: ClassVar[str] = "pixels"
    towers: ClassVar[int] = 2

    def setup(self) -> None:
        """Lays out the layers; shapes are for 227×227."""
        conv, dense, drop = self.conv, self.dense, self.dropout()
        norm, pool = self.norm("caffe", crosses=True), max_pool_ceil
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4), relu, norm, pool],  # 27×27×96
            [conv("conv2", 256, 5, pad=2, groups=2), relu, norm, pool],  # 13×13×256
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384, reads both towers
            [conv("conv4", 384, 3, pad=1, groups=2), relu],  # 13×13×384
            [conv("conv5", 256, 3, pad=1, groups=2), relu, pool],  # 6×6×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class CaffeNet(AlexNetBase):
    """Caffe's bvlc_reference_caffenet: pooling before normalization.

    Input: `(B, 227, 227, 3)`, 0 to 255 less the mean image; its published weights take
    BGR. 60,965,224 parameters and 724,406,816 multiply-adds an image.
    Published: 57.4 % top-1 and 80.4 % top-5 accuracy on ImageNet 2012 (validation,
    center crop).

    Differences: those of `AlexNetCaffe`, but
      * In layers 1 and 2 pooling comes before normalization, which saves three quarters
        of the latter's work.
      * Biases start at 1, as in the paper.

    Source: BVLC/caffe, models/bvlc_reference_caffenet.
    """

    reference: ClassVar = Reference(
        "BVLC/caffe bvlc_reference_caffenet",
        (227, 227, 3),
        1000,
        "ImageNet 57.4 / 80.4",
    )
    author_initializer: ClassVar[str] = "caffenet"
    author_scale: ClassVar[str] = "pixels"
    towers: ClassVar[int] = 2

    def setup(self) -> None:
        """Lays out the layers; shapes are for 227×227."""
        conv, dense, drop = self.conv, self.dense, self.dropout()
        norm, pool = self.norm("caffe", crosses=True), max_pool_ceil
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4), relu, pool, norm],  # 27×27×96
            [conv("conv2", 256, 5, pad=2, groups=2), relu, pool, norm],  # 13×13×256
            [conv("conv3", 384, 3, pad=1), relu],  # 13×13×384, reads both towers
            [conv("conv4", 384, 3, pad=1, groups=2), relu],  # 13×13×384
            [conv("conv5", 256, 3, pad=1, groups=2), relu, pool],  # 6×6×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )
