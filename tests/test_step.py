"""The step on one device and on several: the same sums, gradients and states."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import Batches
from alexnet_jax.data.statistics import measure
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import Classifier, create_model
from alexnet_jax.parallel import create_parallel
from alexnet_jax.preprocessing.pipeline import create_pipeline, scale_and_resize
from alexnet_jax.step import create_state, make_eval_step, make_train_step
from tests.helpers import AUGMENTED, UserNet, compare

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

SIZE = 28
GRAY = measure([np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)])


class LinearNet(Classifier):
    """Sees every pixel as it is."""

    def setup(self):
        self.net = nn.Sequential([flatten, nn.Dense(self.num_classes)])


def setup(
    model,
    devices,
    *,
    rate=1.0,
    log_every_steps=100,
    dtype="float32",
    size=SIZE,
    leaves=None,
):
    """Returns a fresh state and the compiled steps, with plain SGD.

    With `leaves` of `config.augment` training is augmented, and tested on ten views.

    At rate 1 the change of the parameters is the negative gradient.
    """
    parallel = create_parallel(devices, 1, devices, "lenet5")
    tx = optax.sgd(rate)
    common = {"dtype": dtype, "axis_name": parallel.axis_name}
    prepare = partial(scale_and_resize, size=size)
    augment = views = None
    if leaves:
        settings = default_config().augment
        settings.update(leaves)
        prepare = create_pipeline("unit", lambda: GRAY, size, settings)
        augment, views = prepare.augmented, prepare.views
    train_step = make_train_step(
        model,
        tx,
        prepare,
        augment=augment,
        steps_per_epoch=3,
        log_every_steps=log_every_steps,
        **common,
    )
    train_step = parallel.compile_train(train_step)
    eval_step = make_eval_step(model, prepare, views=views, **common)
    eval_step = parallel.compile_eval(eval_step)
    state = create_state(model, tx, (1, size, size, 1), jax.random.key(0))
    state = parallel.put(state)

    def train(state, batch):
        return train_step(state, parallel.shard_batch(batch), jax.random.key(1))[0]

    def evaluate(state, batch):
        return eval_step(state.params, state.model_state, parallel.shard_batch(batch))

    return state, train, evaluate


@pytest.fixture
def padded():
    """A batch of 16 with 3 true images: on 8 devices six hold padding only."""
    generator = np.random.default_rng(1)
    image = generator.integers(0, 256, (16, 8, 8, 1), np.uint8)
    label = generator.integers(0, 10, 16).astype(np.int32)
    return {"image": image, "label": label, "mask": np.arange(16) < 3}


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("full", [True, False])
def test_gradients_on_several_devices(devices, full, padded):
    if full:
        padded["mask"][:] = True
    model = create_model("lenet5", num_classes=10, training=True)
    one, train_one, eval_one = setup(model, 1)
    many, train_many, eval_many = setup(model, devices)
    compare(train_one(one, padded), train_many(many, padded))
    compare(eval_one(one, padded), eval_many(many, padded))


@pytest.mark.slow
def test_devices_draw_the_same_crops_and_colors(padded):
    """Chunks that share a crop lie across the devices' shares."""
    padded["mask"][:] = True
    model = LinearNet()
    one, train_one, eval_one = setup(model, 1, leaves=AUGMENTED)
    many, train_many, eval_many = setup(model, 4, leaves=AUGMENTED)
    compare(eval_one(one, padded), eval_many(many, padded))
    first, plain = train_one(one, padded), setup(model, 1)[1](one, padded)
    compare(first, train_many(many, padded))
    with pytest.raises(AssertionError):  # and they do matter
        compare(first.params, plain.params, rtol=1e-2)
    second = train_one(first.replace(params=one.params), padded)
    with pytest.raises(AssertionError):  # drawn anew in each step
        compare(first.params, second.params, rtol=1e-2)


@pytest.mark.slow
def test_ten_views_average_probabilities(padded):
    """Of seven classes, so that top-5 is no certainty; label by label."""
    model = LinearNet(num_classes=7)
    state, _, evaluate = setup(model, 1, leaves={"canvas": 32})
    # Sharp and various, so that the mean of logits is something else.
    params = jax.tree.map(lambda leaf: leaf * 4, state.params)
    state = state.replace(params=params)
    settings = default_config().augment
    settings.canvas = 32
    image = jnp.asarray(padded["image"])
    view = create_pipeline("unit", lambda: GRAY, SIZE, settings).views(image)
    apply = jax.jit(model.clone(training=False).apply)
    logits = np.stack([apply({"params": params}, view(index)) for index in range(10)])
    probability = np.asarray(jax.nn.softmax(logits)).mean(0)
    of_logits = np.asarray(jax.nn.softmax(logits.mean(0)))
    assert np.abs(probability - of_logits).max() > 1e-2
    label = padded["label"] = padded["label"] % 7
    padded["mask"][:] = True
    sums = jax.device_get(evaluate(state, padded))
    own = probability[np.arange(16), label]
    assert sums["loss"] == pytest.approx(-np.log(own).sum(), rel=1e-5)
    better = (probability > own[:, None]).sum(axis=1)
    assert (sums["top1"], sums["top5"]) == ((better < 1).sum(), (better < 5).sum())
    assert 0 < sums["top5"] < 16


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_groups_and_normalization_on_several_devices(dtype, padded):
    """In bfloat16 the devices' gradients are rounded before they are summed."""
    model = create_model(
        "alexnet_2012", num_classes=10, training=True, width=1 / 16, dropout_rate=0.0
    )
    model = model.clone(initializer="torch")
    one, train_one, _ = setup(model, 1, dtype=dtype, size=40)
    many, train_many, _ = setup(model, 4, dtype=dtype, size=40)
    rtol = 1e-5 if dtype == "float32" else 2e-2
    compare(train_one(one, padded), train_many(many, padded), rtol=rtol)


