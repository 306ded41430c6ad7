"""Images on the devices, bit for bit the plain loop; several steps a dispatch."""

import jax
import numpy as np
import pytest

from alexnet_jax import loop
from alexnet_jax.config import default_config, validate
from alexnet_jax.data import Batches
from alexnet_jax.errors import InputError
from alexnet_jax.feeding import feeds
from alexnet_jax.feeding.feeds import DeviceFeed, HostFeed, create_feed
from alexnet_jax.models import create_model
from alexnet_jax.parallel import DataParallel, create_parallel
from alexnet_jax.run.signals import Stopped, StopSignal
from alexnet_jax.train import train_and_evaluate
from tests.helpers import AUGMENTED, UserNet, assert_same_bits, checkpoint_of

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")
HEAVY = pytest.mark.heavy


def split_of(batch_size=4, seed=3, side=8, channels=1):
    """22 images: six batches an epoch, the last of two."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (22, side, side, channels), np.uint8)
    return Batches(image, np.arange(22, dtype=np.int32) % 10, batch_size, seed)


class Saved:
    """Takes the states of a run in place of its folder."""

    def __init__(self):
        self.states = {}

    def best_top1(self):
        return -1.0

    def save(self, step, state, row):
        self.states[step] = jax.device_get(state)
        return 0.0


@pytest.fixture
def config():
    config = default_config()
    config.batch_size, config.num_epochs, config.log.every_steps = 4, 2, 3
    config.data.image_size = 8
    config.optim.momentum = 0.9
    config.log.gradients = True
    config.parallel.data = 1
    return config


def fit(config, state=None, model=None, stop=None, split=None, name="lenet5"):
    """Returns the states that a run saves, and its rows."""
    parallel = create_parallel(
        config.parallel.data, config.parallel.model, config.batch_size, name
    )
    split = split or split_of()
    test = split_of(22, None, channels=split.image_shape[-1])
    trainer = loop.Trainer(
        config, model or UserNet(num_classes=10), split, test, parallel
    )
    saved, rows = Saved(), []
    state = trainer.put(state or trainer.draw())
    stop = stop or StopSignal()
    trainer.fit(state, rows.append, saved, stop=stop, say=lambda _: None)
    clocks = ("images_per_s", "save_s", "time_s", "eval_s")
    for row, name in ((row, name) for row in rows for name in clocks):
        row.pop(name, None)
    return saved.states, rows


@pytest.fixture
def sent(monkeypatch):
    """The first step and the number of steps of each dispatch."""
    seen, send = [], DeviceFeed.send

    def note(self, step, count):
        seen.append((step, count))
        return send(self, step, count)

    monkeypatch.setattr(DeviceFeed, "send", note)
    return seen


@pytest.fixture
def as_gpu(monkeypatch):
    """Feeds the loop as a GPU's; XLA's CPU compiler computes it."""
    return lambda: monkeypatch.setattr(feeds.jax, "default_backend", lambda: "gpu")


def assert_near(one, other):
    """As several steps in one program round: rows of the same steps, near numbers."""
    assert [row["step"] for row in one[1]] == [row["step"] for row in other[1]]
    # Not relative: the gradient of a bias before BatchNorm is nothing but rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4), one, other)


@pytest.mark.slow
def test_events_fall_between_dispatches(config, sent, as_gpu):
    """Rows, checkpoints, the epoch's end and the run's: all as in the plain loop."""
    config.num_train_steps, config.checkpoint.every_steps = 11, 7
    states, rows = fit(config)
    assert [row["step"] for row in rows] == [3, 6, 9, 11] and list(states) == [6, 7, 11]
    assert "test/top1" in rows[1]
    assert sum(key.startswith("grad/") for key in rows[0]) == 2
    config.data.memory = "device"
    assert_same_bits((states, rows), fit(config))
    assert {count for _, count in sent} == {1}
    sent.clear()
    config.steps_per_dispatch = 3
    assert_same_bits((states, rows), fit(config))
    assert {count for _, count in sent} == {1}  # a CPU goes one by one
    sent.clear()
    as_gpu()
    assert_near((states, rows), fit(config))
    # The first two are sent to be compiled for. Step 7 is saved.
    assert sorted(sent[:2]) == [(0, 1), (0, 3)]
    assert sent[2:] == [(0, 3), (3, 3), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1)]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("devices", "towers"),
    [
        (1, 1),
        pytest.param(2, 1, marks=pytest.mark.slow),
        pytest.param(1, 2, marks=pytest.mark.slow),
        pytest.param(2, 2, marks=pytest.mark.slow),
    ],
)
def test_any_devices(config, devices, towers, as_gpu):
    """Dropout, running statistics, augmentation, towers, norms over the gradient."""
    config.optim.clip_norm = 0.1
    config.optim.ema, config.optim.accumulate_steps = 0.9, 2
    config.parallel.data, config.parallel.model = devices, towers
    config.augment.update(AUGMENTED)
    config.num_epochs = 1
    model, split, name = None, split_of(channels=3), "lenet5"
    if towers == 2:
        name = "alexnet_2012"
        config.augment.canvas, config.data.image_size = 72, 67
        model = create_model(name, training=True, width=1 / 8, num_classes=10)
    plain = fit(config, None, model, None, split, name)
    config.data.memory, config.steps_per_dispatch = "device", 3
    assert_same_bits(plain, fit(config, None, model, None, split, name))
    as_gpu()
    assert_near(plain, fit(config, None, model, None, split, name))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, pytest.param(None, marks=HEAVY)])
def test_a_signal_stops_after_the_dispatch_and_the_run_goes_on(
    config, steps, sent, as_gpu
):
    if steps:
        as_gpu()
    config.data.memory, config.steps_per_dispatch = "device", steps
    states, rows = fit(config)
    sent.clear()

    class Stop:
        @property
        def received(self):
            return 2 if len(sent) > (3 if steps else 4) else None

    parallel = create_parallel(1, 1, 4, "lenet5")
    trainer = loop.Trainer(
        config, UserNet(num_classes=10), split_of(), split_of(11, None), parallel
    )
    saved, first = Saved(), []
    with pytest.raises(Stopped) as stopped:
        trainer.fit(
            trainer.draw(), first.append, saved, stop=Stop(), say=lambda _: None
        )
    assert stopped.value.step == (6 if steps else 4)
    again, rest = fit(config, saved.states[stopped.value.step])
    assert_same_bits(states[12], again[12])
    last = {name: rows[-1][name] for name in ("train/loss", "test/loss")}
    assert last == {name: rest[-1][name] for name in last}


@HEAVY
def test_a_whole_run(data_dir, tmp_path):
    """By the command's job, on the digits."""
    config = default_config()
    config.batch_size, config.num_train_steps, config.log.every_steps = 500, 2, 2
    config.model.name, config.data.image_size = "lenet5", 28
    config.data.name, config.data.data_dir = "digits", str(data_dir)
    config.log.tensorboard = False
    config.parallel.data = 1
    train_and_evaluate(config, tmp_path / "plain")
    config.data.memory, config.steps_per_dispatch = "device", 2
    train_and_evaluate(config, tmp_path / "two")
    assert_same_bits(*(checkpoint_of(tmp_path / name, 2) for name in ("plain", "two")))


