"""What layers become: towers that are one layer, and what each type computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from tests.models.cuda_convnet import plain
from tests.models.cuda_convnet.cfgs import (
    NORM,
    RATES,
    codes,
    conv,
    create,
    experiment,
    fc,
    network,
    norm,
    params,
    pool,
    section,
    towers_cfg,
)
from tests.models.cuda_convnet.plain import flat, relu, tower

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

IMAGES = np.random.RandomState(0).randn(2, 14, 14, 3).astype(np.float32)


def by_tower(arrays, images):
    """The same network, tower by tower, with the merged layers' parameters."""

    def part(name, place):
        return {key: tower(array, place) for key, array in arrays[name].items()}

    dropped = []
    for place in (0, 1):
        x = plain.conv(images, *kernel_and_bias(part("conv1", place)), stride=2)
        x = relu(plain.max_pool(plain.norm(x)))
        x = relu(plain.conv(x, *kernel_and_bias(part("conv2", place)), pad=1))
        dropped.append(plain.map_norm(x) * 0.25)
    both = jnp.concatenate(dropped, axis=-1)
    maps = [
        relu(plain.conv(both, *kernel_and_bias(part("conv3", place))))
        for place in (0, 1)
    ]
    units = flat(jnp.concatenate(maps, axis=-1))
    hidden = []
    for place in (0, 1):
        kernel, bias = kernel_and_bias(part("fc7", place))
        hidden.append(jax.nn.sigmoid(units @ kernel + bias[None]))
    kernel, bias = kernel_and_bias(arrays["fc8"])
    return jnp.concatenate(hidden, axis=-1) @ kernel + bias[None]


def kernel_and_bias(arrays):
    return arrays["kernel"], arrays["bias"]


def drawn(model, images=IMAGES):
    """Parameters, of which none is 0."""
    arrays = model.variable_shapes(images.shape)["params"]
    generator = np.random.RandomState(1)
    return jax.tree.map(
        lambda a: 0.3 * generator.randn(*a.shape).astype(np.float32), arrays
    )


@pytest.mark.slow
def test_towers_compute_what_each_does_by_itself():
    model = create(*towers_cfg(), training=False)
    arrays = drawn(model)
    assert {name: a["kernel"].shape for name, a in arrays.items()} == {
        "conv1": (3, 3, 3, 16),
        "conv2": (3, 3, 8, 16),  # each tower its own
        "conv3": (3, 3, 16, 16),  # both read both
        "fc7": (16, 12),
        "fc8": (12, 10),
    }  # fmt: skip
    assert model.towers == 2

    def loss(compute):
        return lambda a: (
            compute(a) ** 2 * jnp.arange(10, dtype=jnp.float32)[None]
        ).sum()

    merged = loss(lambda a: model.apply({"params": a}, IMAGES))
    apart = loss(lambda a: by_tower(a, IMAGES))
    (value, gradient), (expected, by_hand) = (
        jax.jit(jax.value_and_grad(one))(arrays) for one in (merged, apart)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        gradient, by_hand,
    )  # fmt: skip


def test_towers_are_written_as_one_chain():
    model = create(*towers_cfg())
    (block,) = model.experiment.blocks
    assert [call.code() for call in block.calls] == [
        "conv('conv1', 16, 3, stride=2, pad=CEIL, deviation=0.1)",
        "LocalResponseNorm('2012', alpha=0.5, k=1.0, groups=2)",
        "max_pool_ceil",
        "relu",
        "conv('conv2', 16, 3, pad=1, groups=2, deviation=0.1, bias=1.0)",
        "relu",
        "MapNorm(size=3, scale=0.5)",
        "dropout(mask=True, rate=0.75)",
        "conv('conv3', 16, 3, deviation=0.1)",
        "relu",
        "flatten",
        "dense('fc7', 12, deviation=0.01)",
        "sigmoid",
        "dense('fc8', self.num_classes, deviation=0.01)",
    ]


CONV = conv("conv1", "data", 3)
TOWERS = [conv(f"conv1{a}", "data", 3) for a in "abcd"]


def check(text, compute, of_params=None, rtol=2e-5):
    """Compares a network with what a plain function makes of its parameters."""
    model = create(text, of_params, training=False)
    arrays = drawn(model)
    found = jax.jit(model.apply)({"params": arrays}, IMAGES)
    expected = jax.jit(compute)(arrays)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-4)
    return arrays


