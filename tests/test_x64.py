"""With JAX's 64-bit types allowed, all that is trained stays what it is without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data.statistics import measure
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.models import create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.preprocessing.normalize import SCALES
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.step import create_state, make_eval_step, make_train_step
from tests.helpers import AUGMENTED

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 36, 36, 3), np.uint8)
CROPS = ({"crop": "random_resized"}, {"crop": "none", "color_epochs": 1}, {})


def settings(**leaves):
    augment = default_config().augment
    augment.update(AUGMENTED)
    augment.update(leaves)
    return augment


def in_both(function):
    """What a function returns without and with 64-bit types."""
    with jax.enable_x64(False):
        narrow = jax.device_get(function())
    with jax.enable_x64(True):
        return narrow, jax.device_get(function())


def dtypes(tree):
    return jax.tree.map(lambda leaf: str(leaf.dtype), tree)


def pipelines(scale):
    """Returns what makes of images what evaluation, a view and training see."""
    create = functools.partial(create_pipeline, scale, lambda: measure([IMAGE]), 28)
    made = create(settings())
    key = jax.random.key(0)
    return [made, lambda image: made.views(image)(jnp.int32(3))] + [
        functools.partial(create(settings(**leaves)).augmented, key=key, first=0)
        for leaves in CROPS
    ]


@pytest.mark.parametrize("scale", SCALES)
def test_a_network_sees_float32(scale):
    with jax.enable_x64(True):
        for made in pipelines(scale):
            assert jax.eval_shape(made, jnp.asarray(IMAGE)).dtype == jnp.float32


@pytest.mark.heavy
@pytest.mark.parametrize("number", range(2 + len(CROPS)))
def test_a_network_sees_the_same(number):
    narrow, wide = in_both(lambda: jax.jit(pipelines("pixels")[number])(IMAGE))
    np.testing.assert_allclose(wide, narrow, atol=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "fields", "schedule"),
    [
        ("lenet5", {}, "cosine"),
        ("alexnet_2012", {"normalization": "batch"}, "plateau"),
        ("alexnet_2012", {"links": False, "initializer": "he"}, "constant"),
    ],
    ids=str,
)
def test_a_state_has_the_same_dtypes(name, fields, schedule):
    """Fresh, and after a step."""
    optim = default_config().optim
    optim.schedule, optim.clip_norm, optim.momentum = schedule, 1.0, 0.9
    width = {} if name == "lenet5" else {"width": 1 / 16}
    size = 28 if name == "lenet5" else 67
    batch = {
        "image": IMAGE,
        "label": np.arange(6, dtype=np.int32),
        "mask": np.ones(6, bool),
    }

    def states():
        model = create_model(name, training=True, num_classes=10, **width, **fields)
        tx = create_optimizer(optim, create_schedule(optim, 0.1, 10, 1))
        prepare = create_pipeline(
            "standard", lambda: measure([IMAGE]), size, settings(canvas=80)
        )
        step = make_train_step(
            model,
            tx,
            prepare,
            augment=prepare.augmented,
            steps_per_epoch=9,
            log_every_steps=9,
            gradient_norms=True,
        )
        evaluate = make_eval_step(
            model,
            prepare,
            views=prepare.views,
            metrics=("loss", "top1", "top5", "balanced"),
        )

        def run(key, batch):
            state = create_state(model, tx, (1, size, size, 3), key)
            after, norms = step(state, batch, key)
            sums = evaluate(after.params, after.model_state, batch)
            return state, after, norms, sums

        return dtypes(jax.eval_shape(run, jax.random.key(0), batch))

    with jax.enable_x64(False):
        narrow = states()
    with jax.enable_x64(True):
        wide = states()
    assert wide == narrow and "64" not in str(wide)
    assert narrow[0] == narrow[1]


@pytest.mark.heavy
def test_dropout_drops_the_same():
    def drop():
        layer = MaskDropout(0.3, deterministic=False)
        x = jnp.ones((20, 20), jnp.float32)
        return layer.apply({}, x, rngs={"dropout": jax.random.key(0)})

    narrow, wide = in_both(drop)
    np.testing.assert_array_equal(narrow, wide)
