"""The layer table: receptive fields, multiply-adds, users' own networks."""

import re
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import pytest

from alexnet_jax.inspection.layers import describe
from alexnet_jax.inspection.tables import summarize
from alexnet_jax.layers.channels import RandomChannels
from alexnet_jax.layers.contrast import MapContrastNorm
from alexnet_jax.layers.conv import CEIL, Conv, ceil_pad
from alexnet_jax.layers.dense import flatten
from alexnet_jax.layers.images import GaussianBlur, Subsample, mirror
from alexnet_jax.layers.local import LocallyConnected, PlaceBias
from alexnet_jax.layers.normalization import MapNorm
from alexnet_jax.layers.pooling import CeilPool
from alexnet_jax.models import Classifier, create_model
from tests.helpers import UserNet

DOCS = Path(__file__).parents[2] / "docs"


def test_receptive_fields():
    """1 + Σ (kernel - 1) · jump: known by hand for the paper and LeNet-5."""

    def fields(name):
        layers = summarize(name).layers
        return [row.receptive_field for row in layers if row.kind in ("conv", "dense")]

    assert fields("alexnet_paper") == [11, 51, 99, 131, 163, 355, 355, 355]
    assert fields("lenet5") == [5, 14, 32, 32, 32]
    # The 5×5 normalization of its own map adds four units of two strides' jump.
    assert fields("alexnet_2012")[2] == 99 + 4 * 8


def test_a_users_own_network():
    rows = describe(UserNet(), (1, 28, 28, 1))
    shapes = jax.eval_shape(
        lambda: UserNet().init(
            {"params": jax.random.key(0), "dropout": jax.random.key(0)},
            jax.numpy.zeros((1, 28, 28, 1), "float32"),
        )
    )["params"]
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert sum(row.params for row in rows) == total
    # A lambda that keeps the size is taken to act pointwise.
    assert rows[-1].receptive_field == 3 + 13 * 2


class OddNet(Classifier):
    def setup(self):
        self.net = nn.Sequential(
            [
                nn.Conv(8, (3, 5), strides=(1, 2), padding=[(1, 1), (2, 2)]),
                nn.Conv(8, (3, 3), kernel_dilation=(2, 3)),
                nn.Conv(4, (3, 3), kernel_dilation=2, padding="VALID"),
                nn.Dense(16),
                flatten,
                nn.Dense(10),
            ]
        )


def test_windows_of_other_forms_and_dense_layers_of_maps():
    rows = describe(OddNet(), (1, 28, 28, 1))
    assert [row.settings for row in rows[:3]] == [
        "3×5/1×2 pad ((1, 1), (2, 2))",
        "3×3/1 dilated 2×3 pad 2×3",
        "3×3/1 dilated 2",
    ]
    assert [row.receptive_field for row in rows[:3]] == [5, 5 + 6 * 2, 17 + 4 * 2]
    places = 24 * 10
    assert [row.macs for row in rows] == [
        28 * 14 * 8 * 15,
        28 * 14 * 8 * 9 * 8,
        places * 4 * 9 * 8,
        places * 4 * 16,
        0,
        places * 16 * 10,
    ]


class PoolNet(Classifier):
    def setup(self):
        pool = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
        self.net = nn.Sequential([lambda x: pool(x), flatten, nn.Dense(10)])


def test_the_receptive_field_of_a_users_pool_is_not_guessed():
    rows = describe(PoolNet(), (1, 8, 8, 1))
    assert [row.receptive_field for row in rows] == [None, None, None]
    assert rows[-1].params == 170


def test_it_allocates_no_weights():
    before = sum(array.nbytes for array in jax.live_arrays())
    rows = describe(
        create_model("alexnet_paper", num_classes=10, training=True), (1, 224, 224, 3)
    )
    assert any(row.kind == flatten.__name__ for row in rows)
    after = sum(array.nbytes for array in jax.live_arrays())
    assert after - before < 1_000_000


class ConvNet(Classifier):
    """Convolutions: maps, kernel, stride, padding and groups of each."""

    convolutions: tuple[tuple[int, int, int, int, int], ...] = ()

    def setup(self):
        self.net = nn.Sequential(
            [
                nn.Conv(maps, (size, size), stride, pad, feature_group_count=groups)
                for maps, size, stride, pad, groups in self.convolutions
            ]
        )


IMAGE, POOLED = (227, 227, 3), (27, 27, 96)


