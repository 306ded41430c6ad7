"""A network as a list of operations; users' networks too."""

import math

import flax.linen as nn
import jax
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.exporting import kinds
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.contrast import MapContrastNorm
from alexnet_jax.layers.conv import Conv, ceil_pad
from alexnet_jax.layers.dense import TowerDense, flatten
from alexnet_jax.layers.images import GaussianBlur, Subsample, mirror
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.layers.normalization import LocalResponseNorm, MapNorm
from alexnet_jax.layers.pooling import CeilPool
from alexnet_jax.models import MODELS, create_model
from tests.exporting.cases import WIDTH, Net, random_variables


def operations_of(model, shape):
    variables = random_variables(model, shape)
    return list_operations(model, variables, shape), variables


def by_name(operations):
    return {operation.name: operation for operation in operations}


@pytest.mark.parametrize("name", MODELS)
def test_every_registered_network_is_listed(name):
    fields = {"width": WIDTH} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, training=True, num_classes=7, **fields)
    shape = MODELS[name].reference.input_shape
    operations, variables = operations_of(model, shape)
    rows = describe(model, (1, *shape))
    assert [operation.name for operation in operations] == [row.name for row in rows]
    before = (shape[2], *shape[:2])
    for operation, row in zip(operations, rows, strict=True):
        assert operation.input_shape == before
        before = operation.output_shape
        last = row.output_shape[-1]
        assert before == (last, *row.output_shape[1:-1])
    assert before == (7,)
    sizes = [
        array.size
        for operation in operations
        for array in (getattr(operation, part, None) for part in ("weight", "bias"))
        if array is not None
    ]
    assert sum(sizes) == sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_arrays_are_channels_first():
    shape = (99, 99, 3)
    operations, variables = operations_of(
        create_model("alexnet_paper", num_classes=10, training=True, width=WIDTH), shape
    )
    params, found = variables["params"], by_name(operations)
    kernel, weight = params["conv2"]["kernel"], found["conv2"].weight
    assert weight[5, 2, 1, 4] == kernel[1, 4, 2, 5]
    channels, height, width = found["flatten"].input_shape
    assert (channels, height, width) == (16, 2, 2)
    row = (1 * width + 0) * channels + 3  # of the kernel: y 1, x 0, channel 3
    column = (3 * height + 1) * width + 0
    assert found["fc6"].weight[9, column] == params["fc6"]["kernel"][row, 9]
    np.testing.assert_array_equal(found["fc7"].weight, params["fc7"]["kernel"].T)


def test_windows_that_hang_over_the_edge_are_said_in_numbers():
    operations, _ = operations_of(
        create_model("alexnet_2012", num_classes=10, training=True, width=WIDTH),
        (224, 230, 3),
    )
    found = by_name(operations)
    assert found["conv1"].pads == ((0, 3), (0, 1))
    assert found["conv1"].rounds_up
    assert found["pool1"].overhang == (0, 1)


def test_a_tower_is_exported_as_the_whole_network():
    model = create_model("alexnet_paper", num_classes=10, training=True, width=WIDTH)
    variables = random_variables(model, (99, 99, 3))
    local = model.clone(tower_axis="model", batch_axis="data", training=True)
    found = list_operations(local, variables, (99, 99, 3))
    assert found[-1].output_shape == (10,)


def test_cut_links_are_convolutions_in_groups_of_the_whole_map():
    model = create_model(
        "alexnet_paper", num_classes=10, training=True, width=WIDTH, links=False
    )
    operations, variables = operations_of(model, (99, 99, 3))
    found = by_name(operations)
    kernel = variables["params"]["fc6"]["kernel"]
    assert found["fc6"].weight.shape == (kernel.shape[1], 8, 2, 2)
    assert found["fc6"].weight[4, 3, 1, 0] == kernel[(1 * 2 + 0) * 8 + 3, 4]
    assert found["fc6"].groups == found["fc7"].groups == 2
    flattened = [one for one in operations if isinstance(one, kinds.Flatten)]
    assert [one.output_shape for one in flattened] == [(256,)]


class Gelu(nn.Module):
    def __call__(self, x):
        return nn.gelu(x)


