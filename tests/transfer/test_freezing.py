"""Frozen layers: no gradient, no memory, no change, on every layout of devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.models import create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.step import create_state, make_train_step
from alexnet_jax.transfer.freezing import frozen_layers, hold_state, join, split
from tests.helpers import UserNet, assert_same_bits, compare, setup_towers

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

RULES = {
    "sgd": {"momentum": 0.9, "weight_decay": 0.1},
    "sgd_2012": {"momentum": 0.9, "weight_decay": 0.1},
    "adamw": {"weight_decay": 0.1},
}
SHAPE = (1, 8, 8, 1)


def batch(count=4, size=8, channels=1):
    generator = np.random.default_rng(1)
    return {
        "image": generator.integers(0, 256, (count, size, size, channels), np.uint8),
        "label": generator.integers(0, 10, count).astype(np.int32),
        "mask": np.ones(count, bool),
    }


def optimizer(name, **changes):
    optim = default_config().optim
    optim.update(name=name, **RULES[name] | changes)
    return create_optimizer(optim, create_schedule(optim, 0.1, 9, 1))


def step_of(model, tx, frozen, **settings):
    return make_train_step(
        model,
        tx,
        lambda image: image.astype(jnp.float32) / 255,
        steps_per_epoch=9,
        log_every_steps=9,
        frozen=frozenset(frozen),
        **settings,
    )


def trained(model, tx, frozen, steps=3):
    start = create_state(model, tx, SHAPE, jax.random.key(0), frozenset(frozen))
    step, state = jax.jit(step_of(model, tx, frozen)), start
    for _ in range(steps):
        state, _ = step(state, batch(), jax.random.key(1))
    return jax.device_get((start, state))


def bytes_of(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


CONV, NORM, DENSE = "net/layers_0", "net/layers_1", "net/layers_5"


@pytest.mark.heavy
@pytest.mark.parametrize("name", RULES)
def test_frozen_arrays_stay_and_have_no_memory(name):
    tx, frozen = optimizer(name), {CONV, NORM}
    before, after = trained(UserNet(), tx, frozen)
    old, new = before.params["net"], after.params["net"]
    for layer in ("layers_0", "layers_1"):
        assert_same_bits(old[layer], new[layer])
    assert not np.array_equal(old["layers_5"]["kernel"], new["layers_5"]["kernel"])
    assert_same_bits(before.model_state, after.model_state)
    whole = create_state(UserNet(), tx, SHAPE, jax.random.key(0))
    copies = 2 if name == "adamw" else 1
    held = old["layers_0"], old["layers_1"]
    saved = bytes_of(whole.opt_state) - bytes_of(before.opt_state)
    assert saved == copies * bytes_of(held) > 0
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.structure(before.params) == jax.tree.structure(whole.params)


@pytest.mark.heavy
def test_zero_of_either_sign_stays():
    tx = optimizer("sgd")
    state = create_state(UserNet(), tx, SHAPE, jax.random.key(0), frozenset({CONV}))
    params = jax.device_get(state.params)
    params["net"]["layers_0"]["bias"] = np.float32([0.0, -0.0, -0.0, 0.0])
    state = state.replace(params=params)
    new, _ = jax.jit(step_of(UserNet(), tx, {CONV}))(state, batch(), jax.random.key(1))
    assert_same_bits(
        jax.device_get(new.params["net"]["layers_0"]), params["net"]["layers_0"]
    )


@pytest.mark.heavy
def test_what_learns_learns_as_if_the_frozen_were_constants():
    """By hand: the gradient of the last layer alone, and its norm for clipping."""
    model, tx = UserNet(training=False), optimizer("sgd", clip_norm=0.01)
    before, after = trained(model, tx, {CONV, NORM}, steps=1)
    data = batch()
    image, label = data["image"].astype(np.float32) / 255, data["label"]

    def loss(dense):
        params = {"net": {**before.params["net"], "layers_5": dense}}
        logits = model.apply({"params": params, **before.model_state}, image)
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

    dense = before.params["net"]["layers_5"]
    grads = jax.grad(loss)(dense)
    factor = 0.01 / float(optax.tree.norm(grads))
    assert factor < 1
    expected = jax.tree.map(lambda w, g: w - 0.1 * (factor * g + 0.1 * w), dense, grads)
    compare(after.params["net"]["layers_5"], expected)


class CallNet(UserNet):
    """BatchNorm as others write it: told at the call whether it is in training."""

    def setup(self):
        self.norm = nn.BatchNorm(momentum=0.9)
        self.net = nn.Sequential(
            [
                nn.Conv(4, (3, 3), strides=2),
                lambda x: self.norm(x, use_running_average=not self.training),
                lambda x: x.reshape(len(x), -1),
                nn.Dropout(0.5, deterministic=not self.training),
                nn.Dense(self.num_classes),
            ]
        )


@pytest.mark.heavy
@pytest.mark.parametrize("kind", [UserNet, CallNet])
def test_batch_norm_is_that_of_an_evaluation_and_dropout_is_not(kind):
    model, tx = kind(), optimizer("sgd")
    shapes = create_state(model, tx, SHAPE, jax.random.key(0))
    optim = default_config().optim
    names = "*orm*" if kind is CallNet else "layers_1"
    (norm,) = frozen_layers(
        _set(optim, freeze=names), shapes.params, shapes.model_state
    )
    before, after = trained(model, tx, {norm}, steps=1)
    free = trained(model, tx, (), steps=1)[1]
    assert_same_bits(before.model_state, after.model_state)
    assert not np.array_equal(
        *(np.concatenate(jax.tree.leaves(s.model_state)) for s in (free, after))
    )
    # Its running statistics are not the batch's, so that the others learn otherwise.
    losses = [float(state.epoch_sums["loss"]) for state in (after, free)]
    assert losses[0] != losses[1]
    # Dropout draws: other keys, other losses.
    step = jax.jit(step_of(model, tx, {norm}))
    sums = [
        float(step(before, batch(), jax.random.key(key))[0].epoch_sums["loss"])
        for key in (1, 2)
    ]
    assert sums[0] == losses[0] != sums[1]


def _set(optim, **changes):
    optim.update(changes)
    return optim


@pytest.mark.slow
def test_gradients_below_the_first_that_learns_are_not_computed():
    tx, data, model = (
        optimizer("sgd"),
        batch(4, 28),
        create_model("lenet5", num_classes=10, training=True),
    )
    key = jax.random.key(0)

    def flops(frozen):
        frozen = frozenset(frozen)
        state = jax.eval_shape(
            lambda: create_state(model, tx, (1, 28, 28, 1), key, frozen)
        )
        step = jax.jit(step_of(model, tx, frozen))
        return step.lower(state, data, key).compile().cost_analysis()["flops"]

    params = model.init(key, jnp.zeros((1, 28, 28, 1)))
    image = jnp.zeros((4, 28, 28, 1))
    forward = jax.jit(model.apply).lower(params, image).compile()
    last = flops({"conv1", "conv2", "fc3", "fc4"})
    first = flops({"conv2", "fc3", "fc4", "fc5"})
    assert last < 1.1 * forward.cost_analysis()["flops"]
    assert last < first < flops(())


@pytest.mark.heavy
def test_norms_of_gradients_are_of_what_learns():
    tx = optimizer("sgd")
    state = create_state(UserNet(), tx, SHAPE, jax.random.key(0), frozenset({CONV}))
    step = jax.jit(step_of(UserNet(), tx, {CONV}, gradient_norms=True))
    assert {*step(state, batch(), jax.random.key(1))[1]} == {DENSE}


@pytest.mark.slow
@pytest.mark.parametrize("layout", [(1, 2), (2, 1), (2, 2)], ids=str)
def test_layouts_of_devices_agree(layout):
    images = batch(8, 16, 3)
    frozen = frozenset({"conv1", "norm1", "conv2", "fc7"})
    tx = optimizer("sgd", clip_norm=0.5)
    name, fields = "alexnet_2012", {"normalization": "batch", "frozen": frozen}
    one, train_one, _ = setup_towers(name, 1, 1, images, tx, **fields)
    towers = tx
    if layout[1] > 1:
        optim = _set(default_config().optim, **RULES["sgd"], clip_norm=0.5)
        schedule = create_schedule(optim, 0.1, 9, 1)
        towers = create_optimizer(optim, schedule, "model")
    many, train_many, _ = setup_towers(name, *layout, images, towers, **fields)
    start = jax.device_get(many)
    one, many = train_one(one), train_many(many)
    compare(one, many)
    end = jax.device_get(many)
    for layer in frozen - {"norm1"}:
        assert_same_bits(start.params[layer], end.params[layer])
    stats = [state.model_state["batch_stats"] for state in (start, end)]
    assert_same_bits(stats[0]["norm1"], stats[1]["norm1"])
    assert not np.array_equal(stats[0]["norm2"]["mean"], stats[1]["norm2"]["mean"])


def test_the_state_of_frozen_layers_is_kept_in_all_collections():
    """Also where a mean over three devices of equal numbers is not that number."""
    old = {
        "batch_stats": {"a": {"mean": 1}, "b": {"mean": 2}},
        "counts": {"a": {"n": 3}},
    }
    new = jax.tree.map(lambda leaf: leaf + 10, old)
    assert hold_state(new, old, frozenset({"a"})) == {
        "batch_stats": {"a": {"mean": 1}, "b": {"mean": 12}},
        "counts": {"a": {"n": 3}},
    }


def test_parts_are_put_together_again():
    params = {"b": {"k": 1, "n": {"k": 2}}, "a": {"k": 3}}
    assert join(*split(params, frozenset({"b/n", "a"}))) == params
    assert split(params, frozenset()) == (params, {})
