"""The networks, their gradients and SGD against PyTorch's numbers."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from tests.golden.formula import LABELS, NETWORKS, images, weights

GOLDEN = json.loads((Path(__file__).parent / "golden" / "torch.json").read_text())


def test_every_network_has_its_numbers():
    assert NETWORKS.keys() == MODELS.keys() == GOLDEN.keys() - {"torch"}


@pytest.mark.parametrize("name", NETWORKS)
def test_against_pytorch(name):
    golden, (size, _) = GOLDEN[name], NETWORKS[name]
    model = create_model(name, training=False)
    image = jnp.asarray(images(size))
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
    tx = create_optimizer(config, create_schedule(config, 0.01, 1, 1))
    state = tx.init(params)
    for number, expected in enumerate(golden["losses"]):
        (loss, logits), grads = step(params)
        assert float(loss) == pytest.approx(expected, rel=1e-4)
        if number == 0:
            scale = np.abs(golden["logits"]).max()
            np.testing.assert_allclose(logits, golden["logits"], atol=1e-5 * scale)
            norms = [
                [
                    np.linalg.norm(np.asarray(layer[part], np.float64))
                    for part in ("kernel", "bias")
                ]
                for _, layer in sorted(grads.items())
            ]
            np.testing.assert_allclose(norms, golden["gradient_norms"], rtol=1e-4)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
