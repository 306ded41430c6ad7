"""Rates by layer: by pattern, and three steps by hand for each optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.transfer.rates import check_rates, factor_of

RATES = {"fc8": 10.0, "conv*": 0.1}
FACTORS = {"conv1": 0.1, "fc6": 1.0, "fc8": 10.0}
ETA = 0.01


def weights(step, scale=1.0):
    """Numbers that differ by layer and array: weights, or a step's gradient."""
    return {
        layer: {
            "kernel": scale * np.array([1.0 + place, -0.5 * (step + 1)], np.float32),
            "bias": scale * np.array([0.3 + step + place], np.float32),
        }
        for place, layer in enumerate(FACTORS)
    }


def optimizer(schedule="constant", **changes):
    optim = default_config().optim
    optim.update(changes)
    optim.rates, optim.schedule = RATES, schedule
    return create_optimizer(optim, create_schedule(optim, ETA, 1, 3))


def trained(tx, params, steps=3):
    state = tx.init(params)
    for step in range(steps):
        updates, state = tx.update(weights(step), state, params)
        params = optax.apply_updates(params, updates)
    return params


def by_hand(update, eta=lambda step: ETA, clip=None):
    """What a rule makes of a weight, its gradient, memory and rate, in three steps."""
    params, memory = weights(9), {}
    for step in range(3):
        grads = weights(step)
        norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        share = 1.0 if clip is None else min(1.0, clip / norm)
        for layer, arrays in params.items():
            for name, weight in arrays.items():
                gradient = grads[layer][name].astype(np.float64) * share
                rate = eta(step) * FACTORS[layer]
                arrays[name], memory[layer, name] = update(
                    weight.astype(np.float64),
                    gradient,
                    memory.get((layer, name), np.zeros((2, 1))),
                    rate,
                    step,
                    name,
                )
    return params


def sgd(weight, gradient, velocity, rate, step, name):
    velocity = 0.9 * velocity[0] + gradient + 0.05 * weight
    return weight - rate * velocity, np.stack([velocity, velocity])


def sgd_2012(weight, gradient, velocity, rate, step, name):
    decay = 0.05 * weight if name == "kernel" else 0.0
    factor = 2.0 if name == "bias" else 1.0
    velocity = 0.9 * velocity[0] - rate * factor * (gradient + decay)
    return weight + velocity, np.stack([velocity, velocity])


def adamw(weight, gradient, moments, rate, step, name):
    first = 0.8 * moments[0] + 0.2 * gradient
    second = 0.9 * moments[1] + 0.1 * gradient**2
    mean, square = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.9 ** (step + 1))
    move = mean / (np.sqrt(square) + 1e-6) + 0.05 * weight
    return weight - rate * move, np.stack([first, second])


RULES = {
    "sgd": (sgd, {"momentum": 0.9, "weight_decay": 0.05}),
    "sgd_2012": (sgd_2012, {"momentum": 0.9, "weight_decay": 0.05}),
    "adamw": (adamw, {"b1": 0.8, "b2": 0.9, "eps": 1e-6, "weight_decay": 0.05}),
}


def assert_same(made, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), made, expected
    )


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_three_steps_by_hand(name, clip):
    rule, settings = RULES[name]
    tx = optimizer(name=name, **settings, clip_norm=clip or 0.0)
    assert_same(trained(tx, weights(9)), by_hand(rule, clip=clip))


@pytest.mark.parametrize("name", RULES)
def test_they_follow_the_schedule(name):
    rule, settings = RULES[name]
    tx = optimizer("step", name=name, **settings, decay_epochs=(1, 2))
    made = by_hand(rule, eta=lambda step: ETA * 0.1**step)
    assert_same(trained(tx, weights(9)), made)


