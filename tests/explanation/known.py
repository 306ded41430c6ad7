"""Networks whose right explanation is known, as runs: weights set by hand."""

import flax.linen as nn
import numpy as np

from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import MODELS, Classifier
from alexnet_jax.models.classifier import Reference
from alexnet_jax.run.imported import new_run
from alexnet_jax.trained import load
from tests.exporting.runs import config_of, make_run, spec_of

SIDE = 12
REFERENCE = Reference("a test", (SIDE, SIDE, 1), 3, "")
# Rows and columns of the only places that count: the first for class 0, the second and,
# for half as much, the third for class 1.
FIRST = (slice(0, 4), slice(8, 12))
SECOND, THIRD = (slice(8, 12), slice(4, 8)), (slice(4, 8), slice(0, 4))
WEIGHTS = np.zeros((SIDE, SIDE, 3), np.float32)
WEIGHTS[(*FIRST, 0)] = WEIGHTS[(*SECOND, 1)] = 1.0
WEIGHTS[(*THIRD, 1)] = 0.5


class Watcher(Classifier):
    """Sees what is brighter than three quarters; weighs it by its place."""

    reference = REFERENCE

    def setup(self):
        conv = nn.Conv(2, (1, 1), name="conv1")
        dense = nn.Dense(self.num_classes, name="fc2")
        self.net = nn.Sequential([conv, nn.relu, flatten, dense])


class Linear(Classifier):
    """Has no convolution."""

    reference = REFERENCE

    def setup(self):
        dense = nn.Dense(self.num_classes, name="fc1")
        self.net = nn.Sequential([flatten, dense])


class Whole(Classifier):
    """A convolution with one window."""

    reference = REFERENCE

    def setup(self):
        conv = nn.Conv(4, (SIDE, SIDE), padding="VALID", name="conv1")
        dense = nn.Dense(self.num_classes, name="fc2")
        self.net = nn.Sequential([conv, nn.relu, flatten, dense])


class Smooth(Classifier):
    """A network with a derivative everywhere, and no `nn.Sequential`."""

    reference = REFERENCE

    def setup(self):
        self.conv = nn.Conv(4, (3, 3), strides=2, name="conv1")
        self.dense = nn.Dense(self.num_classes, name="fc2")
        self.net = lambda x: self.dense(flatten(nn.tanh(self.conv(x))))


def watcher(folder, patch, **changes):
    """Opens a run of `Watcher` whose classes 0 and 1 count `WEIGHTS`."""
    patch.setitem(MODELS, "watcher", Watcher)
    weights = np.stack([WEIGHTS, np.zeros_like(WEIGHTS)], axis=2)  # of two maps
    params = {
        "conv1": {
            "kernel": np.array([1.0, 0.0], np.float32).reshape(1, 1, 1, 2),
            "bias": np.array([-0.75, 0.0], np.float32),
        },
        "fc2": {
            "kernel": weights.reshape(-1, 3),
            "bias": np.array([0.0, 0.0, 0.5], np.float32),
        },
    }
    config = config_of("watcher", **{"model.num_classes": 3, **changes})
    spec = spec_of(config, (SIDE, SIDE, 1), streamed=False)
    with new_run(folder / "run", config, spec, params):
        pass
    return load(folder / "run")


def drawn(folder, patch, kind, **changes):
    """Opens a run of a network with random weights."""
    patch.setitem(MODELS, "mine", kind)
    make_run(
        folder / "run",
        "mine",
        (SIDE, SIDE, 1),
        streamed=False,
        **{"model.num_classes": 3, **changes},
    )
    return load(folder / "run")


def picture(*bright):
    """Noise that the watcher does not see, and places that it does."""
    draw = np.random.default_rng(3)
    image = draw.integers(0, 180, (SIDE, SIDE, 1), np.uint8)
    for place in bright:
        image[place] = 255
    return image