@pytest.mark.parametrize(
    ("shape", "convolutions"),
    [
        (IMAGE, [(96, 11, 4, 0, 1)]),
        (IMAGE, [(96, 3, stride, 0, 1) for stride in (2, 1, 2)]),
        (IMAGE, [(96, 3, stride, 0, 1) for stride in (1, 1, 1, 1, 4)]),
        (POOLED, [(256, 5, 1, 2, 2)]),
        (POOLED, [(96, 3, 1, 1, 2), (256, 3, 1, 1, 2)]),
        (POOLED, [(256, 3, 1, 1, 2), (256, 3, 1, 1, 2)]),
    ],
)
def test_the_docs_table_of_large_and_small_kernels(shape, convolutions):
    """docs/alexnets.md compares conv1 and conv2 with stacks of 3×3 kernels."""
    rows = describe(ConvNet(convolutions=tuple(convolutions)), (1, *shape))
    kernels = ", ".join(
        f"{size}×{size}" + f"/{stride}" * (stride > 1)
        for _, size, stride, _, _ in convolutions
    )
    maps = " → ".join(str(n) for n in (shape[-1], *(one[0] for one in convolutions)))
    cells = [
        *(kernels, maps, "×".join(map(str, rows[-1].output_shape[1:]))),
        str(rows[-1].receptive_field),
        f"{sum(row.params for row in rows):,}",
        f"{sum(row.macs for row in rows):,}",
        f"{sum(row.activation_bytes for row in rows) / 1e6:.2f}",
    ]
    text = re.sub(" +", " ", (DOCS / "alexnets.md").read_text())
    assert f"| {' | '.join(cells)} |\n" in text


class ManyKinds(Classifier):
    def setup(self):
        self.net = nn.Sequential(
            [
                GaussianBlur(5, 1.5),
                Subsample(2),
                mirror,
                Conv(8, (5, 5), 2, padding=ceil_pad(2), use_bias=False, name="conv1"),
                PlaceBias(name="bias1"),
                CeilPool("avg", 3, 1, -1),
                CeilPool("max", 4, 3),
                MapContrastNorm(3, 0.5, 0.75),
                MapNorm(3, 1.0, 0.75, k=2.0),
                RandomChannels(2),
                LocallyConnected(6, 3, padding=1, name="local2"),
                LocallyConnected(4, 2, 2, padding=CEIL, name="local3"),
                flatten,
            ]
        )


def test_rows_of_cuda_convnets_layers():
    """Receptive fields and multiply-adds by hand."""
    rows = describe(ManyKinds(), (1, 40, 40, 3))
    made = [
        (row.name, row.kind, row.settings, row.receptive_field, row.params, row.macs)
        for row in rows[:-1]
    ]
    conv = 11 * 11 * 8 * 5 * 5 * 3
    local = 3 * 3 * 6 * 9 * 16, 2 * 2 * 4 * 4 * 6
    params = 3 * 3 * 6 * (9 * 16 + 1), 2 * 2 * 4 * (4 * 6 + 1)
    assert made == [
        ("blur", "blur", "5×5 σ 1.5", 5, 0, 0),
        ("subsample", "subsample", "/2", 5, 0, 0),
        ("mirror", "mirror", "", 5, 0, 0),
        ("conv1", "conv", "5×5/2 pad 2 ceil", 13, 600, conv),
        ("bias1", "place_bias", "", 13, 968, 0),
        ("pool1", "avg_pool_ceil", "3×3/1 ceil from -1", 21, 0, 0),
        ("pool1b", "max_pool_ceil", "4×4/3 ceil", 33, 0, 0),
        ("contrastnorm1", "contrast_norm", "3×3 α 0.5/9 k 1", 81, 0, 0),
        ("mapnorm1", "map_norm", "3×3 α 1/9 k 2", 105, 0, 0),
        ("random1", "random_channels", "each 2 times", 105, 0, 0),
        ("local2", "local", "3×3/1 pad 1", 129, params[0], local[0]),
        ("local3", "local", "2×2/2 ceil", 141, params[1], local[1]),
    ]
    assert [row.output_shape[1] for row in rows[:12]] == [40, 20, 20, 11, 11, 10] + [
        3
    ] * 5 + [2]


@pytest.mark.parametrize(("shape", "field"), [((28, 64, 1), 68), ((64, 28, 1), 32)])
def test_a_dense_layer_sees_the_width_of_the_map(shape, field):
    """Of LeNet: 16 pixels in pool2, and 4 more for each column but the first."""
    rows = {row.name: row for row in summarize("lenet5", (1, *shape)).layers}
    *_, columns, _ = rows["pool2"].output_shape
    assert rows["fc3"].receptive_field == 16 + 4 * (columns - 1) == field
