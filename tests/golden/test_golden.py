"""Networks, gradients, SGD and layers against PyTorch's numbers."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.layers.normalization import LocalResponseNorm
from alexnet_jax.layers.pooling import adaptive_avg_pool
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from tests.golden.formula import (
    LABELS,
    NORMS,
    fingerprint,
    images,
    norm_input,
    pool_input,
    weights,
)
from tests.models.table import TABLE

GOLDEN = json.loads((Path(__file__).parent / "torch.json").read_text())


def test_every_network_has_its_numbers():
    assert TABLE.keys() == MODELS.keys() == GOLDEN["networks"].keys()


QUICK = ["alexnet_2012", "lenet5"]
MARKS = dict.fromkeys(QUICK, []) | {"alexnet_d2l": [pytest.mark.heavy]}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, [pytest.mark.slow])) for name in TABLE],
)
def test_networks(name):
    """As they are defined, without Winograd's algorithm."""
    # Images of large contrast cancel, and float32 shows it; in float64 all gradients
    # agree to 1e-13.
    near = 1e-5 if TABLE[name].golden.contrast <= 10 else 1e-4
    compare_network(name, near, precision="highest")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["alexnet_d2l", "alexnet_torchvision"],
)
def test_networks_as_they_run(name):
    """With Winograd's algorithm on a CPU; in TF32 on a GPU, which rounds to 10 bits."""
    on_cpu = jax.default_backend() == "cpu"
    compare_network(name, 1e-4 if on_cpu else 2e-2, precision="default")


def compare_network(name, near, precision):
    golden, case = GOLDEN["networks"][name], TABLE[name].golden
    fields = {"width": case.width} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, num_classes=10, training=False, **fields)
    image = jnp.asarray(images(case))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image))
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
    params = jax.tree.map(jnp.asarray, weights(shapes))

    @jax.jit
    def step(params):
        def loss_fn(params):
            logits = model.apply({"params": params}, image)
            label = jnp.asarray(LABELS, jnp.int32)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            return loss.mean(), logits

        return jax.value_and_grad(loss_fn, has_aux=True)(params)

    config = default_config().optim
    config.momentum, config.weight_decay = 0.9, 5e-4
    schedule = create_schedule(config, case.learning_rate, 1, 1)
    tx = create_optimizer(config, schedule)
    state = tx.init(params)
    for number, expected in enumerate(golden["losses"]):
        with jax.default_matmul_precision(precision):
            (loss, logits), grads = step(params)
        # Rounding grows in the steps; the first loss is of the given weights.
        rel = max(1e-4, near) if number else near
        assert float(loss) == pytest.approx(expected, rel=rel)
        if number == 0:
            scale = np.abs(golden["logits"]).max()
            np.testing.assert_allclose(logits, golden["logits"], atol=near * scale)
            for layer, parts in golden["gradients"].items():
                for part, (norm, along) in parts.items():
                    got = fingerprint(grads[layer][part])
                    assert got[0] == pytest.approx(norm, rel=near), (layer, part)
                    assert got[1] == pytest.approx(along, abs=near * norm), layer
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
def test_normalization(name):
    convention, size, alpha, k = NORMS[name]
    layer = LocalResponseNorm(convention, size=size, alpha=alpha)
    assert layer.constant == k
    x = jnp.asarray(norm_input(), jnp.float32)
    golden = GOLDEN["norms"][name]
    np.testing.assert_allclose(layer(x), golden["output"], rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda x: (layer(x) * jnp.cos(x)).sum())(x)
    scale = np.abs(golden["gradient"]).max()
    np.testing.assert_allclose(gradient, golden["gradient"], atol=1e-5 * scale)


@pytest.mark.parametrize("size", GOLDEN["adaptive"])
def test_adaptive_pooling(size):
    x = jnp.asarray(pool_input(int(size)), jnp.float32)
    expected = GOLDEN["adaptive"][size]
    np.testing.assert_allclose(adaptive_avg_pool(x), expected, atol=1e-6)