class Drawn(Batches):
    """Batches that are not those of their arrays."""


class TestChoice:
    def feed(self, config, split=None, flop=1e15):
        parallel = DataParallel(jax.devices()[:1])
        split = split or split_of()
        return create_feed(config, split, parallel, jax.random.key(0), lambda: flop)

    @pytest.mark.parametrize(
        ("backend", "flop", "kind", "most"),
        [
            ("cpu", 1e3, HostFeed, 1),
            ("gpu", 1e3, DeviceFeed, 10),
            ("gpu", 1e12, DeviceFeed, 1),
        ],
    )
    def test_by_itself(self, config, monkeypatch, backend, flop, kind, most):
        monkeypatch.setattr(feeds.jax, "default_backend", lambda: backend)
        config.log.every_steps = 50
        split = split_of(batch_size=2)  # eleven steps an epoch
        feed = self.feed(config, split, flop)
        assert type(feed) is kind and feed.most == most
        # One that draws otherwise, and whatever reads from disk, sends its batches.
        assert (
            type(self.feed(config, Drawn(split_of().image, split_of().label, 4)))
            is HostFeed
        )
        config.debug.nans = True
        assert type(self.feed(config)) is HostFeed

    def test_what_does_not_fit_stays(self, config, monkeypatch):
        monkeypatch.setattr(feeds.jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(feeds, "device_memory", lambda: 8 * 22 * 64)
        assert type(self.feed(config)) is DeviceFeed
        monkeypatch.setattr(feeds, "device_memory", lambda: 8 * 22 * 64 - 1)
        assert type(self.feed(config)) is HostFeed
        config.data.memory = "device"
        assert type(self.feed(config)) is DeviceFeed
        config.data.memory = "host"
        assert type(self.feed(config)) is HostFeed

    def test_all_processes_decide_the_same(self, config, monkeypatch):
        """Another's device is smaller: where steps differ, each waits for the other."""
        monkeypatch.setattr(feeds.jax, "default_backend", lambda: "gpu")
        asked = []
        monkeypatch.setattr(feeds, "smallest", lambda fits: asked.append(fits) or 0)
        assert type(self.feed(config)) is HostFeed
        assert asked == [1]

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            ({"data.memory": "device"}, "data.memory='device' wants images of one"),
            ({"steps_per_dispatch": 2}, "steps_per_dispatch=2 wants images of one"),
        ],
    )
    def test_what_is_read_from_disk(self, config, keys, line):
        config.update_from_flattened_dict(keys)
        image, label = split_of().image, split_of().label
        with pytest.raises(InputError, match=f"^{line}"):
            self.feed(config, Drawn(image, label, 4))

    @pytest.mark.parametrize(
        ("keys", "most"),
        [
            ({"log.every_steps": 2}, 2),
            ({"checkpoint.every_steps": 3}, 3),
            ({}, 6),  # an epoch
        ],
    )
    def test_no_more_steps_than_events_allow(self, config, as_gpu, keys, most):
        config.steps_per_dispatch, config.log.every_steps = 100, 50
        config.update_from_flattened_dict(keys)
        assert self.feed(config).most == 1  # on a CPU
        as_gpu()
        assert self.feed(config).most == most

    def test_not_on_the_devices(self, config):
        config.data.memory, config.steps_per_dispatch = "host", 1
        assert type(self.feed(config)) is HostFeed
        config.steps_per_dispatch = 2
        with pytest.raises(InputError, match="^steps_per_dispatch must be 1, or not"):
            validate(config)


