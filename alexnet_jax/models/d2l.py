"""The AlexNets of the textbooks: d2l's, and the half-width one for small machines."""

from typing import ClassVar

import flax.linen as nn

from alexnet_jax.models.classifier import Classifier
from alexnet_jax.models.layers import flatten, max_pool


class AlexNet(Classifier):
    """Dive into Deep Learning's AlexNet: one tower, no response normalisation.

    Input: `(B, 224, 224, 1)` in [0, 1]; any channel count works. 46,764,746 parameters
    and 938,146,176 multiply-adds an image for 1 channel and 10 classes.
    Published: 0.8824 test accuracy on Fashion-MNIST after 10 epochs of SGD at 0.01.

    Differences:
      * One tower: conv2, conv4 and conv5 read all maps of the layer before.
      * No response normalisation after conv1 and conv2.
      * conv1 pads by 1: 54×54 maps, not 55×55, so fc6 reads 5×5×256, not 6×6×256.
      * LeCun-normal kernels and zero biases; the paper has N(0, 0.01) and ones.

    Attributes:
      dropout_rate: Share of fc6's and fc7's outputs dropped in training, in [0, 1).

    Source: d2l.ai §8.1 (JAX).
    """

    dropout_rate: float = 0.5

    def setup(self) -> None:
        """Lays out the layers; shapes are for `(B, 224, 224, 1)`."""
        rate, deterministic = self.dropout_rate, not self.training
        self.net = nn.Sequential(
            [
                nn.Conv(96, (11, 11), strides=4, padding=1, name="conv1"),
                nn.relu,  # (B, 54, 54, 96)
                max_pool,  # (B, 26, 26, 96)
                nn.Conv(256, (5, 5), name="conv2"),
                nn.relu,  # (B, 26, 26, 256)
                max_pool,  # (B, 12, 12, 256)
                nn.Conv(384, (3, 3), name="conv3"),
                nn.relu,  # (B, 12, 12, 384)
                nn.Conv(384, (3, 3), name="conv4"),
                nn.relu,  # (B, 12, 12, 384)
                nn.Conv(256, (3, 3), name="conv5"),
                nn.relu,  # (B, 12, 12, 256)
                max_pool,  # (B, 5, 5, 256)
                flatten,  # (B, 6400)
                nn.Dense(4096, name="fc6"),
                nn.relu,
                nn.Dropout(rate, deterministic=deterministic),
                nn.Dense(4096, name="fc7"),
                nn.relu,
                nn.Dropout(rate, deterministic=deterministic),
                nn.Dense(self.num_classes, name="fc8"),
            ]
        )


class AlexNetHalf(Classifier):
    """AlexNet with half the channels and half the dense units, for small machines.

    Input: `(B, 224, 224, C)` in [0, 1]. 16,630,440 parameters and 311,191,824
    multiply-adds an image for 3 channels and 1000 classes; 14,590,314 and 274,025,904
    for 1 channel and 10 classes. Published: about 0.90 on Fashion-MNIST.

    Differences:
      * Half of the paper's channels and units, in one tower; no normalisation.
      * conv1 pads by 2: the 55×55 grid starts two pixels outside the image.
      * PyTorch's default initialisation.

    Attributes:
      dropout_rate: Share of fc6's and fc7's outputs dropped in training, in [0, 1).

    Source: "From LeNet to AlexNet", a PyTorch tutorial of 2026.
    """

    dropout_rate: float = 0.5

    author_initializer: ClassVar[str] = "torch"

    def setup(self) -> None:
        """Lays out the layers; shapes are for `(B, 224, 224, C)`."""
        rate, deterministic = self.dropout_rate, not self.training
        self.net = nn.Sequential(
            [
                nn.Conv(48, (11, 11), strides=4, padding=2, name="conv1"),
                nn.relu,  # (B, 55, 55, 48)
                max_pool,  # (B, 27, 27, 48)
                nn.Conv(128, (5, 5), name="conv2"),
                nn.relu,  # (B, 27, 27, 128)
                max_pool,  # (B, 13, 13, 128)
                nn.Conv(192, (3, 3), name="conv3"),
                nn.relu,  # (B, 13, 13, 192)
                nn.Conv(192, (3, 3), name="conv4"),
                nn.relu,  # (B, 13, 13, 192)
                nn.Conv(128, (3, 3), name="conv5"),
                nn.relu,  # (B, 13, 13, 128)
                max_pool,  # (B, 6, 6, 128)
                flatten,  # (B, 4608)
                nn.Dense(2048, name="fc6"),
                nn.relu,
                nn.Dropout(rate, deterministic=deterministic),
                nn.Dense(2048, name="fc7"),
                nn.relu,
                nn.Dropout(rate, deterministic=deterministic),
                nn.Dense(self.num_classes, name="fc8"),
            ]
        )
