"""A network on each of the two loops, and data that they refuse."""

import flax.linen as nn
import numpy as np
import optax
import pytest

from alexnet_jax import d2l
from alexnet_jax.errors import InputError


class Plain(d2l.Classifier):
    def setup(self):
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        self.net = nn.Sequential([flatten, nn.Dense(self.num_classes)])


class ByTheBook(Plain):
    """Goes through the book's loop."""

    def apply_init(self, dummy_input, key):
        return super().apply_init(dummy_input, key)


class NoStep:
    """An optimizer that is never to be asked: faults come before the first step."""

    def __new__(cls):
        def update(updates, state, params=None):
            raise AssertionError("a step was taken")

        return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


X = np.random.default_rng(0).random((6, 8, 8, 1), np.float32)
Y = np.arange(6)


def data_of(train, val=None):
    """Returns data whose loaders give these batches."""

    class Data:
        def train_dataloader(self):
            return train() if callable(train) else train

        def val_dataloader(self):
            good = [(X, Y)] if val is None else val
            return good() if callable(good) else good

    return Data()


def refusal(model, data):
    """Returns the line that the data are refused with; no step may be taken."""
    model.configure_optimizers = NoStep
    with pytest.raises(InputError) as caught:
        d2l.Trainer(max_epochs=1).fit(model, data)
    (line,) = str(caught.value).splitlines()
    return line


def changed(place, value):
    """Returns the labels with one changed."""
    labels = np.array(Y, np.float64 if isinstance(value, float) else np.int64)
    labels[place] = value
    return labels
