"""The book's models: regressions, LeNet, AlexNet, the blocks of ResNet and ResNeXt."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from alexnet_jax import models
from alexnet_jax.d2l.base import HyperParameters
from alexnet_jax.d2l.classifier import Classifier
from alexnet_jax.d2l.module import Module
from alexnet_jax.errors import InputError
from alexnet_jax.layers.dense import flatten


class AlexNet(Classifier, models.AlexNet):  # type: ignore[misc]
    """`alexnet_jax.models.AlexNet` with d2l's hooks; the same layers and names."""


class LeNet(Classifier, models.LeNet):  # type: ignore[misc]
    """`alexnet_jax.models.LeNet` with d2l's hooks; the same layers and names."""


class SGD(HyperParameters):
    """Minibatch stochastic gradient descent, with the two methods that optax's have."""

    def __init__(self, lr: float) -> None:
        """Keeps the learning rate."""
        self.lr = lr

    def init(self, params: Any) -> optax.OptState:
        """Returns a state of nothing."""
        return optax.EmptyState()

    def update(
        self, updates: Any, state: optax.OptState, params: Any = None
    ) -> tuple[Any, optax.OptState]:
        """Returns the gradient times `-lr`."""
        return jax.tree.map(lambda grad: -self.lr * grad, updates), state


class LinearRegressionScratch(Module):
    """Linear regression with parameters `w (num_inputs, 1)` and `b (1,)`.

    Attributes:
      num_inputs: Features of an example.
      lr: Learning rate.
      sigma: Deviation of the first `w`.

    Source: d2l.ai §3.4.
    """

    num_inputs: int  # type: ignore[misc]
    lr: float  # type: ignore[misc]
    sigma: float = 0.01

    def setup(self) -> None:
        """Draws the parameters."""
        normal = nn.initializers.normal(self.sigma)
        self.w = self.param("w", normal, (self.num_inputs, 1))
        self.b = self.param("b", nn.initializers.zeros, (1,))

    def forward(self, X: jax.Array) -> jax.Array:
        """Maps `(B, num_inputs)` to `(B, 1)`."""
        return X @ self.w + self.b[None]

    def loss(self, params: Any, X: Any, y: Any, state: Any) -> jax.Array:
        """Returns half of the mean squared error, `()`."""
        found = state.apply_fn({"params": params}, *X)
        return ((found - _target(found, y)) ** 2 / 2).mean()

    def configure_optimizers(self) -> Any:
        """Returns `SGD` at rate `lr`."""
        return SGD(self.lr)


def _target(found: jax.Array, y: Any) -> jax.Array:
    """Returns the values to be found in the shape of those that are."""
    if jnp.size(y) != found.size:
        raise InputError(
            f"data: y must have shape {found.shape}, a value for each example, as a "
            f"linear regression gives; got {jnp.shape(y)}"
        )
    return jnp.reshape(y, found.shape)


class LinearRegression(Module):
    """Linear regression by a dense layer.

    Attributes:
      lr: Learning rate.

    Source: d2l.ai §3.5.
    """

    lr: float  # type: ignore[misc]

    def setup(self) -> None:
        """Lays out the layer."""
        self.net = nn.Dense(1, kernel_init=nn.initializers.normal(0.01))

    def loss(self, params: Any, X: Any, y: Any, state: Any) -> jax.Array:
        """Returns half of the mean squared error, `()`."""
        found = state.apply_fn({"params": params}, *X)
        return optax.l2_loss(found, _target(found, y)).mean()

    def get_w_b(self, state: Any) -> tuple[jax.Array, jax.Array]:
        """Returns the weights `(num_inputs, 1)` and the bias `(1,)`."""
        net = state.params["net"]
        return net["kernel"], net["bias"]


class SoftmaxRegression(Classifier):
    """A dense layer over flattened images.

    Attributes:
      num_outputs: Classes.
      lr: Learning rate.

    Source: d2l.ai §4.5.
    """

    num_outputs: int  # type: ignore[misc]
    lr: float

    @nn.compact
    def __call__(self, X: jax.Array) -> jax.Array:
        """Maps `(B, ...)` to logits `(B, num_outputs)`."""
        return nn.Dense(self.num_outputs)(flatten(X))


class Residual(nn.Module):
    """ResNet's block: two 3×3 convolutions, and what came in added to them.

    Attributes:
      num_channels: Maps that come out.
      use_1x1conv: Whether what is added passes a 1×1 convolution.
      strides: Of the first convolution, and of that.
      training: Whether BatchNorm takes the batch's statistics.

    Source: He et al. 2016; d2l.ai §8.6.
    """

    num_channels: int
    use_1x1conv: bool = False
    strides: tuple[int, int] = (1, 1)
    training: bool = True

    def setup(self) -> None:
        """Lays out the layers."""
        maps, strides = self.num_channels, self.strides
        self.conv1 = nn.Conv(maps, (3, 3), strides=strides, padding="SAME")
        self.conv2 = nn.Conv(maps, (3, 3), padding="SAME")
        shortcut = nn.Conv(maps, (1, 1), strides=strides) if self.use_1x1conv else None
        self.conv3 = shortcut
        self.bn1 = nn.BatchNorm(not self.training)
        self.bn2 = nn.BatchNorm(not self.training)

    def __call__(self, X: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, h, w, num_channels)`."""
        inner = self.bn2(self.conv2(nn.relu(self.bn1(self.conv1(X)))))
        return nn.relu(inner + (X if self.conv3 is None else self.conv3(X)))


class ResNeXtBlock(nn.Module):
    """ResNeXt's block: a grouped 3×3 convolution between two of 1×1.

    Attributes:
      num_channels: Maps that come out.
      groups: Maps of a group.
      bot_mul: Maps between the two, as a part of `num_channels`.
      use_1x1conv: Whether what is added passes a 1×1 convolution.
      strides: Of the grouped convolution, and of that.
      training: Whether BatchNorm takes the batch's statistics.

    Source: Xie et al. 2017; d2l.ai §8.6.5.
    """

    num_channels: int
    groups: int
    bot_mul: float
    use_1x1conv: bool = False
    strides: tuple[int, int] = (1, 1)
    training: bool = True

    def setup(self) -> None:
        """Lays out the layers."""
        maps, strides = self.num_channels, self.strides
        between = round(maps * self.bot_mul)
        self.conv1 = nn.Conv(between, (1, 1))
        self.conv2 = nn.Conv(
            *(between, (3, 3)),
            strides=strides,
            padding="SAME",
            feature_group_count=between // self.groups,
        )
        self.conv3 = nn.Conv(maps, (1, 1))
        self.bn1 = nn.BatchNorm(not self.training)
        self.bn2 = nn.BatchNorm(not self.training)
        self.bn3 = nn.BatchNorm(not self.training)
        if self.use_1x1conv:
            self.conv4 = nn.Conv(maps, (1, 1), strides=strides)
            self.bn4 = nn.BatchNorm(not self.training)

    def __call__(self, X: jax.Array) -> jax.Array:
        """Maps `(B, H, W, C)` to `(B, h, w, num_channels)`."""
        inner = nn.relu(self.bn1(self.conv1(X)))
        inner = nn.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        return nn.relu(inner + (self.bn4(self.conv4(X)) if self.use_1x1conv else X))
