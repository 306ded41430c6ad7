import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models import create_model
from alexnet_jax.transfer.weights import take_layers
from tests.helpers import init_keys

NAME, SIDE = "alexnet_2012", 67  # two towers


def weights_of(seed=0, channels=3, name=NAME, **fields):
    model = create_model(
        name, **{"num_classes": 10, "training": True, "width": 1 / 8} | fields
    )
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, channels), jnp.float32)
    state = dict(jax.eval_shape(lambda x: model.init(init_keys(), x), image))
    generator = np.random.default_rng(seed)

    def draw(leaf):
        return generator.normal(0.0, 0.1, leaf.shape).astype(leaf.dtype)

    weights = {"params": state.pop("params"), "model_state": state}
    return model, jax.tree.map(draw, weights)


@pytest.fixture(scope="module")
def old():
    return weights_of(normalization="batch")[1]


def taken(old, channels=3, patterns=(), remedy="choose another run", **fields):
    _, new = weights_of(1, channels, **{"normalization": "batch"} | fields)
    return new, take_layers(old, new, patterns, channels, remedy)


def assert_from(found, source, layers):
    for layer in layers:
        jax.tree.map(
            np.testing.assert_array_equal,
            found["params"][layer],
            source["params"][layer],
        )


def test_all_of_it(old):
    _, found = taken(old)
    jax.tree.map(np.testing.assert_array_equal, found.weights, old)
    layers = "conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8, norm1, norm2"
    assert (found.lines, found.fresh) == ([f"taken: {layers}"], [])


def test_what_fits(old):
    new, found = taken(old, num_classes=12)
    assert found.fresh == ["fc8"]
    assert_from(found.weights, new, ["fc8"])
    assert_from(found.weights, old, ["conv1", "norm2", "fc7"])
    assert jax.tree.structure(found.weights) == jax.tree.structure(new)
    jax.tree.map(
        np.testing.assert_array_equal, found.weights["model_state"], old["model_state"]
    )
    classes = (
        "fc8 (bias (10,) there, (12,) here, kernel (512, 10) there, (512, 12) here)"
    )
    assert found.lines[1:] == [f"drawn fresh: {classes}"]


def test_what_is_named(old):
    new, found = taken(old, patterns=("conv[12]", "norm1"), num_classes=12)
    assert_from(found.weights, old, ["conv1", "conv2", "norm1"])
    assert_from(found.weights, new, ["conv3", "fc6", "fc8", "norm2"])
    stats = found.weights["model_state"]["batch_stats"]
    for layer, source in {"norm1": old, "norm2": new}.items():
        expected = source["model_state"]["batch_stats"][layer]["mean"]
        np.testing.assert_array_equal(stats[layer]["mean"], expected)
    assert found.lines == [
        "taken: conv1, conv2, norm1",
        "drawn fresh: conv3, conv4, conv5, fc6, fc7, fc8, norm2 (not in "
        "checkpoint.init_layers)",
    ]


def test_layers_that_one_of_two_networks_has(old):
    new, found = taken(old, normalization="author")
    assert found.lines[1:] == ["left there: norm1, norm2"]
    assert found.weights["model_state"] == {}
    assert_from(found.weights, old, new["params"])
    _, found = taken(new)
    assert found.lines[1:] == ["drawn fresh: norm1, norm2 (missing there)"]


def test_a_layer_is_taken_whole_or_not_at_all(old):
    """A bias that fits says nothing without its kernel."""
    params = {**old["params"], "fc8": {"kernel": old["params"]["fc8"]["kernel"]}}
    new, found = taken({**old, "params": params})
    assert found.lines[1:] == ["drawn fresh: fc8 (bias missing there, (10,) here)"]
    assert_from(found.weights, new, ["fc8"])
    new, found = taken({**old, "model_state": {}})
    assert found.fresh == ["norm1", "norm2"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("there", "here", "words"),
    [(3, 1, "summed over 3"), (1, 3, "divided among 3")],
)
@pytest.mark.parametrize("name", [NAME, "alexnet_torchvision"])
@pytest.mark.usefixtures("compiled_in_a_hurry")
def test_gray_and_color(there, here, words, name):
    """A gray image gives what it gave, also with padding and two towers."""
    one, old = weights_of(0, there, name, num_classes=7)
    other, new = weights_of(1, here, name, num_classes=7)
    found = take_layers(old, new, (), here, "")
    assert found.lines[1] == (
        f"converted: conv1/kernel {words} channels: the same outputs for a gray image, "
        "where inputs are scaled as there"
    )
    assert (found.fresh, len(found.lines)) == ([], 2)
    gray = np.random.default_rng(0).random((2, SIDE, SIDE, 1), np.float32)
    made = [
        jax.jit(model.clone(training=False).apply)(
            {"params": weights["params"]}, np.repeat(gray, channels, axis=3)
        )
        for model, weights, channels in (
            (one, old, there),
            (other, found.weights, here),
        )
    ]
    np.testing.assert_allclose(*made, rtol=1e-3, atol=1e-5 * np.abs(made[0]).max())
    assert np.abs(made[0]).max() > 1e-3


def test_other_numbers_of_channels_do_not_fit():
    _, old = weights_of(0, 4, normalization="batch")
    _, found = taken(old)
    assert (
        "conv1 (kernel (11, 11, 4, 12) there, (11, 11, 3, 12) here)" in found.lines[1]
    )
    # Nor do three maps of a layer that sees no image.
    old["params"]["conv1"]["kernel"] = np.zeros((11, 11, 1, 16), np.float32)
    _, found = taken(old)
    assert found.fresh == ["conv1"]


@pytest.mark.parametrize(
    ("fields", "patterns", "expected"),
    [
        (
            {"width": 1 / 4},
            (),
            "checkpoint.init_from: no layer fits: conv1 (bias (12,)",
        ),
        (
            {"num_classes": 12},
            ("conv*", "fc8"),
            "checkpoint.init_layers: no layer named 'fc8' fits: fc8 (bias (10,) there",
        ),
        ({}, ("fc9",), "init_layers: no layer is named 'fc9'; the nearest: fc6, fc7"),
        ({}, ("net",), "init_layers: no layer is named 'net'; there are conv1, conv2"),
    ],
)
def test_errors(old, fields, patterns, expected):
    if fields.get("width"):  # whose norms are of the same width as none
        old = {**old, "model_state": {}}
    with pytest.raises(InputError) as error:
        taken(old, patterns=patterns, **fields)
    assert expected in str(error.value) and "\n" not in str(error.value)
    if "fits" in expected:
        end = "; leave it out, and it is drawn fresh" if patterns else "; choose ano"
        assert end in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_taken(old, value):
    layer = {**old["params"]["conv1"], "bias": np.full(12, value, np.float32)}
    bad = {**old, "params": {**old["params"], "conv1": layer}}
    with pytest.raises(InputError, match="params/conv1/bias holds NaN or inf there; t"):
        taken(bad)
    taken(bad, patterns=("fc6",))  # the others may be
