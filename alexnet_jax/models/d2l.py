"""The AlexNets of the textbooks: one tower, no normalization, images in [0, 1].

A table has a line a block: `conv(name, maps, kernel size, ...)`, `dense(name, units)`,
and functions. The comment is the shape of the block's output.
"""

from typing import ClassVar

from flax.linen import relu, softmax

from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.pooling import max_pool
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference


class AlexNet(AlexNetBase):
    """d2l.ai's AlexNet: one tower, no normalization.

    Input: `(B, 224, 224, 1)` in [0, 1]. 46,764,746 parameters and 938,146,176
    multiply-adds an image for 1 channel and 10 classes; 758 times LeNet-5's parameters.
    Published: 0.8824 test accuracy on Fashion-MNIST after 10 epochs of SGD at 0.01.

    Differences:
      * One tower: conv2, conv4 and conv5 read all maps of the layer before.
      * No response normalization after conv1 and conv2.
      * conv1 pads by 1: 54×54 maps, not 55×55, so fc6 reads 5×5×256, not 6×6×256.
      * LeCun-normal kernels and zero biases; the paper has N(0, 0.01) and ones.
      * Dropout is rescaled in training, not at test.

    Source: d2l.ai §8.1 (JAX).
    """

    reference: ClassVar = Reference(
        "d2l.ai §8.1, JAX", (224, 224, 1), 10, "Fashion-MNIST 88.24"
    )
    author_initializer: ClassVar[str] = "lecun"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, drop, pool = self.conv, self.dense, self.dropout(), max_pool
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4, pad=1), relu, pool],  # 26×26×96
            [conv("conv2", 256, 5, pad=2), relu, pool],  # 12×12×256
            [conv("conv3", 384, 3, pad=1), relu],  # 12×12×384
            [conv("conv4", 384, 3, pad=1), relu],  # 12×12×384
            [conv("conv5", 256, 3, pad=1), relu, pool],  # 5×5×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class AlexNetFashion(AlexNetBase):
    """A PyTorch tutorial's AlexNet for Fashion-MNIST: d2l's without padding in conv1.

    Input: `(B, 224, 224, 1)` in [0, 1]. 46,764,746 parameters and 938,146,176
    multiply-adds an image for 1 channel and 10 classes.
    Published: 0.9047 test accuracy on Fashion-MNIST after 10 epochs of SGD at 0.1,
    0.9135 at best.

    Differences:
      * One tower, no response normalization, dropout rescaled in training: as d2l.
      * conv1 pads nothing: 54×54 maps, 5×5×256 before fc6.
      * PyTorch's default initialization.

    Source: D. Zhou's blog, code at derekzhouai/derekzhou-ai-blog-code.
    """

    reference: ClassVar = Reference(
        "D. Zhou's blog, PyTorch", (224, 224, 1), 10, "Fashion-MNIST 90.47"
    )
    author_initializer: ClassVar[str] = "torch"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, drop, pool = self.conv, self.dense, self.dropout(), max_pool
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4), relu, pool],  # 26×26×96
            [conv("conv2", 256, 5, pad=2), relu, pool],  # 12×12×256
            [conv("conv3", 384, 3, pad=1), relu],  # 12×12×384
            [conv("conv4", 384, 3, pad=1), relu],  # 12×12×384
            [conv("conv5", 256, 3, pad=1), relu, pool],  # 5×5×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
        )


class AlexNetKeras(AlexNetBase):
    """A Keras lesson's AlexNet: d2l's without padding in conv1, with a softmax layer.

    Input: `(B, 224, 224, 3)`; the lesson does not say in what range, [0, 1] here.
    50,844,008 parameters and 1,009,945,728 multiply-adds an image for 1000 classes.
    Published: nothing.

    Differences:
      * One tower, no response normalization, dropout rescaled in training: as d2l.
      * conv1 pads nothing: 54×54 maps, 5×5×256 before fc6.
      * Glorot-uniform kernels and zero biases, as Keras has by default.
      * The lesson's model ends in a softmax; here that is `softmax=True`, since the
        loss takes logits.

    Attributes:
      softmax: Whether to return probabilities. For prediction, not for training.

    Source: Dataplexa, "DL Lesson 38", a Keras `Sequential`.
    """

    softmax: bool = False

    reference: ClassVar = Reference(
        "Dataplexa lesson 38, Keras", (224, 224, 3), 1000, "-"
    )
    author_initializer: ClassVar[str] = "xavier"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, drop, pool = self.conv, self.dense, self.dropout(), max_pool
        self.net = self.sequential(
            [conv("conv1", 96, 11, stride=4), relu, pool],  # 26×26×96
            [conv("conv2", 256, 5, pad=2), relu, pool],  # 12×12×256
            [conv("conv3", 384, 3, pad=1), relu],  # 12×12×384
            [conv("conv4", 384, 3, pad=1), relu],  # 12×12×384
            [conv("conv5", 256, 3, pad=1), relu, pool],  # 5×5×256
            [flatten, dense("fc6", 4096), relu, drop],
            [dense("fc7", 4096), relu, drop],
            [dense("fc8", self.num_classes)],
            [softmax] if self.softmax else [],
        )


class AlexNetHalf(AlexNetBase):
    """AlexNet with half the channels and half the dense units, for small machines.

    Input: `(B, 224, 224, C)` in [0, 1]. 16,630,440 parameters and 311,191,824
    multiply-adds an image for 3 channels and 1000 classes; 14,590,314 and 274,025,904
    for 1 channel and 10 classes. Published: about 0.90 on Fashion-MNIST.

    Differences:
      * Half of the paper's channels and units, in one tower; no normalization.
      * conv1 pads by 2: the 55×55 grid starts two pixels outside the image.
      * PyTorch's default initialization.
      * Dropout is rescaled in training, not at test.

    Source: "From LeNet to AlexNet", a PyTorch tutorial of 2026.
    """

    reference: ClassVar = Reference(
        "From LeNet to AlexNet, PyTorch", (224, 224, 3), 1000, "Fashion-MNIST about 90"
    )
    author_initializer: ClassVar[str] = "torch"

    def setup(self) -> None:
        """Lays out the layers; shapes are for 224×224."""
        conv, dense, drop, pool = self.conv, self.dense, self.dropout(), max_pool
        self.net = self.sequential(
            [conv("conv1", 48, 11, stride=4, pad=2), relu, pool],  # 27×27×48
            [conv("conv2", 128, 5, pad=2), relu, pool],  # 13×13×128
            [conv("conv3", 192, 3, pad=1), relu],  # 13×13×192
            [conv("conv4", 192, 3, pad=1), relu],  # 13×13×192
            [conv("conv5", 128, 3, pad=1), relu, pool],  # 6×6×128
            [flatten, dense("fc6", 2048), relu, drop],
            [dense("fc7", 2048), relu, drop],
            [dense("fc8", self.num_classes)],
        )
