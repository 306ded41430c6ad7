"""Networks by `cfg:PATH`, and what may be set of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.layers.initializers import SCHEMES
from alexnet_jax.models import (
    create_configured,
    create_model,
    is_network,
    network_class,
)
from alexnet_jax.models.cuda_convnet.network import class_name
from tests.models.cuda_convnet.cfgs import (
    NORM,
    RATES,
    conv,
    create,
    experiment,
    fc,
    network,
    norm,
    params,
    section,
    towers_cfg,
)

PLAIN = network(
    conv("conv1", "data", 3, initW=0.01),
    section("hs", "hs", inputs="conv1", keep=0.25),
    fc("fc", "hs"),
)


@pytest.fixture
def folder(tmp_path):
    """A folder with both files of a network."""
    layers, of_params = towers_cfg()
    (tmp_path / "layers-x.cfg").write_text(layers)
    (tmp_path / "layer-params-x.cfg").write_text(of_params)
    return tmp_path


def test_a_network_by_its_path(folder):
    name = f"cfg:{folder}/layers-x.cfg"
    model = create_model(name)
    assert type(model).__name__ == "LayersX" and is_network(name)
    assert model.num_classes == 10
    assert model.reference.source == "cuda-convnet layers-x.cfg"
    assert model.reference.input_shape == (32, 32, 3)
    assert model.author_scale == "pixels"
    # The file beside it is taken, which says the constants of normalization.
    assert model.experiment.params_name == f"{folder}/layer-params-x.cfg"
    assert network_class(name) is type(model)
    (folder / "layer-params-x.cfg").unlink()
    said = rf"^{folder}/layers-x.cfg:\d+: \[norm1a\] scale is missing; it stands in the"
    with pytest.raises(InputError, match=said):
        create_model(name)
    (folder / "other.cfg").write_text(towers_cfg()[1])
    assert create_model(name, f"{folder}/other.cfg").layer_shapes((1, 32, 32, 3))


def test_a_file_beside_may_say_more_and_one_that_is_named_may_not(folder):
    beside = folder / "layer-params-x.cfg"
    beside.write_text(f"{beside.read_text()}\n[fc9]\nepsW=0\n")
    name = f"cfg:{folder}/layers-x.cfg"
    assert create_model(name)
    with pytest.raises(
        InputError, match=r"layer-params-x.cfg:\d+: \[fc9\] there is no"
    ):
        create_model(name, str(beside))


def test_images_of_224_pixels_for_more_classes():
    layers = [conv("conv1", "data", 1), fc("fc", "conv1", 1000)]
    model = create(network(*layers))
    assert model.reference.input_shape == (224, 224, 1)
    assert model.num_classes == 1000


def test_fields():
    model = create(PLAIN, num_classes=7, width=0.5, training=False)
    shapes = [shape for _, shape in model.layer_shapes((1, 6, 6, 3))]
    assert shapes[0] == (1, 4, 4, 8) and shapes[-1] == (1, 7)

    def rates(model):
        return [row for row in map(repr, model.experiment.blocks) if "rate" in row]

    assert "('rate', 0.75)" in rates(model)[0]
    x = jnp.ones((1, 6, 6, 3), jnp.float32)
    variables = model.init(jax.random.key(0), x)
    kept, all_kept = (
        model.clone(dropout_rate=rate).apply(variables, x) for rate in (None, 0.0)
    )
    np.testing.assert_allclose(kept, 0.25 * all_kept, rtol=1e-5)
    with pytest.raises(InputError, match="model.dropout_rate must be in"):
        model.clone(dropout_rate=1.5).layer_shapes((1, 6, 6, 3))
    with pytest.raises(InputError, match="model.width must be in"):
        model.clone(width=0.0).layer_shapes((1, 6, 6, 3))


def test_a_runs_config_leaves_the_files_dropout(folder):
    config = default_config()
    config.model.name = f"cfg:{folder}/layers-x.cfg"
    assert create_configured(config).dropout_rate is None
    config.model.dropout_rate = 0.3
    assert create_configured(config).dropout_rate == 0.3
    config.model.pooling = "2x2"
    with pytest.raises(InputError, match="model.pooling must be 'author' with cfg:"):
        create_configured(config)


def test_texts_in_a_runs_config_stand_for_the_files(folder):
    config = default_config()
    config.model.name = "cfg:layers-gone.cfg"
    config.model.cfg_layers, config.model.cfg_params = towers_cfg()
    assert type(create_configured(config)).__name__ == "LayersGone"


@pytest.mark.slow
@pytest.mark.parametrize("initializer", SCHEMES)
def test_initializers(initializer):
    model = create(PLAIN, initializer=initializer)
    found = model.init(jax.random.key(0), jnp.ones((1, 6, 6, 3), jnp.float32))["params"]
    scheme = SCHEMES[initializer]
    # Drawn with the same keys as by the author's scheme, whose deviation is 0.01.
    shapes = jax.tree.map(jnp.shape, found)
    assert shapes["conv1"] == {"kernel": (3, 3, 3, 16), "bias": (16,)}
    kernel_init, bias_init = scheme("fc8", found["fc8"]["kernel"].shape)
    expected = kernel_init(jax.random.key(1), found["fc8"]["kernel"].shape).std()
    np.testing.assert_allclose(found["fc8"]["kernel"].std(), expected, rtol=0.1)
    if initializer != "torch" and initializer != "ungrouped":
        bias = bias_init(jax.random.key(1), (10,))
        np.testing.assert_array_equal(found["fc8"]["bias"], bias)


def test_the_authors_initial_values_have_their_schemes_name():
    assert create(PLAIN).author_initializer == "2012"
    text = network(conv("conv1", "data", 3, initW=0.02, initB=3), fc("fc", "conv1"))
    model = create(text)
    assert model.author_initializer is None
    found = model.init(jax.random.key(0), jnp.ones((1, 40, 40, 3), jnp.float32))
    np.testing.assert_allclose(found["params"]["conv1"]["kernel"].std(), 0.02, rtol=0.1)
    np.testing.assert_allclose(found["params"]["fc8"]["kernel"].std(), 0.01, rtol=0.1)
    assert (found["params"]["conv1"]["bias"] == 3).all()
    assert (found["params"]["fc8"]["bias"] == 0).all()


@pytest.mark.parametrize("key", ["initWFunc", "initBFunc"])
def test_foreign_code_is_never_run(tmp_path, key):
    marker = tmp_path / "run"
    code = f"open('{marker}', 'w').close()"
    text = network(conv("conv1", "data", 3, **{key: code}), fc("fc", "conv1"))
    path = tmp_path / "layers-x.cfg"
    path.write_text(text)
    line = 1 + text.splitlines().index(f"{key}={code}")
    said = (
        rf"^{path}:{line}: \[conv1\] {key} calls code that took weights of another run "
        "and was not released; it is never run: set model.init .*, such as '2012', "
        "to draw"
    )
    with pytest.raises(InputError, match=said):
        create_model(f"cfg:{path}")
    model = create_model(f"cfg:{path}", initializer="2012")
    assert model.init(jax.random.key(0), jnp.ones((1, 32, 32, 3), jnp.float32))
    assert network_class(f"cfg:{path}")  # described, not drawn
    assert not marker.exists()


def test_rates():
    named = {name: RATES for name in ("conv1a", "conv1b", "fc")}
    text = network(
        *[conv(f"conv1{a}", "data", 3) for a in "ab"], fc("fc", "conv1a,conv1b")
    )
    assert create(text).layer_updates is None
    updates = create(text, params(**named)).layer_updates
    assert updates.arrays["conv1/kernel"].rate.base == 0.01
    assert updates.arrays["conv1/bias"].rate.base == 0.02
    assert updates.coefficient == 1.0


def test_classes_of_several_layers_cannot_be_others():
    both = section("both", "concat", inputs="fca,fcb")
    text = network(
        fc("fca", "data", 4), fc("fcb", "data", 6, initW=1), both, logits="both"
    )
    assert create(text, width=0.5).layer_shapes((1, 4, 4, 3))[-1][1] == (1, 10)
    said = "model.num_classes must be 10 with cfg:net.cfg, whose classes are in several"
    with pytest.raises(InputError, match=said):
        create(text, num_classes=5).layer_shapes((1, 4, 4, 3))


def test_width_keeps_groups_whole():
    layers = [conv(f"conv1{a}", "data", 3, 32) for a in "abc"]
    layers += [conv(f"conv2{a}", f"conv1{a}", 32, 16, groups=4) for a in "abc"]
    layers += [
        conv(
            "conv3", "conv2a,conv2c", 64, 8, groups=8, randSparse=1, filterChannels=16
        ),
        fc("fc", "conv3,conv2b"),
    ]
    model = create(network(*layers))
    assert model.unit == 24 * 3
    for width in (0.01, 0.3, 1.0, 3.0):
        made = model.clone(width=width).layer_shapes((1, 12, 12, 3))
        assert made[-1][1] == (1, 10)


def test_constants_that_are_not_known_are_1_where_nothing_is_computed():
    text = network(conv("conv1", "data", 3), norm("norm", "cmrnorm", "conv1"),
                   fc("fc", "norm"))  # fmt: skip
    with pytest.raises(InputError, match="scale is missing"):
        _ = experiment(text).blocks
    (block,) = experiment(text, is_complete=False).blocks
    assert "('alpha', 1.0)" in repr(block)
    known = experiment(text, params(norm=NORM), is_complete=False).blocks
    assert "('alpha', 0.5)" in repr(known)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("layers-145-half.cfg", "Layers145Half"),
        ("net.cfg", "Net"),
        ("145.cfg", "Layers145"),
        ("-.cfg", "Layers"),
        ("é layers.gc", "LayersGc"),
    ],
)
def test_names_of_classes(file, expected):
    assert class_name(file) == expected
