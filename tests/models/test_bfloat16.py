"""Every network with every part exchanged, in bfloat16, without implicit promotion."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.layers.pooling import adaptive_avg_pool, avg_pool, avg_pool_3x3
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.models.ablations import _ALLOWED, Ablatable
from alexnet_jax.step import create_state, make_forward, make_train_step
from tests.helpers import noise

BATCH = 2
EXCHANGED = [
    {},
    *({field: value} for field, known in _ALLOWED.items() for value in known[1:]),
    {"links": False},
    {"normalization": "batch", "pooling": "average", "activation": "tanh"},
]
CASES = [
    (name, fields)
    for name, network in MODELS.items()
    for fields in EXCHANGED
    if not fields
    or (
        issubclass(network, Ablatable)
        and (network.towers == 2 or "links" not in fields)
    )
]
QUICK = [("alexnet_2012", {}), ("lenet5", {})]


def create(name, fields):
    """Returns a narrow network and its state, and images as its author scaled them."""
    width = {"width": 1 / 16} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, training=True, num_classes=10, **width, **fields)
    size = 28 if name == "lenet5" else 67
    image = jax.random.uniform(jax.random.key(1), (BATCH, size, size, 3), jnp.float32)
    if model.author_scale != "unit":
        image = 255 * (image - 0.5)
    return model, image


def abstract_state(model, image):
    make = lambda key: create_state(model, optax.sgd(0.1), image.shape, key)  # noqa: E731
    return jax.eval_shape(make, jax.random.key(0))


@pytest.mark.parametrize(
    "fields", [{}, {"normalization": "batch", "pooling": "average"}], ids=str
)
def test_all_activations_are_bfloat16(fields):
    model, image = create("alexnet_2012", fields)
    state = abstract_state(model, image)

    def outputs(params, model_state, image):
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        trace = lambda self, x: [y for _, y in self.layer_outputs(x)]  # noqa: E731
        return model.clone(training=False).apply(
            {"params": half, **model_state}, image.astype(jnp.bfloat16), method=trace
        )

    found = jax.eval_shape(outputs, state.params, state.model_state, image)
    assert {output.dtype for output in found} == {jnp.dtype("bfloat16")}


def check_train_step(model, image):
    """The step can be traced, and leaves the state's dtypes as they are."""
    state = abstract_state(model, image)
    step = make_train_step(
        model,
        optax.sgd(0.1),
        lambda x: x,
        dtype="bfloat16",
        steps_per_epoch=9,
        log_every_steps=9,
    )
    batch = {
        "image": image,
        "label": jnp.arange(BATCH, dtype=jnp.int32),
        "mask": jnp.ones(BATCH, bool),
    }
    after, _ = jax.eval_shape(step, state, batch, jax.random.key(1))
    dtypes = [[leaf.dtype for leaf in jax.tree.leaves(one)] for one in (state, after)]
    assert dtypes[0] == dtypes[1]


def test_a_step_with_batch_norm():
    check_train_step(*create("alexnet_2012_one_gpu", {"normalization": "batch"}))


@pytest.mark.usefixtures("compiled_in_a_hurry")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        pytest.param(
            *case,
            marks=pytest.mark.heavy if case in QUICK else pytest.mark.slow,
        )
        for case in CASES
    ],
    ids=str,
)
def test_every_network_is_near_float32(name, fields):
    model, image = create(name, fields)
    check_train_step(model, image)
    if fields and name != "alexnet_2012":
        return  # the parts are the same; each would be compiled twice
    state = create_state(model, optax.sgd(0.1), image.shape, jax.random.key(0))
    full, half = (
        jax.jit(make_forward(model, lambda x: x, dtype=dtype))(
            state.params, state.model_state, image
        )
        for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == jnp.float32
    # Eight layers that round to 8 bits each.
    np.testing.assert_allclose(half, full, rtol=0, atol=0.02 * np.abs(full).max())


@pytest.mark.heavy
@pytest.mark.parametrize("size", [5, 7, 13, 32])
@pytest.mark.parametrize("pool", [avg_pool, avg_pool_3x3, adaptive_avg_pool])
def test_an_average_is_rounded_once(pool, size):
    x = (noise(2, size, size, 3) + 1).astype(jnp.bfloat16)
    found = pool(x)
    assert found.dtype == jnp.bfloat16
    exact = pool(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(found, exact)
    gradient = jax.grad(lambda x: pool(x).astype(jnp.float32).sum())(x)
    assert gradient.dtype == jnp.bfloat16
