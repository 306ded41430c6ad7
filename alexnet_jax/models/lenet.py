"""LeNet-5, where AlexNet came from."""

from functools import partial
from typing import ClassVar

import flax.linen as nn

from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.dense import Dense, flatten
from alexnet_jax.layers.pooling import avg_pool
from alexnet_jax.models.classifier import Classifier, Reference


class LeNet(Classifier):
    """LeNet-5 in d2l's form.

    Input: `(B, 28, 28, 1)` in [0, 1]. 61,706 parameters and 416,520 multiply-adds an
    image for 1 channel and 10 classes. Published: 0.7359 test accuracy on
    Fashion-MNIST after 10 epochs of SGD at 0.1.

    Differences (against LeCun et al. 1998):
      * Average pooling has no weights; conv2 reads all six maps.
      * A plain linear output instead of Gaussian connections.

    Source: d2l.ai §7.6 (JAX).
    """

    reference: ClassVar = Reference(
        "d2l.ai §7.6, JAX", (28, 28, 1), 10, "Fashion-MNIST 73.59"
    )

    author_initializer: ClassVar[str] = "xavier"

    def setup(self) -> None:
        """Lays out the layers; shapes are for `(B, 28, 28, 1)`."""
        conv = partial(Conv, initializer=self.scheme())
        dense = partial(Dense, initializer=self.scheme())
        self.net = nn.Sequential(
            [
                conv(6, (5, 5), name="conv1"),
                nn.sigmoid,  # (B, 28, 28, 6)
                avg_pool,  # (B, 14, 14, 6)
                conv(16, (5, 5), padding="VALID", name="conv2"),
                nn.sigmoid,  # (B, 10, 10, 16)
                avg_pool,  # (B, 5, 5, 16)
                flatten,  # (B, 400)
                dense(120, name="fc3"),
                nn.sigmoid,
                dense(84, name="fc4"),
                nn.sigmoid,
                dense(self.num_classes, name="fc5"),
            ]
        )