def dense(arrays, x, name="fc8"):
    kernel, bias = kernel_and_bias(arrays[name])
    return flat(x) @ kernel + bias[None]


def convolved(arrays, x=IMAGES, name="conv1", **settings):
    return plain.conv(x, *kernel_and_bias(arrays[name]), **settings)


def test_two_of_four_towers():
    text = network(
        *TOWERS,
        conv("conv2a", "conv1a,conv1c", [16, 16], 8),
        conv("conv2b", "conv1b,conv1d,conv1b", [16, 16, 16], 8),
        fc("fc", "conv2b,conv2a"),
    )

    def compute(arrays):
        maps = convolved(arrays)
        own = [tower(maps, place, 4) for place in range(4)]
        a = convolved(arrays, jnp.concatenate([own[0], own[2]], -1), "conv2")
        b = convolved(arrays, jnp.concatenate([own[1], own[1], own[3]], -1), "conv3")
        # Unlike layers have a kernel each in the one that reads them.
        return dense(arrays, b, "fc8_1") + flat(a) @ arrays["fc8_2"]["kernel"]

    arrays = check(text, compute)
    assert arrays["conv2"]["kernel"].shape == (3, 3, 32, 8)
    assert create(text).towers == 1


def test_members_that_read_unlike_stay_apart():
    text = network(
        *TOWERS[:3],
        *[
            conv(f"conv2{a}", own, [16, 16], 8)
            for a, own in (("a", "conv1a,conv1b"), ("b", "conv1b,conv1c"))
        ],
        fc("fc", "conv2a,conv2b"),
    )

    def compute(arrays):
        a, b, c = (tower(convolved(arrays), place, 3) for place in range(3))
        both = [
            convolved(arrays, jnp.concatenate(pair, -1), name)
            for name, *pair in (("conv2a", a, b), ("conv2b", b, c))
        ]
        return dense(arrays, jnp.concatenate(both, -1))

    check(text, compute)
    assert codes(text)["conv2"] == (("conv2a", "conv2b"), "concatenate")


def test_towers_are_put_in_order_by_what_they_read():
    layers = [conv(f"conv1{a}", "data", 3) for a in "ab"]
    layers += [conv(f"conv2{a}", f"conv1{a}", 16, 8) for a in "ba"]
    text = network(*layers, fc("fc", "conv2a"), fc("fcb", "conv2b"),
                   section("both", "pass", inputs="fc,fcb"), logits="both")  # fmt: skip
    assert codes(text)["conv2"] == (
        ("conv1",), "conv('conv2', 16, 3, groups=2, deviation=0.1)"
    )  # fmt: skip
    members = experiment(text).lowered.weights["conv2"].source.name
    assert members == "conv2a"


@pytest.mark.parametrize(
    "other",
    [{"padding": 1}, {"neuron": "relu"}, {"initB": 1}, {"initW": 0.2}, {"size": 5}],
)
def test_layers_that_differ_are_no_towers(other):
    given = {"padding": 0} | other
    layers = [CONV, conv("conv2", "data", 3, **given)]
    last = [fc("fca", "conv1", 4), fc("fcb", "conv2", 4), fc("fc", "fca,fcb")]
    assert "conv2" in experiment(network(*layers, *last)).lowered.weights


def test_layers_that_learn_unlike_are_no_towers():
    layers = network(*TOWERS[:2], fc("fc", "conv1a,conv1b"))
    same = params(conv1a=RATES, conv1b=RATES, fc=RATES)
    assert [*experiment(layers, same).lowered.weights] == ["conv1", "fc8"]
    other = params(conv1a=RATES, conv1b={**RATES, "epsW": 0}, fc=RATES)
    found = experiment(layers, other)
    assert [*found.lowered.weights] == ["conv1", "conv2", "fc8_1", "fc8_2"]
    rates = {name: update.rate.base for name, update in found.updates.arrays.items()}
    assert rates["conv1/kernel"] == 0.01 and rates["conv2/kernel"] == 0.0
    assert rates["fc8_1/bias"] == 0.02 and "fc8_2/bias" not in rates