@pytest.mark.parametrize(("backend", "ahead"), [("cpu", 0), ("gpu", 2)])
def test_an_evaluation_fetches_its_sums_once(config, monkeypatch, backend, ahead):
    """And adds them in float64; few batches are queued."""
    config.batch_size = 22
    test = split_of(5, None)  # five batches
    parallel = create_parallel(1, 1, 22, "lenet5")
    trainer = loop.Trainer(
        config, UserNet(num_classes=10), split_of(22), test, parallel
    )
    state = trainer.draw()
    expected = trainer.evaluate(state)
    fetched, waited, made = [], [], []
    step, get = trainer._eval_step, jax.device_get

    def evaluate(*args):
        made.append(step(*args))
        return made[-1]

    def fetch(tree):
        fetched.extend(
            leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)
        )
        return get(tree)

    trainer._eval_step = evaluate
    monkeypatch.setattr(loop.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "device_get", fetch)
    monkeypatch.setattr(
        jax, "block_until_ready", lambda sums: waited.append((len(made), sums))
    )
    row = trainer.evaluate(state)
    row.pop("eval_s"), expected.pop("eval_s")
    assert row == expected
    assert len(fetched) == 5 * len(jax.tree.leaves(made[0]))
    assert [count for count, _ in waited] == [1, 2, 3, 4, 5]
    assert all(sums is made[max(0, count - 1 - ahead)] for count, sums in waited)
    total = sum(np.float64(sums["loss"]) for sums in made)
    assert row["test/loss"] == total / 22
