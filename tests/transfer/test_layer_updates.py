"""The update of a layer-parameter file, against loops in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_model
from alexnet_jax.models.cuda_convnet.updates import ArrayUpdate, LayerUpdates, Rate
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.parallel.sharding import MODEL
from alexnet_jax.transfer.layer_updates import updates_of

KERNEL = ArrayUpdate(Rate(0.01), momentum=0.9, weight_decay=5e-4)
BIAS = ArrayUpdate(Rate(0.02), momentum=0.9, weight_decay=0.0)


def params_of(seed=0, **shapes):
    """Arrays of a layer each, `conv1=(2, 3)` being its kernel, with a bias."""
    draw = np.random.default_rng(seed).standard_normal
    return {
        layer: {
            "kernel": jnp.asarray(draw(shape), jnp.float32),
            "bias": jnp.asarray(draw(shape[-1:]), jnp.float32),
        }
        for layer, shape in shapes.items()
    }


def updates_for(params, kernel=KERNEL, bias=BIAS, **changes):
    arrays = {}
    for layer in params:
        arrays |= {f"{layer}/kernel": kernel, f"{layer}/bias": bias}
    arrays |= {name.replace("_", "/"): one for name, one in changes.items()}
    return LayerUpdates(arrays)


def optimizer(updates, num_epochs=1, tower_axis=None, **optim):
    """That of runs of ten steps an epoch."""
    config = default_config().optim
    config.update({"params": "layer-params.cfg", **optim})
    given = config.learning_rate
    rate = 0.01 if given is None else given
    schedule = create_schedule(config, rate, 10, num_epochs, updates)
    return create_optimizer(config, schedule, tower_axis, updates)


def train(tx, params, steps):
    """Parameters and states after each of so many jitted steps."""

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state, seen = tx.init(params), []
    for seed in range(steps):
        params, state = step(params, state, gradients(params, seed))
        seen.append((params, state))
    return seen


def gradients(params, seed):
    keys = iter(jax.random.split(jax.random.key(seed), 99))
    return jax.tree.map(
        lambda leaf: jax.random.normal(next(keys), leaf.shape, jnp.float32), params
    )


def by_hand(arrays, params, steps, rate_of, coefficient=1.0):
    """Krizhevsky's rule in float64, an array at a time; after the last step."""
    made = {}
    for layer, arrays_of_layer in params.items():
        for name, weight in arrays_of_layer.items():
            update = arrays[f"{layer}/{name}"]
            weight = np.asarray(weight, np.float64)
            change = np.zeros_like(weight)
            for step in range(steps):
                gradient = np.float64(gradients(params, step)[layer][name])
                rate = rate_of(update, step)
                change = update.momentum * change + rate * -coefficient * gradient
                change -= update.weight_decay * rate * weight
                weight = weight + change
            made[f"{layer}/{name}"] = weight
    return made


def check(params, expected, rtol=2e-5):
    for name, weight in expected.items():
        layer, array = name.split("/")
        np.testing.assert_allclose(params[layer][array], weight, rtol, 1e-6)