@pytest.mark.slow
def test_inputs_of_unlike_kernels():
    text = network(
        CONV,
        conv("conv2", "data,conv1", [3, 16], [8, 4], [5, 3], groups=[1, 2],
             padding=[1, 1], initW=[0.1, 0.2], initB=3),
        fc("fc", "conv2"),
    )  # fmt: skip

    def compute(arrays):
        first = arrays["conv2_1"]
        wide = plain.conv(IMAGES, first["kernel"], first["bias"], pad=1)
        maps, kernel = convolved(arrays), arrays["conv2_2"]["kernel"]
        none = jnp.zeros(4, jnp.float32)
        parts = [
            plain.conv(tower(maps, place), tower(kernel, place), none, pad=1)
            for place in (0, 1)
        ]
        return dense(arrays, wide + jnp.concatenate(parts, -1))

    arrays = check(text, compute)
    assert "bias" not in arrays["conv2_2"]
    fresh = create(text).init(jax.random.key(0), IMAGES)["params"]
    assert (fresh["conv2_1"]["bias"] == 3).all()
    deviations = [fresh[f"conv2_{i}"]["kernel"].std() for i in (1, 2)]
    np.testing.assert_allclose(deviations, [0.1, 0.2], rtol=0.15)


def test_dense_towers_with_two_kernels():
    layers = [*TOWERS[:2], *[pool(f"pool1{a}", f"conv1{a}") for a in "ab"]]
    layers += [fc(f"fc6{a}", f"conv1{a},pool1{a}", 4, neuron="tanh[1,1]") for a in "ab"]
    text = network(*layers, fc("fc", "fc6a,fc6b"))

    def compute(arrays):
        maps = convolved(arrays)
        pooled = plain.max_pool(maps)
        hidden = []
        for place in (0, 1):
            a, b = (tower(arrays[f"fc7_{i}"]["kernel"], place) for i in (1, 2))
            x = flat(tower(maps, place)) @ a + flat(tower(pooled, place)) @ b
            hidden.append(jnp.tanh(x + tower(arrays["fc7_1"]["bias"], place)[None]))
        return dense(arrays, jnp.concatenate(hidden, -1))

    arrays = check(text, compute)
    assert [*arrays["fc7_2"]] == ["kernel"]


def test_biases_of_each_place():
    text = network(conv("conv1", "data", 3, sharedBiases=0, initB=2), fc("fc", "conv1"))

    def compute(arrays):
        none = jnp.zeros(16, jnp.float32)
        maps = plain.conv(IMAGES, arrays["conv1"]["kernel"], none)
        return dense(arrays, maps + arrays["conv1_bias"]["bias"][None])

    arrays = check(text, compute)
    assert arrays["conv1_bias"]["bias"].shape == (12, 12, 16)
    rates = experiment(text, params(conv1=RATES, fc=RATES)).updates.arrays
    assert [*rates][:2] == ["conv1/kernel", "conv1_bias/bias"]
    fresh = create(text).init(jax.random.key(0), IMAGES)["params"]
    assert (fresh["conv1_bias"]["bias"] == 2).all()


def test_local_layers_of_two_towers():
    layers = [
        conv(f"l{a}", "data", 3, 4, stride=2, padding=1, type="local") for a in "ab"
    ]
    text = network(*layers, fc("fc", "lb,la"))

    def compute(arrays):
        kernel = arrays["local1"]["kernel"]
        shaped = kernel.reshape((*kernel.shape[:2], 3, 3, 3, 8))
        maps = plain.local(IMAGES, shaped, arrays["local1"]["bias"], 2, 1)
        return dense(arrays, maps)

    check(text, compute)


def test_local_layers_that_read_their_own_tower():
    layers = [conv(f"l{a}", f"conv1{a}", 16, 4, type="local") for a in "ab"]
    text = network(*TOWERS[:2], *layers, fc("fc", "la,lb"))

    def compute(arrays):
        maps = convolved(arrays)
        own = []
        for place, layer in enumerate(arrays[f"local2{a}"] for a in "ab"):
            kernel = layer["kernel"]
            shaped = kernel.reshape((*kernel.shape[:2], 3, 3, 16, 4))
            own.append(plain.local(tower(maps, place), shaped, layer["bias"]))
        return dense(arrays, jnp.concatenate(own, -1))

    check(text, compute)


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        ({}, "max_pool_ceil"),
        ({"sizeX": 2}, "max_pool_2x2"),
        ({"pool": "avg"}, "avg_pool_3x3"),
        ({"sizeX": 4, "stride": 3}, "CeilPool('max', 4, 3)"),
        ({"sizeX": 3, "stride": 1}, "CeilPool('max', 3, 1)"),
        ({"pool": "avg", "sizeX": 5, "stride": 3}, "CeilPool('avg', 5, 3)"),
        ({"start": -2}, "CeilPool('max', 3, 2, start=-2)"),
        ({"pool": "rand"}, "max_pool_ceil"),
    ],
)
def test_pools(keys, written):
    text = network(CONV, pool("pool", "conv1", **keys), fc("fc", "pool"))
    of_params = params(pool={"doMax": "true"}) if keys.get("pool") == "rand" else None
    kind = plain.avg_pool if keys.get("pool") == "avg" else plain.max_pool
    given = {"size": keys.get("sizeX", 3), "stride": keys.get("stride", 2)}
    if "start" in keys:
        given["start"] = keys["start"]
    assert written in [code for _, code in codes(text, of_params).values()]
    check(
        text, lambda arrays: dense(arrays, kind(convolved(arrays), **given)), of_params
    )


