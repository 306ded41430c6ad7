"""Blocks that read each other, and the layers that put several together."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import relu
from jax.test_util import check_grads

from alexnet_jax.errors import InputError
from alexnet_jax.layers.graph import (
    IMAGES,
    Add,
    Block,
    TakeTowers,
    add,
    blocks_of,
    concatenate,
    create_graph,
    sources,
)
from tests.helpers import noise


def double(x):
    return 2 * x


def square(x):
    return x * x


FORK = [
    Block("stem", (IMAGES,), (double, square)),
    Block("left", ("stem",), (square,)),
    Block("right", ("stem",), (double, relu)),
    Block("both", ("left", "right", IMAGES), (add, double)),
]


class TestGraph:
    def test_blocks_read_each_other(self):
        x = np.float32([[-1, 0.5, 3]])
        stem = np.square(2 * x)
        wanted = 2 * (np.square(stem) + np.maximum(2 * stem, 0) + x)
        got = create_graph(FORK).apply({}, jnp.asarray(x))
        np.testing.assert_array_equal(got, wanted)

    def test_its_blocks_are_those_that_made_it(self):
        net = create_graph(FORK)
        assert blocks_of(net) == FORK
        assert list(net.layers) == [
            *(double, square),
            square,
            *(double, relu),
            *(add, double),
        ]

    def test_what_each_layer_reads(self):
        # stem is layers 0 and 1, left 2, right 3 and 4, both 5 and 6.
        wanted = [(-1,), (0,), (1,), (1,), (3,), (2, 4, -1), (5,)]
        assert [*sources(create_graph(FORK))] == wanted

    def test_a_chain_is_one_block(self):
        chain = nn.Sequential([double, square, relu])
        assert blocks_of(chain) == [Block("net", (IMAGES,), (double, square, relu))]
        assert [*sources(chain)] == [(-1,), (0,), (1,)]
        assert [*sources(nn.Sequential([]))] == []

    @pytest.mark.parametrize(
        ("blocks", "line"),
        [
            (
                [("a", (IMAGES,), (relu,)), ("a", ("a",), (relu,))],
                "block a: its name must be its own$",
            ),
            ([(IMAGES, (IMAGES,), (relu,))], "block images: its name must be its own$"),
            ([("a", (IMAGES,), ())], "block a: must have layers, and read something$"),
            ([("a", (), (relu,))], "block a: must have layers, and read something$"),
            (
                [("a", (IMAGES,), (relu,)), ("b", ("a", "c"), (add,))],
                "block b: must read a, images; got 'c'$",
            ),
            (
                [("a", ("b",), (relu,)), ("b", (IMAGES,), (relu,))],
                "block a: must read images; got 'b'$",
            ),
            (
                [("a", (IMAGES,), (relu,)), ("b", (IMAGES,), (relu,))],
                "block a: no block reads it; remove it$",
            ),
        ],
    )
    def test_blocks_that_do_not_fit(self, blocks, line):
        with pytest.raises(InputError, match=f"^{line}"):
            create_graph([Block(*one) for one in blocks])


def arrays(*shapes):
    return [noise(*shape, seed=seed) for seed, shape in enumerate(shapes)]


class TestAdd:
    @pytest.mark.heavy
    def test_it_is_the_sum(self):
        read = arrays(*[(2, 3, 4, 5)] * 3)
        wanted = np.zeros((2, 3, 4, 5), np.float32)
        for array in read:
            wanted += np.asarray(array)
        np.testing.assert_allclose(add(read), wanted, rtol=1e-6)

    def test_each_times_its_factor(self):
        one, other = arrays((2, 6), (2, 6))
        wanted = 0.5 * np.asarray(one) + -2 * np.asarray(other)
        np.testing.assert_allclose(Add((0.5, -2.0))((one, other)), wanted, rtol=1e-6)

    def test_one_array_is_scaled(self):
        (one,) = arrays((2, 6))
        np.testing.assert_array_equal(Add((3.0,))(one), 3 * np.asarray(one))

    def test_bfloat16_stays(self):
        read = [array.astype(jnp.bfloat16) for array in arrays((2, 6), (2, 6))]
        assert add(read).dtype == Add((0.1, 1.0))(read).dtype == jnp.bfloat16

    def test_gradients(self):
        read = arrays((2, 3), (2, 3))
        check_grads(lambda *read: add(read), read, order=1, modes=["rev"])
        forward = Add((0.5, -2.0))
        check_grads(lambda *read: forward(read), read, order=1, modes=["rev"])
        weight = noise(2, 3, seed=9)
        got = jax.grad(lambda read: (weight * forward(read)).sum())(read)
        np.testing.assert_allclose(got[0], 0.5 * np.asarray(weight), rtol=1e-6)
        np.testing.assert_allclose(got[1], -2 * np.asarray(weight), rtol=1e-6)

    @pytest.mark.heavy
    @pytest.mark.parametrize("layer", [add, Add((1.0, 1.0))])
    def test_other_shapes(self, layer):
        line = r"^add: inputs must have the same size; got 4×4×3 and 5×4×3; other"
        with pytest.raises(InputError, match=line):
            layer(arrays((2, 5, 4, 3), (2, 4, 4, 3)))

    def test_other_numbers_of_factors(self):
        line = r"^factors must be 1, one for each array; got \(1.0, 2.0\)$"
        with pytest.raises(InputError, match=line):
            Add((1.0, 2.0))(noise(2, 6))


class TestConcatenate:
    def test_channels_lie_side_by_side(self):
        one, other = arrays((2, 3, 4, 5), (2, 3, 4, 2))
        got = concatenate((one, other))
        assert got.shape == (2, 3, 4, 7)
        for channel in range(7):
            place = (one, channel) if channel < 5 else (other, channel - 5)
            np.testing.assert_array_equal(got[..., channel], place[0][..., place[1]])

    @pytest.mark.heavy
    def test_gradients(self):
        one, other = arrays((2, 5), (2, 2))
        check_grads(
            lambda *read: square(concatenate(read)),
            (one, other),
            order=1,
            modes=["rev"],
            rtol=1e-2,
        )

    def test_other_sizes(self):
        line = r"^concatenate: inputs must have the same size; got 3×4×1 and 4×4×1; "
        with pytest.raises(InputError, match=line):
            concatenate(arrays((2, 3, 4, 5), (2, 4, 4, 5)))


class TestTakeTowers:
    @pytest.mark.parametrize("places", [(0,), (2,), (0, 2), (2, 1), (1, 1)])
    def test_maps_of_the_towers_named(self, places):
        x = noise(2, 3, 3, 6)
        wanted = [np.asarray(x)[..., 2 * at + i] for at in places for i in range(2)]
        got = TakeTowers(places, 3)(x)
        np.testing.assert_array_equal(got, np.stack(wanted, axis=-1))

    def test_a_map_taken_twice_has_both_gradients(self):
        weight = noise(1, 6, seed=3)
        layer = TakeTowers((1, 0, 1), 3)
        got = jax.grad(lambda x: (weight * layer(x)).sum())(noise(1, 6))
        first, second, third = np.split(np.asarray(weight), 3, axis=-1)
        wanted = np.concatenate([second, first + third, 0 * first], axis=-1)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)

    @pytest.mark.parametrize("places", [(), (2,), (-1, 0)])
    def test_places_that_are_no_towers(self, places):
        line = r"^places must be of the 2 towers, 0 to 1; got \("
        with pytest.raises(InputError, match=line):
            TakeTowers(places, 2)

    def test_towers_that_do_not_divide(self):
        line = "^towers must divide the channels, 5; got 2$"
        with pytest.raises(InputError, match=line):
            TakeTowers((0,), 2)(noise(1, 5))