class TestRate:
    MOMENTS = (0.0, 0.1, 0.25, 0.3, 0.5, 0.51, 0.7, 0.75, 0.8, 0.95, 1.0)

    def expected(self, rate, progress):
        base, factor, steps = rate.base, rate.factor, rate.steps
        if rate.kind == "constant":
            return base
        if rate.kind == "linear":
            return base + (base / factor - base) * progress
        if rate.kind == "exp":
            return np.exp(np.log(base) - progress * np.log(factor))
        index = next(i for i in range(steps) if progress <= (i + 1) / steps)
        last = max(steps - 1, 1)
        stairs = [base * factor ** (-step / last) for step in range(steps)]
        stairs[-1] = base / factor
        late = progress > (index + 0.5) / steps and 0.2 < progress < 0.9
        if rate.kind == "jdexp" and index and late:
            return np.sqrt(stairs[index] * stairs[index - 1])
        return stairs[index]

    @pytest.mark.parametrize(
        "rate",
        [
            Rate(0.02),
            Rate(0.02, "linear", 8.0),
            Rate(0.02, "exp", 250.0),
            Rate(0.02, "dexp", 250.0, 4),
            Rate(0.04, "dexp", 10.0, 2),
            Rate(0.04, "dexp", 10.0, 1),
            Rate(0.02, "jdexp", 250.0, 4),
            Rate(0.02, "jdexp", 100.0, 10),
            Rate(0.0, "dexp", 10.0, 3),
        ],
        ids=str,
    )
    def test_moments_of_a_run(self, rate):
        if rate.base == 0:
            expected = np.zeros(len(self.MOMENTS))
        else:
            expected = [self.expected(rate, moment) for moment in self.MOMENTS]
        made = jax.jit(rate.at)(np.asarray(self.MOMENTS, np.float32))
        assert made.dtype == jnp.float32
        np.testing.assert_allclose(made, expected, 1e-6)
        one = rate.at(self.MOMENTS[5])
        assert one.shape == () and float(one) == pytest.approx(expected[5], rel=1e-6)

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ((0.1, "cosine"), r"kind must be one of \('constant', .*; got 'cosine'"),
            ((-0.1,), "base must be at least 0; got -0.1"),
            ((0.1, "exp", 0.0), "factor must be above 0; got 0.0"),
            ((0.1, "dexp", 2.0, 0), "steps must be at least 1; got 0"),
        ],
    )
    def test_values_that_are_not_allowed(self, values, said):
        with pytest.raises(InputError, match=said):
            Rate(*values)


class TestAsWritten:
    @pytest.mark.slow
    def test_each_array_has_its_own_numbers(self):
        params = params_of(conv1=(3, 3, 2, 4), fc8=(5, 3))
        updates = updates_for(
            params,
            conv1_kernel=ArrayUpdate(Rate(0.03, "dexp", 10.0, 2), 0.5, 0.1),
            conv1_bias=ArrayUpdate(Rate(0.05, "exp", 3.0), 0.8, 0.02),
            fc8_bias=ArrayUpdate(Rate(0.001), 0.0, 0.0),
        )

        def rate_of(update, step):
            return float(update.rate.at(step / 10))

        made = train(optimizer(updates), params, 10)[-1][0]
        check(made, by_hand(updates.arrays, params, 10, rate_of))

    @pytest.mark.heavy
    def test_rates_are_over_the_whole_run(self):
        params = params_of(fc8=(5, 3))
        fall = ArrayUpdate(Rate(0.03, "dexp", 1e4, 2), 0.0, 0.0)
        updates = updates_for(params, fall, fall)
        tx = optimizer(updates, num_epochs=3)
        made = [params, *(one for one, _ in train(tx, params, 18))]
        moved = [
            np.abs(np.subtract(new["fc8"]["bias"], old["fc8"]["bias"])).max()
            for old, new in zip(made, made[1:], strict=False)
        ]
        # The step at one half is the last of the old rate.
        assert min(moved[:16]) > 1e-3 > 1e-4 > max(moved[16:])

    @pytest.mark.heavy
    def test_a_rate_of_0_freezes_an_array_and_its_velocity(self):
        params = params_of(conv1=(3, 2), conv2=(3, 2))
        still = KERNEL._replace(rate=Rate(0.0), max_norm=1e-3)
        tx = optimizer(updates_for(params, conv1_kernel=still))
        made, state = train(tx, params, 3)[-1]
        assert np.array_equal(made["conv1"]["kernel"], params["conv1"]["kernel"])
        velocity = optax.tree_utils.tree_get(state, "trace")
        assert not velocity["conv1"]["kernel"].any()
        for layer, name in (("conv1", "bias"), ("conv2", "kernel"), ("conv2", "bias")):
            assert not np.array_equal(made[layer][name], params[layer][name])
            assert velocity[layer][name].all()

    def test_the_loss_is_multiplied(self):
        params = params_of(fc8=(5, 3))
        updates = updates_for(params)._replace(coefficient=0.1)
        made = train(optimizer(updates), params, 4)[-1][0]
        rate_of = lambda update, step: update.rate.base  # noqa: E731
        check(made, by_hand(updates.arrays, params, 4, rate_of, coefficient=0.1))

    def test_factors_of_layers_and_clipping(self):
        params = params_of(conv1=(3, 2), fc8=(5, 3))
        flat = ArrayUpdate(Rate(0.1), 0.0, 0.0)
        updates = updates_for(params, flat, flat)
        tx = optimizer(updates, rates={"fc8": 10.0}, clip_norm=1e-3)
        (made, _), *_ = train(tx, params, 1)
        moved = jax.tree.map(np.subtract, made, params)
        moved["fc8"] = {name: one / 10 for name, one in moved["fc8"].items()}
        norm = np.sqrt(sum(np.square(one).sum() for one in jax.tree.leaves(moved)))
        assert norm == pytest.approx(1e-4, rel=1e-2)

    def test_modules_within_others(self):
        params = {"block": params_of(conv1=(3, 2)), **params_of(conv1=(3, 2))}
        slow = KERNEL._replace(rate=Rate(1e-4))
        arrays = {
            f"{layer}/{name}": KERNEL if layer == "conv1" else slow
            for layer in ("conv1", "block/conv1")
            for name in ("kernel", "bias")
        }
        made = train(optimizer(LayerUpdates(arrays)), params, 1)[-1][0]
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), made, params)
        assert moved["conv1"]["kernel"] > 50 * moved["block"]["conv1"]["kernel"] > 0

    def test_an_array_without_a_rate(self):
        params = params_of(conv1=(3, 2))
        updates = updates_for({})
        with pytest.raises(InputError, match="a rate; got none for conv1/bias"):
            train(optimizer(updates), params, 1)


