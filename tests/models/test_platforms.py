"""Networks by the forms of NVIDIA GPUs, computed on a CPU, beside XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.layers.cpu.switch import forms_of, plain_forms
from alexnet_jax.models import MODELS, create_model
from tests.models.table import KINDS

QUICK = "lenet5"
# Through all layers of a narrow network; in bfloat16, where XLA's forms are no nearer.
BOUNDS = {"float32": 1e-4, "bfloat16": 5e-2}


def answer(name, dtype, forms):
    """Returns logits and gradients, float32, of a narrow network on noise."""
    width = {"width": 1 / 16} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, num_classes=10, training=False, **width)
    size = 28 if name == "lenet5" else 67
    channels = 3 if name == "alexnet_2012" else 1
    shape = 8, size, size, channels
    image = jax.random.uniform(jax.random.key(1), shape, jnp.float32)
    label = jnp.arange(8, dtype=jnp.int32)

    def loss_of(params):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        logits = model.apply({"params": params}, image.astype(dtype))
        logits = logits.astype(jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return losses.mean(), logits

    with plain_forms():
        params = jax.jit(model.init)(jax.random.key(0), image[:1])["params"]
    params = jax.tree.map(lambda leaf: leaf * 1.5, params)  # so that all layers count
    with forms, jax.default_matmul_precision("highest"):
        return jax.jit(jax.grad(loss_of, has_aux=True))(params)


def distance(got, wanted):
    """Returns the largest over logits and gradients, relative to norms."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True)
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in pairs]
    largest = max(np.linalg.norm(b) for _, b in pairs)
    assert largest > 0
    return max(
        np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3 * largest) for a, b in pairs
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.heavy if name == QUICK else pytest.mark.slow
        )
        for name in KINDS
    ],
)
def test_forms_of_gpus_are_xlas(name):
    wanted = answer(name, jnp.float32, plain_forms())
    ours = distance(answer(name, jnp.float32, forms_of("cuda")), wanted)
    assert ours < BOUNDS["float32"]
    assert (ours > 0) == (name != "lenet5")  # which has none: no strides, no maxima
    ours = distance(answer(name, jnp.bfloat16, forms_of("cuda")), wanted)
    xlas = distance(answer(name, jnp.bfloat16, plain_forms()), wanted)
    assert ours < max(1.5 * xlas, BOUNDS["bfloat16"])