def test_normalization_across_towers_and_of_each():
    layers = [*TOWERS[:2], section("both", "concat", inputs="conv1a,conv1b")]
    across = norm("norm", "cmrnorm", "both", 32, minDiv=2, **NORM)
    text = network(*layers, across, fc("fc", "norm"))
    check(text, lambda arrays: dense(arrays, plain.norm(convolved(arrays), k=2.0)))
    assert codes(text)["localresponsenorm"][1] == (
        "LocalResponseNorm('2012', alpha=0.5)"
    )


def test_contrast_normalization():
    text = network(
        CONV, norm("norm", "cnorm", "conv1", size=3, **NORM), fc("fc", "norm")
    )

    def compute(arrays):
        x = convolved(arrays)
        ones = sum(part for *_, part in plain.windows(jnp.ones_like(x), 3, 1, 1, 0.0))
        mean = sum(part for *_, part in plain.windows(x, 3, 1, 1, 0.0)) / ones
        parts = plain.windows((x - mean) ** 2, 3, 1, 1, 0.0)
        total = sum(part for *_, part in parts)
        return dense(arrays, x * (1.0 + 0.5 / 9 * total) ** -0.75)

    check(text, compute)


def test_sums():
    layers = [CONV, conv("conv2", "data", 3, padding=1, size=5)]
    plus = section("sum", "eltsum", inputs="conv1,conv2")
    text = network(*layers, plus, fc("fc", "sum"))
    check(text, lambda arrays: dense(
        arrays, convolved(arrays) + convolved(arrays, name="conv2", pad=1)
    ))  # fmt: skip
    minus = section("sum", "eltsum", inputs="conv1,conv2", coeffs="1,-0.5")
    text = network(*layers, minus, fc("fc", "sum"))
    check(text, lambda arrays: dense(
        arrays, convolved(arrays) - 0.5 * convolved(arrays, name="conv2", pad=1)
    ))  # fmt: skip


def test_blurred_and_mirrored_images():
    layers = [
        section("blur", "blur", inputs="data", stdev=2, filterSize=3, channels=3),
        section("nails", "nailbed", inputs="blur", stride=3, channels=3),
        section("mirror", "href", inputs="nails", channels=3),
        conv("conv1", "mirror", 3),
    ]

    def compute(arrays):
        weights = np.exp(-np.array([1.0, 0.0, 1.0]) / 8)
        weights = (weights / weights.sum()).astype(np.float32)
        x = IMAGES
        for axis in (1, 2):
            edges = [(1, 1) if i == axis else (0, 0) for i in range(4)]
            padded = np.pad(x, edges)
            x = sum(
                weight * np.take(padded, range(i, i + 14), axis)
                for i, weight in enumerate(weights)
            )
        x = x[:, 1::3, 1::3][:, :5, :5]  # 14 - 3 × (5 - 1) = 2, half of it before
        return dense(arrays, convolved(arrays, x[:, :, ::-1]))

    check(network(*layers, fc("fc", "conv1")), compute)


def test_random_connections():
    text = network(
        CONV,
        conv("conv2", "conv1", 16, 4, groups=4, randSparse=1, filterChannels=8),
        fc("fc", "conv2"),
    )
    seen = np.random.RandomState(2)
    order = np.concatenate([seen.permutation(16) for _ in range(2)])

    def compute(arrays):
        maps, layer = convolved(arrays)[..., order], arrays["conv2"]
        parts = [
            plain.conv(
                tower(maps, i, 4),
                tower(layer["kernel"], i, 4),
                tower(layer["bias"], i, 4),
            )
            for i in range(4)
        ]
        return dense(arrays, jnp.concatenate(parts, -1))

    check(text, compute)