class TestLearningRate:
    @pytest.mark.heavy
    @pytest.mark.parametrize(
        "optim",
        [
            {},
            {"warmup_steps": 3},
            {"schedule": "2012"},
            {"schedule": "step", "decay_steps": (2,)},
            {"schedule": "plateau"},
            {"clip_norm": 0.5, "rates": {"conv*": 0.3}},
        ],
        ids=str,
    )
    def test_it_is_sgd_2012_to_the_bit(self, optim):
        params = params_of(conv1=(3, 3, 2, 4), fc8=(5, 3))
        optim = {"learning_rate": 0.015, **optim}
        other = Rate(0.7, "exp", 3.0)
        kernel, bias = KERNEL._replace(rate=other), BIAS._replace(rate=other)
        ours = optimizer(updates_for(params, kernel, bias), **optim)
        config = default_config().optim
        config.update(optim)
        config.update(name="sgd_2012", momentum=0.9, weight_decay=5e-4)
        theirs = create_optimizer(config, create_schedule(config, 0.015, 10, 1))
        made, expected = (train(tx, params, 5) for tx in (ours, theirs))
        for (params, state), (other_params, other_state) in zip(
            made, expected, strict=True
        ):
            jax.tree.map(np.testing.assert_array_equal, params, other_params)
            velocities = (
                optax.tree_utils.tree_get(one, "trace") for one in (state, other_state)
            )
            jax.tree.map(np.testing.assert_array_equal, *velocities)

    def test_momenta_and_decays_stay_the_files(self):
        params = params_of(conv1=(3, 3, 2, 4), fc8=(5, 3))
        updates = updates_for(
            params,
            conv1_kernel=ArrayUpdate(Rate(0.0), 0.5, 0.1),
            fc8_bias=ArrayUpdate(Rate(0.3), 0.2, 0.03),
        )

        def rate_of(update, step):
            is_bias = update in (BIAS, updates.arrays["fc8/bias"])
            return 0.04 if is_bias else 0.02

        made = train(optimizer(updates, learning_rate=0.02), params, 4)[-1][0]
        check(made, by_hand(updates.arrays, params, 4, rate_of))

    def test_at_0_nothing_moves(self):
        params = params_of(fc8=(5, 3))
        updates = updates_for(params, KERNEL._replace(max_norm=1e-3))
        made = train(optimizer(updates, learning_rate=0.0), params, 2)[-1][0]
        jax.tree.map(np.testing.assert_array_equal, made, params)


