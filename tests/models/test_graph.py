"""Networks that are no chain: their outputs, tables and mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.graph import blocks_of
from alexnet_jax.models.base import AlexNetBase
from alexnet_jax.models.classifier import layer_name
from tests.graphs import Fork, Joined, convolve, fork_by_hand
from tests.helpers import init_keys, noise, shapes_of

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

SHAPE = (2, 12, 12, 1)
FORK = Fork(num_classes=7, initializer="he", training=False)


@pytest.fixture(scope="module")
def fork():
    """Parameters of `FORK` with biases, and images."""
    image = noise(*SHAPE)
    params = jax.jit(FORK.init)(init_keys(), image)["params"]
    biases = {
        name: {**layer, "bias": noise(*layer["bias"].shape, seed=3)}
        for name, layer in params.items()
    }
    return biases, image


def last_layers(model):
    """Places of the blocks' last layers, by the blocks' names."""
    found, place = {}, -1
    for block in blocks_of(model.bind({}).net):
        place += len(block.layers)
        found[block.name] = place
    return found


@pytest.mark.heavy
def test_logits_and_layers_are_those_written_out(fork):
    params, image = fork
    wanted = fork_by_hand(params, image)
    logits = FORK.apply({"params": params}, image)
    np.testing.assert_allclose(logits, wanted["fc8"], rtol=1e-4, atol=1e-5)
    made = FORK.apply(
        {"params": params}, image, method=lambda net, x: [*net.layer_outputs(x)]
    )
    for name, place in last_layers(FORK).items():
        found = made[place][1]
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-5)
    names = [layer_name(layer) for layer, _ in made]
    assert names[:4] == ["GaussianBlur", "Subsample", "conv1", "relu"]


@pytest.mark.slow
def test_gradients_are_those_of_what_is_written_out(fork):
    params, image = fork
    weight = noise(2, 7, seed=5)
    got = jax.grad(lambda p: (weight * FORK.apply({"params": p}, image)).sum())(params)
    wanted = jax.grad(lambda p: (weight * fork_by_hand(p, image)["fc8"]).sum())(params)
    for name, layer in wanted.items():
        for key, leaf in layer.items():
            scale = np.abs(leaf).max()
            np.testing.assert_allclose(
                got[name][key] / scale, leaf / scale, atol=1e-5, err_msg=name
            )


@pytest.mark.heavy
def test_towers_taken_and_put_beside_each_other():
    model = Joined(num_classes=7, initializer="he")
    image = noise(*SHAPE)
    params = model.init(init_keys(), image)["params"]
    assert params["local2"]["kernel"].shape == (6, 6, 3 * 3 * 4, 4)
    maps = np.maximum(convolve(image, params["conv1"], 2, 1), 0)
    some = np.concatenate([maps[..., 6:8], maps[..., 2:4]], axis=-1)
    padded = np.pad(some, ((0, 0), (1, 1), (1, 1), (0, 0)))
    local = np.zeros((2, 6, 6, 4), np.float32)
    for i in range(6):
        for j in range(6):
            seen = padded[:, i : i + 3, j : j + 3].reshape(2, -1)
            local[:, i, j] = seen @ params["local2"]["kernel"][i, j]
    local = np.maximum(local + np.asarray(params["local2"]["bias"])[None], 0)
    both = np.concatenate([maps, local], axis=-1).reshape(2, -1)
    wanted = both @ params["fc8"]["kernel"] + params["fc8"]["bias"][None]
    found = model.apply({"params": params}, image)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_shift_reaches_every_block_that_reads_the_layer(fork):
    """conv2 is read by conv3 and by the sum after it."""
    params, image = fork
    place = last_layers(FORK)["conv2"]
    shift = noise(2, 6, 6, 8, seed=8)

    def outputs(net, x):
        return [y for _, y in net.layer_outputs(x, {place: shift})]

    made = FORK.apply({"params": params}, image, method=outputs)
    conv2 = fork_by_hand(params, image)["conv2"] + shift
    conv3 = np.maximum(convolve(conv2, params["conv3"], 1, 1), 0)
    np.testing.assert_allclose(made[place], conv2, rtol=1e-4, atol=1e-5)
    found = made[last_layers(FORK)["conv4"]]
    np.testing.assert_allclose(found, conv3 + conv2, rtol=1e-4, atol=1e-4)


@pytest.mark.heavy
def test_bfloat16(fork):
    params, image = jax.tree.map(lambda x: x.astype(jnp.bfloat16), fork)
    found = FORK.apply({"params": params}, image)
    assert found.dtype == jnp.bfloat16
    wanted = fork_by_hand(*fork)["fc8"]
    error = np.abs(found.astype(jnp.float32) - wanted).max()
    assert 0 < error < 0.05 * np.abs(wanted).max()


def test_the_summary_in_d2ls_lines(capsys):
    FORK.layer_summary(SHAPE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FORK.layer_shapes(SHAPE)) == 15
    assert lines[1:3] == [
        "Subsample output shape:\t (2, 6, 6, 1)",
        "Conv output shape:\t (2, 6, 6, 8)",
    ]
    assert lines[6] == "Add output shape:\t (2, 6, 6, 8)"
    assert lines[-1] == "Dense output shape:\t (2, 7)"


def test_the_layer_table():
    rows = describe(FORK, SHAPE)
    # What reads another than the row above says so; receptive fields are of the widest
    # way; the sum's unit of 1×1 costs nothing.
    found = [
        (row.name, row.settings, row.receptive_field, row.params, row.macs)
        for row in rows
    ]
    assert found[:10] == [
        ("blur", "3×3 σ 1", 3, 0, 0),
        ("subsample", "/2", 3, 0, 0),
        ("conv1", "3×3/2 pad 1 of images", 3, 80, 36 * 8 * 9),
        ("relu1", "", 3, 0, 0),
        ("conv2a", "3×3/1 pad 1 2 groups", 7, 296, 36 * 8 * 9 * 4),
        ("conv2b", "5×5/1 pad 2 of subsample", 11, 208, 36 * 8 * 25),
        ("add2", "× 1 × 0.5 × -1 of conv2a, conv2b, relu1", 11, 0, 0),
        ("relu2", "", 11, 0, 0),
        ("conv3", "3×3/1 pad 1", 15, 584, 36 * 8 * 9 * 8),
        ("relu3", "", 15, 0, 0),
    ]
    assert found[10] == ("add3", "of relu3, relu2", 15, 0, 0)
    assert [row.name for row in rows[11:]] == ["flatten", "fc6", "relu6", "fc8"]
    reads = {row.name: row.reads for row in rows}
    assert reads["blur"] == reads["conv1"] == ("images",)
    assert reads["add2"] == ("conv2a", "conv2b", "relu1")
    assert reads["conv3"] == ("relu2",) and reads["add3"] == ("relu3", "relu2")
    assert rows[-1].receptive_field == 15 + 5 * 2
    shapes = shapes_of(FORK, SHAPE)
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert sum(row.params for row in rows) == total


def test_the_table_of_maps_side_by_side():
    rows = {row.name: row for row in describe(Joined(), SHAPE)}
    assert rows["towers1"].settings == "3, 1 of 4"
    assert rows["concat2"].settings == "of relu1, relu2"
    assert rows["concat2"].output_shape == (2, 6, 6, 12)
    assert rows["local2"].macs == 36 * 9 * 4 * 4
    assert rows["concat2"].receptive_field == 7


def test_branches_of_other_strides_have_no_receptive_field():
    class Mixed(AlexNetBase):
        def setup(self):
            conv = self.conv
            self.net = self.graph(
                ("whole", "images", [conv("conv1", 4, 1)]),
                ("half", "images", [conv("conv2", 4, 1, stride=2, pad=2)]),
                ("both", ("whole", "half"), [lambda x: x[0] + x[1]]),
                ("fc3", "both", [self.dense("fc3", 10)]),
            )

    rows = describe(Mixed(), (1, 5, 5, 1))
    assert [row.receptive_field for row in rows] == [1, 1, None, None]


def test_width_leaves_the_classes():
    shapes = shapes_of(Fork(width=0.5, num_classes=7), SHAPE)
    made = {name: layer["kernel"].shape[-1] for name, layer in shapes.items()}
    wanted = dict.fromkeys(("conv1", "conv2a", "conv2b", "conv3"), 4)
    assert made == wanted | {"fc6": 8, "fc8": 7}


def test_width_leaves_classes_that_are_added_up():
    class Voters(AlexNetBase):
        def setup(self):
            flat = [lambda x: x.reshape(len(x), -1)]
            self.net = self.graph(
                ("flat", "images", flat),
                ("fc1", "flat", [self.dense("fc1", 16)]),
                ("one", "fc1", [self.dense("one", self.num_classes)]),
                ("other", "flat", [self.dense("other", self.num_classes)]),
                ("sum", ("one", "other"), [lambda x: x[0] + x[1]]),
            )

    shapes = shapes_of(Voters(width=0.5, num_classes=7), SHAPE)
    made = {name: layer["kernel"].shape[-1] for name, layer in shapes.items()}
    assert made == {"fc1": 8, "one": 7, "other": 7}


def test_width_out_of_range():
    with pytest.raises(InputError, match=r"model.width must be in \(0, 16\]; got 0"):
        Fork(width=0.0).layer_shapes(SHAPE)


def test_blocks_that_do_not_fit():
    class Unread(AlexNetBase):
        def setup(self):
            conv = self.conv
            self.net = self.graph(
                ("conv1", "images", [conv("conv1", 4, 3)]),
                ("conv2", "images", [conv("conv2", 4, 3)]),
            )

    line = "^block conv1: no block reads it; remove it"
    with pytest.raises(InputError, match=line):
        Unread().layer_shapes(SHAPE)


def test_images_too_small_for_a_branch():
    class Narrow(AlexNetBase):
        def setup(self):
            conv = self.conv
            self.net = self.graph(
                ("one", "images", [conv("conv1", 4, 1)]),
                ("other", "images", [conv("conv2", 4, 9, pad=1)]),
                ("both", ("one", "other"), [lambda x: x[0]]),
            )

    line = "image_size 6 is too small for Narrow: layer 2, conv2, has no output"
    for call in (
        lambda image: Narrow().layer_shapes(image.shape),
        lambda image: Narrow().init(init_keys(), image),
    ):
        with pytest.raises(InputError, match=line):
            call(noise(1, 6, 6, 1))


def test_a_layer_that_gives_several_arrays():
    class Pair(AlexNetBase):
        def setup(self):
            self.net = self.graph(("two", "images", [lambda x: (x, x)]))

    line = "Pair: layer 1, <lambda>, must return an array; got tuple"
    with pytest.raises(InputError, match=line):
        Pair().layer_shapes(SHAPE)
