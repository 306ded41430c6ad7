"""Caffe's two AlexNets, for which most of the early weights were published."""

from typing import ClassVar

import flax.linen as nn

from alexnet_jax.layers.pooling import max_pool_ceil
from alexnet_jax.models.base import Reference
from alexnet_jax.models.variant import Variant


class AlexNetCaffe(Variant):
    """Caffe's bvlc_alexnet.

    Input: `(B, 227, 227, 3)`, 0 to 255 less the mean image; its published weights take
    BGR. 60,965,224 parameters and 724,406,816 multiply-adds an image.
    Published: 57.1 % top-1 and 80.2 % top-5 accuracy on ImageNet 2012 (validation,
    centre crop).

    Differences:
      * 227×227 crops of images warped to 256×256; at 227 conv1 pads nothing. At 224 it
        makes 54×54 maps, and pooling, which rounds up, 27×27 all the same.
      * Normalisation divides alpha by its window's size, has k 1, and crosses the
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
    pools_first: ClassVar[bool] = False

    def setup(self) -> None:
        """Lays out the layers; shapes are for 227×227."""
        conv, act, pool = self.conv, nn.relu, max_pool_ceil
        tail = [self.norm("caffe", crosses=True), pool]
        if self.pools_first:
            tail.reverse()
        self.net = self.stack(
            [conv("conv1", 96, 11, 4), act, *tail],  # 27×27×96
            [conv("conv2", 256, 5, pad=2, groups=2), act, *tail],  # 13×13×256
            [*self.read_both("conv3"), conv("conv3", 384, 3, pad=1), act],  # 13×13×384
            [conv("conv4", 384, 3, pad=1, groups=2), act],  # 13×13×384
            [conv("conv5", 256, 3, pad=1, groups=2), act, pool],  # 6×6×256
            self.head(),
        )


class CaffeNet(AlexNetCaffe):
    """Caffe's bvlc_reference_caffenet: pooling before normalisation.

    Input: `(B, 227, 227, 3)`, 0 to 255 less the mean image; its published weights take
    BGR. 60,965,224 parameters and 724,406,816 multiply-adds an image.
    Published: 57.4 % top-1 and 80.4 % top-5 accuracy on ImageNet 2012 (validation,
    centre crop).

    Differences: those of `AlexNetCaffe`, but
      * In layers 1 and 2 pooling comes before normalisation, which saves three quarters
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

    pools_first: ClassVar[bool] = True