class TestBounds:
    """After the update: `contrast` first, then `max_norm`."""

    def units(self, kernel, local=False):
        """The weights of each unit, as it is held: views of the array."""
        if local:
            rows, columns, _, outputs = kernel.shape
            return [
                kernel[row, column, :, output]
                for row in range(rows)
                for column in range(columns)
                for output in range(outputs)
            ]
        return [kernel[..., output] for output in range(kernel.shape[-1])]

    def by_hand(self, kernel, update):
        held = np.array(kernel, np.float64)
        least, largest = update.contrast
        for unit in self.units(held, update.local):
            contrast = np.linalg.norm(unit - unit.mean()) / unit.size
            if largest and contrast < least:
                unit *= least / contrast
            elif largest and contrast > largest:
                unit *= largest / contrast
            norm, most = np.linalg.norm(unit), update.max_norm * unit.size
            if update.max_norm and norm > most:
                unit *= most / norm
        return held

    @pytest.mark.heavy
    @pytest.mark.parametrize(
        ("shape", "bounds"),
        [
            ((5, 6), {"max_norm": 0.4}),
            ((3, 3, 2, 8), {"max_norm": 0.222}),
            ((2, 3, 5, 4), {"max_norm": 0.4, "local": True}),
            ((3, 3, 2, 8), {"contrast": (0.22, 0.24)}),
            ((3, 3, 2, 8), {"contrast": (0.22, 0.26), "max_norm": 0.2444}),
        ],
        ids=str,
    )
    def test_units_are_scaled(self, shape, bounds):
        params = params_of(layer=shape)
        held = KERNEL._replace(**bounds)
        free, free_state = train(optimizer(updates_for(params)), params, 1)[0]
        made, state = train(optimizer(updates_for(params, held)), params, 1)[0]
        kernel, unheld = made["layer"]["kernel"], free["layer"]["kernel"]
        np.testing.assert_allclose(kernel, self.by_hand(unheld, held), 1e-5)
        same = [
            np.array_equal(*pair)
            for pair in zip(*(self.units(np.asarray(one), held.local)
                              for one in (kernel, unheld)), strict=True)
        ]  # fmt: skip
        assert {*same} == {True, False}  # units within their bounds, to the bit
        jax.tree.map(
            np.testing.assert_array_equal,
            *(optax.tree_utils.tree_get(one, "trace") for one in (state, free_state)),
        )

    def test_a_later_step_begins_where_the_bounds_left_off(self):
        params = params_of(fc8=(5, 6))
        held = KERNEL._replace(max_norm=0.1)
        tx = optimizer(updates_for(params, held), learning_rate=0.1)
        for made, _ in train(tx, params, 4):
            norms = np.linalg.norm(made["fc8"]["kernel"], axis=0)
            assert norms.max() == pytest.approx(0.5, rel=1e-5)

    def test_a_filter_of_equal_weights_stays(self):
        params = {"conv1": {"kernel": jnp.ones((3, 3, 1, 2))}}
        held = ArrayUpdate(Rate(0.5), 0.0, 0.0, contrast=(0.1, 0.2))
        tx = optimizer(LayerUpdates({"conv1/kernel": held}))
        updates, _ = tx.update(params, tx.init(params), params)
        made = optax.apply_updates(params, updates)
        np.testing.assert_array_equal(
            made["conv1"]["kernel"], np.full((3, 3, 1, 2), 0.5)
        )

    @pytest.mark.heavy
    def test_two_towers_are_held_as_one_device_is(self):
        params = params_of(conv1=(3, 3, 2, 8), fc6=(5, 6))
        held = KERNEL._replace(contrast=(0.22, 0.24), max_norm=0.222)
        updates = updates_for(params, held, fc6_kernel=KERNEL._replace(max_norm=0.4))
        whole, halves = (
            optimizer(updates, tower_axis=axis, clip_norm=0.5) for axis in (None, MODEL)
        )
        grads = gradients(params, 0)

        def move(tx, params, grads):
            return tx.update(grads, tx.init(params), params)[0]

        mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (MODEL,))
        cut = jax.tree.map(lambda leaf: jax.P(*[None] * (leaf.ndim - 1), MODEL), params)
        divided = jax.shard_map(
            partial(move, halves), mesh=mesh, in_specs=(cut, cut), out_specs=cut
        )
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
            jax.jit(divided)(params, grads),
            jax.jit(partial(move, whole))(params, grads),
        )


def test_a_network_that_was_made_without_a_file():
    model = create_model("lenet5", num_classes=10, training=True)
    assert updates_of(model, None) is None
    with pytest.raises(InputError, match="must not be set with LeNet, .* got 'a.cfg'"):
        updates_of(model, "a.cfg")


def test_a_network_says_its_updates():
    class Model:
        layer_updates = updates_for({"fc8": {}})

    assert updates_of(Model(), "a.cfg") is Model.layer_updates
