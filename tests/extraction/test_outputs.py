"""Names of layers, how they are chosen, and the stream of their outputs."""

import functools
from pathlib import Path

import flax.linen as nn
import numpy as np
import pytest

from alexnet_jax.data.pictures import Picture
from alexnet_jax.errors import InputError
from alexnet_jax.extraction.outputs import choose_layers, default_layer
from alexnet_jax.extraction.stream import stream
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import MODELS, Classifier, create_model, list_models
from tests.helpers import UserNet


class Nested(Classifier):
    """Blocks of the same content, one of them and one layer twice."""

    def setup(self):
        def block():
            return nn.Sequential([nn.Conv(4, (3, 3)), nn.relu])

        again, shared = block(), nn.Dense(8)
        self.net = nn.Sequential(
            [block(), block(), again, again, nn.relu, nn.relu, flatten]
            + [nn.Dense(8), shared, nn.relu, shared, nn.Dense(self.num_classes)]
        )


class Misnamed(Classifier):
    """A layer with weights that is named as one without, which comes before it."""

    def setup(self):
        self.relu1, self.conv1 = nn.Dense(8), nn.Conv(4, (3, 3))
        self.net = nn.Sequential([self.conv1, nn.relu, flatten, self.relu1, nn.relu])


class Linear(Classifier):
    def setup(self):
        self.net = nn.Sequential([flatten, nn.Dense(self.num_classes)])


class Single(Classifier):
    def setup(self):
        self.net = nn.Sequential([nn.Dense(self.num_classes)])


@functools.cache
def rows_of(name):
    own = {one.__name__: one for one in (Nested, Misnamed, UserNet, Linear, Single)}
    if name in own:
        return describe(own[name](), (1, 16, 16, 1))
    return describe(
        create_model(name, num_classes=10, training=True),
        (1, *MODELS[name].reference.input_shape),
    )


@pytest.mark.parametrize("name", [*list_models(), "Nested", "Misnamed", "UserNet"])
def test_every_layer_has_a_name_of_its_own(name):
    names = [row.name for row in rows_of(name)]
    assert len({*names}) == len(names)


@pytest.mark.parametrize("name", [*list_models(), "Linear", "Single", "UserNet"])
def test_the_default_is_what_the_last_layer_takes(name):
    own = {"Linear": "flatten", "Single": "layers_0", "UserNet": "flatten"}
    wanted = {"lenet5": "sigmoid4"} | own
    assert default_layer(rows_of(name)) == wanted.get(name, "relu7")


def test_layers_are_chosen_in_the_networks_order():
    names = ["conv1", "relu1", "conv2", "fc6", "relu6", "relu6b"]
    assert choose_layers(names, "fc6, conv1") == ["conv1", "fc6"]
    assert choose_layers(names, ["relu6", "conv*"]) == ["conv1", "conv2", "relu6"]
    assert choose_layers(names, ("conv[12]", "conv1")) == ["conv1", "conv2"]
    assert choose_layers(names, "fc6,conv[1,2]") == ["conv1", "conv2", "fc6"]
    assert choose_layers(names, "*") == names
    with pytest.raises(
        InputError, match="^layers: no layer is named 'cnov1'; the near"
    ):
        choose_layers(names, "conv2,cnov1")


def test_the_stream_waits_for_nobody():
    """It fills each batch, and holds two of them, however many pictures come."""
    asked, computed = 0, []

    def pictures():
        nonlocal asked
        for i in range(1000):
            asked += 1
            image = np.full((2, 2, 1), i % 256, np.uint8)
            bad = i % 10 == 3 or 40 <= i < 60
            yield (
                Path(str(i)),
                InputError(f"{i} is broken")
                if bad
                else Picture(image, ("odd",) if i == 7 else ()),
            )

    def compute(images):
        computed.append(images.shape)
        return {"sum": images.astype(np.float32).sum(axis=(1, 2, 3))}

    paths, values, errors, notes = [], [], [], []
    for count, part in enumerate(stream(pictures(), compute, 16), 1):
        assert asked <= 16 * (count + 1) and part.seen == (16 if count < 63 else 8)
        paths += part.paths
        values += [*part.layers.get("sum", ())]
        errors += part.errors
        notes += part.notes
    good = [i for i in range(1000) if i % 10 != 3 and not 40 <= i < 60]
    assert [int(str(path)) for path in paths] == good
    assert values == [4 * (i % 256) for i in good]
    assert len(errors) == 1000 - len(good) and notes == ["odd"]
    assert {*computed} == {(16, 2, 2, 1)}