@pytest.mark.heavy
def test_padding_has_no_part_in_the_gradient(padded):
    model = create_model("lenet5", num_classes=10, training=True)
    state, train, evaluate = setup(model, 4)
    other = padded | {"image": padded["image"].copy(), "label": padded["label"].copy()}
    other["image"][3:], other["label"][3:] = 0, 9
    compare(train(state, padded), train(state, other), rtol=1e-7)
    sums = evaluate(state, padded)
    assert float(sums["count"]) == 3
    compare(sums, evaluate(state, other), rtol=1e-7)


@pytest.mark.heavy
def test_gradient_is_of_the_mean_loss_over_true_images(padded):
    model = create_model("lenet5", num_classes=10, training=True)
    state, train, _ = setup(model, 4)
    image = jax.image.resize(
        padded["image"][:3] / np.float32(255), (3, SIZE, SIZE, 1), "bilinear"
    )

    def loss(params):
        logits = model.apply({"params": params}, image)
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits, padded["label"][:3]
        )
        return losses.mean()

    expected = jax.tree.map(
        lambda p, g: p - g, state.params, jax.grad(loss)(state.params)
    )
    compare(expected, train(state, padded).params)


@pytest.mark.heavy
def test_sums_start_anew(batches):
    state, train, _ = setup(
        create_model("lenet5", num_classes=10, training=True), 2, log_every_steps=2
    )
    counts = []
    for step in range(7):
        state = train(state, batches.batch(step))
        counts.append(
            (float(state.epoch_sums["count"]), float(state.window_sums["count"]))
        )
    # Epochs of 4 + 4 + 2 images; windows of two steps within an epoch.
    assert counts == [(4, 4), (8, 8), (10, 2), (4, 4), (8, 8), (10, 2), (4, 4)]
    assert int(state.step) == 7


@pytest.mark.heavy
def test_evaluation_counts_every_example_once(batches):
    state, _, evaluate = setup(create_model("lenet5", num_classes=10, training=True), 2)
    ordered = Batches(batches.image, batches.label, 4)
    sums = [evaluate(state, ordered.batch(step)) for step in range(3)]
    whole = evaluate(state, Batches(batches.image, batches.label, 10).batch(0))
    assert float(whole["count"]) == 10
    for name, value in whole.items():
        assert float(value) == pytest.approx(
            sum(float(s[name]) for s in sums), rel=1e-5
        )


@pytest.mark.heavy
@pytest.mark.parametrize("devices", [1, 4])
def test_batch_norm_trains(devices, padded):
    state, train, evaluate = setup(UserNet(), devices, rate=0.01)
    before = state.model_state["batch_stats"]
    losses = []
    padded["mask"][:] = True
    for _ in range(9):
        state = train(state, padded)
        losses.append(float(state.epoch_sums["loss"]))
    assert losses[-1] < losses[2]  # of whole epochs
    changed = jax.tree.map(
        lambda a, b: not np.allclose(a, b), before, state.model_state["batch_stats"]
    )
    assert all(jax.tree.leaves(changed))
    # Evaluation reads the running statistics, which are the same on every device.
    assert np.isfinite(float(evaluate(state, padded)["loss"]))


@pytest.mark.heavy
def test_dropout_differs_between_devices_and_steps():
    """Equal images in one batch; with a common mask all devices would agree."""

    class DropNet(Classifier):
        def setup(self):
            dropout = nn.Dropout(0.5, deterministic=not self.training)
            self.net = nn.Sequential([flatten, dropout, nn.Dense(10, use_bias=False)])

    image = np.full((4, 8, 8, 1), 255, np.uint8)
    batch = {"image": image, "label": np.zeros(4, np.int32), "mask": np.ones(4, bool)}

    def dropped(state, train):
        new = train(state, batch)
        (before,), (after,) = map(jax.tree.leaves, (state.params, new.params))
        return np.asarray(jnp.abs(after - before)[:, 0] > 1e-7), new

    state, train, _ = setup(DropNet(), 4)
    kept, new = dropped(state, train)
    # One mask of 0.5 leaves half of the inputs untouched; four leave one in sixteen.
    assert kept.mean() > 0.8
    again, _ = dropped(state, train)
    np.testing.assert_array_equal(kept, again)
    other, _ = dropped(new.replace(params=state.params), train)
    assert not np.array_equal(kept, other)


@pytest.mark.slow
def test_bfloat16_keeps_parameters_and_loss_in_float32(padded):
    model = create_model("lenet5", num_classes=10, training=True)
    full, train_full, _ = setup(model, 1)
    half, train_half, evaluate = setup(model, 1, dtype="bfloat16")
    full, half = train_full(full, padded), train_half(half, padded)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half.params))
    assert evaluate(half, padded)["loss"].dtype == jnp.float32
    loss_full, loss_half = (float(s.epoch_sums["loss"]) for s in (full, half))
    assert loss_half == pytest.approx(loss_full, rel=0.02) and loss_half != loss_full
    compare(full.params, half.params, rtol=0.15)
