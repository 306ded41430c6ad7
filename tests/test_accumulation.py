"""A batch in parts, one after the other, is the batch as a whole."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError
from alexnet_jax.metrics import create_loss
from alexnet_jax.models import create_model
from alexnet_jax.parallel import create_parallel
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.step import create_state, make_train_step
from alexnet_jax.train import train_and_evaluate
from tests.helpers import (
    AUGMENTED,
    UserNet,
    compare,
    metrics_of,
    padded_batch,
    setup_towers,
)

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")
HEAVY = pytest.mark.heavy
GRAY = measure([np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)])


@pytest.fixture
def padded():
    """A batch of 16 with 11 true images: of four parts the last holds padding only."""
    return padded_batch((16, 8, 8, 1), 11)


def step_of(
    parts, devices=1, *, model=None, tx=None, dtype="float32", frozen=frozenset()
):
    """The state after a step, and the step; augmented, with smoothed labels."""
    model = model or create_model("lenet5", num_classes=10, training=True)
    parallel = create_parallel(devices, 1, 16, "lenet5")
    settings, optim = default_config().augment, default_config().optim
    settings.update(AUGMENTED)
    optim.label_smoothing = 0.1
    prepare = create_pipeline("unit", lambda: GRAY, 28, settings)
    tx = tx or optax.sgd(1.0)
    step = make_train_step(
        parallel.local_model(model),
        tx,
        prepare,
        augment=prepare.augmented,
        loss=create_loss(optim),
        dtype=dtype,
        steps_per_epoch=3,
        log_every_steps=3,
        gradient_norms=True,
        frozen=frozen,
        accumulate_steps=parts,
        axis_name=parallel.axis_name,
    )
    state = create_state(model, tx, (1, 28, 28, 1), jax.random.key(0), frozen)
    compiled = parallel.compile_train(step)

    def train(batch):
        sent = parallel.shard_batch(batch)
        return jax.device_get(compiled(parallel.put(state), sent, jax.random.key(1)))

    return train


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("parts", "devices"),
    [(4, 1), (2, 2), *(pytest.param(*pair, marks=HEAVY) for pair in ((16, 1), (2, 8)))],
)
def test_parts_are_the_whole(parts, devices, padded):
    """Sums, gradients, their norms: with clipping, masks and augmentation."""
    tx = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0))
    whole = step_of(1, tx=tx)(padded)
    compare(whole, step_of(parts, devices, tx=tx)(padded))
    assert whole[0].epoch_sums["count"] == 11


def test_parts_are_computed_in_the_memory_of_one(padded):
    """The step's program is as long for four parts as for two."""

    def program(parts):
        model = UserNet()
        step = make_train_step(
            model,
            optax.sgd(1.0),
            lambda image: image.astype(jnp.float32) / 255,
            steps_per_epoch=3,
            log_every_steps=3,
            accumulate_steps=parts,
        )
        make = partial(create_state, model, optax.sgd(1.0), (1, 8, 8, 1))
        state = jax.eval_shape(make, jax.random.key(0))
        return str(jax.make_jaxpr(step)(state, padded, jax.random.key(1)))

    assert program(2).count("\n") == program(4).count("\n")
    assert "length=4" in program(4) and "length=" not in program(1)


@pytest.mark.slow
def test_bfloat16_is_no_worse(padded):
    """Gradients of the parts are added in float32."""
    exact = step_of(1)(padded)[0].params
    model = create_model("lenet5", num_classes=10, training=True)
    start = create_state(model, optax.sgd(1.0), (1, 28, 28, 1), jax.random.key(0))
    errors = []
    for parts in (1, 4):
        params = step_of(parts, dtype="bfloat16")(padded)[0].params
        off = jax.tree.map(lambda a, b: a - b, params, exact)
        errors.append(float(optax.tree.norm(off)))
    moved = float(
        optax.tree.norm(jax.tree.map(lambda a, b: a - b, exact, start.params))
    )
    assert errors[1] < 1.5 * errors[0] and errors[0] < 0.1 * moved


@pytest.mark.slow
def test_batch_norm_sees_a_part_at_a_time(padded):
    """Running statistics move once a part; dropout is drawn anew in each."""
    model, frozen = UserNet(), frozenset({"net/layers_0"})
    whole, _ = step_of(1, model=model, frozen=frozen)(padded)
    parts, _ = step_of(4, model=model, frozen=frozen)(padded)
    ratio = [state.batch_stats["net"]["layers_1"]["mean"] for state in (parts, whole)]
    # Of nearly equal parts: 1 - 0.9**4 of their mean, where the whole moves by 0.1.
    np.testing.assert_allclose(ratio[0] / ratio[1], (1 - 0.9**4) / 0.1, rtol=0.2)
    assert np.isfinite(parts.params["net"]["layers_5"]["kernel"]).all()
    first = [state.params["net"]["layers_0"]["kernel"] for state in (parts, whole)]
    np.testing.assert_array_equal(*first)  # it is frozen


@pytest.mark.slow
def test_parts_with_two_towers():
    batch = padded_batch((8, 16, 16, 3), 3)
    one, train_one, _ = setup_towers("alexnet_2012", 1, 1, batch)
    many, train_many, _ = setup_towers("alexnet_2012", 2, 2, batch, accumulate_steps=2)
    compare(train_one(one), train_many(many))


@pytest.mark.slow
def test_a_run_in_parts_has_the_same_records(config, tmp_path):
    names = ("step", "epoch", "train/loss", "train/top1", "test/loss", "test/top1")
    for config.optim.accumulate_steps in (1, 5):
        train_and_evaluate(config, tmp_path / f"{config.optim.accumulate_steps}")
    one, five = (np.array(metrics_of(tmp_path / n, *names)) for n in ("1", "5"))
    np.testing.assert_allclose(one, five, rtol=1e-3)
    assert len(one) == 2


@pytest.mark.parametrize(
    ("parts", "devices", "said"),
    [
        (3, 1, "batch_size, 400, such as 2; got 3"),
        (16, 2, "the 200 images of a batch on each device, such as 10, or set "
                "batch_size to a multiple of 32; got 16"),
        (500, 1, "batch_size, 400, such as 400; got 500"),
    ],
)  # fmt: skip
def test_parts_divide_what_a_device_has(parts, devices, said, config, tmp_path):
    config.optim.accumulate_steps, config.parallel.data = parts, devices
    with pytest.raises(InputError, match=f"^optim.accumulate_steps must divide {said}"):
        train_and_evaluate(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
