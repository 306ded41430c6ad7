"""Networks that are no chain, small enough for every test."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import relu
from jax import lax

from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.graph import Add, TakeTowers, add, concatenate
from alexnet_jax.layers.images import GaussianBlur, Subsample
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import Reference

BLUR = GaussianBlur(3, 1.0)


class Fork(AlexNetBase):
    """Images as they are and at half their resolution, added up; two towers."""

    reference = Reference("a test", (12, 12, 1), 7, "")
    towers: ClassVar[int] = 2

    def setup(self):
        conv, dense = self.conv, self.dense
        self.net = self.graph(
            ("small", "images", [BLUR, Subsample(2)]),  # 6×6
            ("conv1", "images", [conv("conv1", 8, 3, stride=2, pad=1), relu]),  # 6×6×8
            ("conv2a", "conv1", [conv("conv2a", 8, 3, pad=1, groups=2)]),
            ("conv2b", "small", [conv("conv2b", 8, 5, pad=2)]),
            ("conv2", ("conv2a", "conv2b", "conv1"), [Add((1.0, 0.5, -1.0)), relu]),
            ("conv3", "conv2", [conv("conv3", 8, 3, pad=1), relu]),
            ("conv4", ("conv3", "conv2"), [add]),
            ("fc6", "conv4", [flatten, dense("fc6", 16), relu]),
            ("fc8", "fc6", [dense("fc8", self.num_classes)]),
        )


class Joined(AlexNetBase):
    """Maps beside each other, some of them twice, and weights of each place."""

    reference = Reference("a test", (12, 12, 1), 7, "")

    def setup(self):
        conv, dense = self.conv, self.dense
        self.net = self.graph(
            ("conv1", "images", [conv("conv1", 8, 3, stride=2, pad=1), relu]),
            ("some", "conv1", [TakeTowers((3, 1), 4)]),
            ("local2", "some", [self.local("local2", 4, 3, pad=1), relu]),
            ("both", ("conv1", "local2"), [concatenate]),
            ("fc8", "both", [flatten, dense("fc8", self.num_classes)]),
        )


def convolve(x, layer, stride, pad, groups=1):
    """What a convolution layer's arrays make of maps, by XLA's convolution."""
    made = lax.conv_general_dilated(
        *(x, layer["kernel"], (stride, stride), ((pad, pad),) * 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return made + layer["bias"].reshape(1, 1, 1, -1)


def fork_by_hand(params: Mapping, x: jax.Array) -> dict[str, jax.Array]:
    """The outputs of the blocks of `Fork`, written out.

    Args:
      params: Its parameters.
      x: `(B, H, W, C) float32`.
    """
    side = x.shape[1]
    curve = np.exp(-0.5 * np.square(np.arange(-1.0, 2.0)))
    curve = (curve / curve.sum()).astype(np.float32)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blurred = sum(
        float(curve[i] * curve[j]) * padded[:, i : i + side, j : j + side]
        for i in range(3)
        for j in range(3)
    )
    small = blurred[:, 1::2, 1::2]
    conv1 = jnp.maximum(convolve(x, params["conv1"], 2, 1), 0)
    conv2a = convolve(conv1, params["conv2a"], 1, 1, groups=2)
    conv2b = convolve(small, params["conv2b"], 1, 2)
    conv2 = jnp.maximum(conv2a + 0.5 * conv2b - conv1, 0)
    conv3 = jnp.maximum(convolve(conv2, params["conv3"], 1, 1), 0)
    conv4 = conv3 + conv2
    units = conv4.reshape(len(x), -1)
    fc6, fc8 = params["fc6"], params["fc8"]
    units = jnp.maximum(units @ fc6["kernel"] + fc6["bias"][None], 0)
    logits = units @ fc8["kernel"] + fc8["bias"][None]
    made = {"small": small, "conv1": conv1, "conv2a": conv2a, "conv2b": conv2b}
    return made | {
        "conv2": conv2,
        "conv3": conv3,
        "conv4": conv4,
        "fc6": units,
        "fc8": logits,
    }