class Mine(Conv):
    def __call__(self, x):
        return 2 * super().__call__(x)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (lambda: [lambda x: nn.relu(x)], "<lambda>, .*: other tools have no"),
        (lambda: [nn.gelu], "gelu"),
        (lambda: [Gelu()], "Gelu"),
        (lambda: [Mine(4, (3, 3), name="conv1")], "conv1, Mine"),
        (lambda: [nn.LayerNorm()], "LayerNorm"),
        (lambda: [nn.Conv(4, (3, 3), padding="CIRCULAR")], "pad with zeros"),
        (lambda: [nn.Conv(4, (3, 3), padding=-1)], "not be negative"),
        (lambda: [nn.Conv(4, (3, 3), 1, 1, input_dilation=2)], "input_dilation"),
        (lambda: [nn.Conv(4, (3,))], "must have a height and a width"),
        (lambda: [nn.BatchNorm(False)], "batch's statistics in tests"),
        (lambda: [nn.BatchNorm(True, axis=1)], "axis must be the channels'"),
        (lambda: [MapNorm(4)], "size must be odd"),
        (lambda: [MapNorm(k=2.0)], "k must be 1; got 2"),
        (lambda: [MapContrastNorm(3, 1.0, 0.75)], "MapContrastNorm, .*: other tools"),
        (lambda: [CeilPool("max", 3, 2, -1)], "pool, CeilPool, .* start must be 0; .*"),
        (lambda: [LocallyConnected(4, 3)], "LocallyConnected, .*: other tools have no"),
        (lambda: [PlaceBias()], "PlaceBias, .*: other tools have no"),
        (lambda: [RandomChannels(2)], "RandomChannels, .*: other tools have no"),
        (lambda: [GaussianBlur(3, 1.0)], "blur, GaussianBlur, .*: other tools have no"),
        (lambda: [Subsample(2)], "subsample, Subsample, .*: other tools have no"),
        (lambda: [mirror], "mirror, mirror, .*: other tools have no"),
        (lambda: [flatten, LocalResponseNorm("paper")], "must read maps"),
        (lambda: [flatten, TowerDense(10, 2)], "units of another TowerDense"),
        (lambda: [flatten, nn.Dropout(0.5, (1,), True)], "broadcast_dims"),
        (lambda: [flatten, nn.Dense(10, name="a.b")], "letters, digits and underscor"),
    ],
)
def test_a_layer_that_is_not_known_is_named_in_a_line(layers, words):
    model = Net(make=lambda: [*layers(), flatten, nn.Dense(10)])
    with pytest.raises(InputError, match=words) as error:
        operations_of(model, (8, 8, 4))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layers", [lambda: [flatten], lambda: [nn.Conv(10, (3, 3))], list]
)
def test_a_network_ends_in_logits(layers):
    with pytest.raises(InputError, match="must end in a dense layer"):
        operations_of(Net(make=layers), (8, 8, 4))


def test_a_layer_may_not_stand_in_two_places():
    def layers():
        shared = nn.Dense(10, name="shared")
        return [flatten, shared, nn.relu, shared]

    with pytest.raises(InputError, match="shared, Dense, .* twice"):
        operations_of(Net(make=layers), (1, 2, 5))


def test_layers_without_weights_have_names_of_their_own():
    net = Net(make=lambda: [nn.relu] * 30 + [flatten, nn.Dense(10)])
    operations, _ = operations_of(net, (2, 2, 1))
    names = [operation.name for operation in operations]
    assert names[:4] == ["relu", "relub", "reluc", "relud"]
    assert len({*names}) == 32


def test_images_that_are_too_small_are_an_error():
    model = create_model("alexnet_d2l", num_classes=10, training=True, width=WIDTH)
    variables = random_variables(model, (224, 224, 1))
    with pytest.raises(InputError, match="image_size 20 is too small"):
        list_operations(model, variables, (20, 20, 1))


def test_nothing_is_computed_and_large_arrays_are_not_copied():
    model = create_model("alexnet_d2l", num_classes=10, training=True, width=WIDTH)
    variables = random_variables(model, (224, 224, 1))
    found = by_name(list_operations(model, variables, (224, 224, 1)))
    for layer in ("conv3", "fc7"):
        kernel = variables["params"][layer]["kernel"]
        assert np.shares_memory(found[layer].weight, kernel)
    assert math.prod(found["fc6"].weight.shape) > 0


def test_zeros_before_and_windows_that_hang_over():
    def layers():
        conv = Conv(4, (3, 3), strides=2, padding=ceil_pad(1), name="conv1")
        return [conv, CeilPool("avg", 4, 3), flatten, nn.Dense(10)]

    found = by_name(operations_of(Net(make=layers), (10, 9, 3))[0])
    assert found["conv1"].pads == ((1, 2), (1, 1)) and found["conv1"].rounds_up
    pool = found["pool1"]
    assert (pool.average, pool.size, pool.stride) == (True, 4, 3)
    assert pool.overhang == (1, 2) and pool.rounds_up
    assert pool.output_shape == (4, 2, 2)