@pytest.mark.parametrize(
    ("kind", "keys", "of_params", "expected"),
    [
        ("hs", {"keep": 0.25}, {}, "dropout(mask=True, rate=0.75)"),
        ("hs", {"keep": 0.5}, {}, "dropout(mask=True)"),
        ("hs", {"keep": 0.5}, {"enable": 0}, "MaskDropout(0.5, True)"),
        ("dropout2", {}, {}, "dropout(mask=True)"),
        ("dropout2", {}, {"keep": 0.9}, "dropout(mask=True, rate=0.1)"),
        ("dropout2", {}, {"keep": 0.9, "enable": 0}, "MaskDropout(0.1, True)"),
        ("dropout", {}, {}, "dropout()"),
        ("dropout", {}, {"keep": 0.9}, "dropout(rate=0.1)"),
        ("dropout", {}, {"enable": 0}, "MaskDropout(0.0, True)"),
    ],
)
def test_dropout(kind, keys, of_params, expected):
    text = network(CONV, section("it", kind, inputs="conv1", **keys), fc("fc", "it"))
    given = params(it=of_params)
    assert expected in [code for _, code in codes(text, given).values()]
    factor = 1 - float(of_params.get("keep", keys.get("keep", 0.5)))
    factor = 1.0 if kind == "dropout" else 1 - factor
    check(text, lambda arrays: dense(arrays, factor * convolved(arrays)), given)


def test_classes_of_several_layers():
    text = network(
        CONV, fc("fca", "conv1", 3), fc("fcb", "conv1", 4),
        section("both", "pass", inputs="fcb,fca"), logits="both",
    )  # fmt: skip
    lowered = experiment(text).lowered
    assert (lowered.num_classes, lowered.has_classes) == (7, False)
    check(text, lambda arrays: jnp.concatenate(
        [dense(arrays, convolved(arrays), name) for name in ("fc8", "fc7")], -1
    ))  # fmt: skip


def test_classes_of_two_towers():
    text = network(
        *TOWERS[:2], *[fc(f"fc{a}", f"conv1{a}", 5) for a in "ab"],
        section("both", "concat", inputs="fca,fcb"), logits="both",
    )  # fmt: skip
    lowered = experiment(text).lowered
    assert (lowered.num_classes, lowered.has_classes) == (10, True)
    model = create(text, num_classes=4)
    assert model.layer_shapes((1, 14, 14, 3))[-1][1] == (1, 4)


def test_part_of_the_towers_makes_the_classes():
    text = network(
        *TOWERS[:2], *[fc(f"fc{a}", f"conv1{a}", 5) for a in "ab"],
        fc("fc9", "fca,fcb", 2), section("all", "pass", inputs="fc9,fca"), logits="all",
    )  # fmt: skip
    model = create(text)
    assert model.num_classes == 7
    assert model.layer_shapes((1, 14, 14, 3))[-1][1] == (1, 7)


def test_pools_of_other_strides_are_no_family():
    layers = network(
        conv("a", "data", 3, padding=1),
        conv("b", "data", 3, padding=1),
        pool("pa", "a"),
        pool("pb", "b", stride=1),
        fc("fc", ["pa", "pb"]),
    )
    made = [code for _, code in codes(layers).values()]
    assert "max_pool_ceil" in made and 'CeilPool("max", 3, 1)' in [
        code.replace("'", '"') for code in made
    ]


def test_sums_of_other_factors_are_no_family():
    layers = network(
        conv("a", "data", 3),
        conv("b", "data", 3),
        section("sa", "eltsum", inputs="a", coeffs="-1"),
        section("sb", "eltsum", inputs="b"),
        fc("fc", ["sa", "sb"]),
    )
    made = [code for _, code in codes(layers).values()]
    assert "Add((-1.0,))" in made and "add" in made


def test_groups_over_several_layers_are_refused():
    """Each group would have to see one of them, and not a part of each."""
    layers = network(
        conv("a", "data", 3, 4, padding=1),
        conv("b", "data", 3, 4, 5, padding=2),
        section("c", "concat", inputs="a,b"),
        conv("g", "c", 8, groups=2),
        fc("fc", "g"),
    )
    line = r"^net.cfg:\d+: \[g\] groups must be 1 for c, which puts several layers"
    with pytest.raises(InputError, match=line):
        codes(layers)