def test_with_groups_of_a_schedule():
    """Biases keep their own rate there, times the layer's factor."""
    tx = optimizer("one_weird_trick", name="sgd_2012")
    params = weights(9)
    grads = jax.tree.map(jnp.ones_like, params)
    state = tx.init(params)
    for _ in range(2):  # the second is in the second half
        updates, state = tx.update(grads, state, params)
    for layer, factor in FACTORS.items():
        kernel, bias = (float(updates[layer][name][0]) for name in ("kernel", "bias"))
        assert kernel == pytest.approx(-factor * ETA * 250 ** (-1 / 3), rel=1e-5)
        assert bias == pytest.approx(-factor * ETA * 2, rel=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_the_state_is_that_of_a_run_without(name):
    optim = default_config().optim
    optim.update(name=name, **RULES[name][1])
    plain = create_optimizer(optim, create_schedule(optim, ETA, 1, 3))
    trees = [
        jax.tree.map(jnp.shape, tx.init(weights(0)))
        for tx in (plain, optimizer(name=name, **RULES[name][1]))
    ]
    assert trees[0] == trees[1]


@pytest.mark.slow
def test_towers_clip_by_the_whole_gradient():
    """On a device a tower, where the norm is summed over both."""
    optim = default_config().optim
    optim.rates, optim.clip_norm = RATES, 1.0
    schedule = create_schedule(optim, ETA, 1, 3)
    txs = [create_optimizer(optim, schedule, axis) for axis in (None, "model")]
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("model",))
    params = {
        layer: {"kernel": np.arange(4, dtype=np.float32) + place}
        for place, layer in enumerate(FACTORS)
    }

    def update(tx):
        return lambda grads: tx.update(grads, tx.init(params), params)[0]

    specs = {layer: {"kernel": PartitionSpec("model")} for layer in FACTORS}
    specs["fc8"] = {"kernel": PartitionSpec()}
    made = jax.shard_map(
        update(txs[1]), mesh=mesh, in_specs=(specs,), out_specs=specs, check_vma=False
    )(params)
    assert_same(made, update(txs[0])(params))


def test_the_narrowest_rate_holds_in_any_order():
    rates = {"conv1": 3.0, "*": 0.1, "conv*": 0.5, "conv[12]": 2.0}
    for one in (rates, dict(reversed(rates.items()))):
        found = [factor_of(layer, one) for layer in ("conv1", "conv2", "conv3", "fc6")]
        assert found == [3.0, 2.0, 0.5, 0.1]
    assert factor_of("conv1", {}) == factor_of("conv1", {"fc*": 2.0}) == 1.0


@pytest.mark.parametrize(
    ("layer", "rates", "wanted"),
    [
        ("net/layers_0", {"net": 0.1, "net/layers_*": 10.0}, 10.0),
        ("block/conv1", {"block": 0.1, "*/conv1": 10.0}, 10.0),
        ("block/conv1", {"block": 0.1, "conv*": 10.0}, 10.0),
        ("block/conv1", {"block": 0.1, "conv1": 10.0}, 10.0),
        ("block/conv1", {"block/conv1": 10.0, "conv1": 0.1}, 10.0),
        ("block/conv1", {"block": 10.0, "*": 0.1}, 10.0),
        ("a/b/conv1", {"a": 0.1, "a/b": 10.0}, 10.0),
    ],
)
def test_the_narrowest_rate_of_nested_layers(layer, rates, wanted):
    check_rates([layer], rates)
    assert factor_of(layer, rates) == wanted


def test_two_rates_of_one_layer():
    check_rates(["conv1"], {"conv*": 2.0, "*onv1": 2.0})
    check_rates(["conv1"], {"conv*": 2.0, "*onv1": 3.0, "conv1": 4.0})
    with pytest.raises(InputError, match="both name conv1; give it a rate under its f"):
        check_rates(["conv1"], {"conv*": 2.0, "*onv1": 3.0})
    with pytest.raises(InputError, match="optim.rates: no layer is named 'fc9'; the n"):
        check_rates(["conv1", "fc8"], {"fc9": 10.0})
