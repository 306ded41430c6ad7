"""Examples that do not count may stand anywhere in a batch: padding, broken images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.data import Batches, true_examples
from alexnet_jax.data.batches import all_images
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.loop import Trainer
from alexnet_jax.metrics import METRICS
from alexnet_jax.models import create_configured
from alexnet_jax.parallel import create_parallel
from alexnet_jax.reporting.sections import prediction_sections
from alexnet_jax.run.signals import StopSignal
from alexnet_jax.terminal.text import counted
from alexnet_jax.trained import TrainedModel

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

EXAMPLES = 20
GENERATOR = np.random.default_rng(0)
# Whether each example is broken.
BROKEN = {
    "none": np.zeros(EXAMPLES, bool),
    "the first batch": np.arange(EXAMPLES) < 8,
    "all but one": np.arange(EXAMPLES) != 13,
    "the last batch": np.arange(EXAMPLES) >= 16,
    **{f"random {share}": GENERATOR.random(EXAMPLES) < share for share in (0.2, 0.7)},
}


@dataclasses.dataclass
class Masked(Batches):
    """A split of which some images are broken: black and masked, as a stream's are."""

    broken: np.ndarray | None = None

    def batch(self, step, part=slice(None)):
        indices, mask = self._order.draw(step, part)
        image = np.where(self.broken[indices, None, None, None], 0, self.image[indices])
        mask = mask & ~self.broken[indices]
        return {"image": image, "label": self.label[indices], "mask": mask}


@pytest.fixture(scope="module")
def network(trained):
    return TrainedModel(trained)


@pytest.fixture(scope="module")
def digits(network):
    split = network.open_split("test")
    return split.image[:EXAMPLES], split.label[:EXAMPLES]


@pytest.fixture(scope="module")
def looped(network, digits):
    """The training loop's own evaluation, by batch size; compiled once for each."""
    made = {}

    def evaluate(size, split):
        if size not in made:
            config = network.config.copy_and_resolve_references()
            config.batch_size, config.eval.metrics = size, tuple(METRICS)
            model = create_configured(config)
            parallel = create_parallel(1, 1, size, config.model.name)
            trainer = Trainer(config, model, split, split, parallel)
            state = trainer.draw().replace(params=network.weights["params"])
            made[size] = trainer, state
        trainer, state = made[size]
        trainer._test = split
        return trainer.evaluate(state)

    # What is subtracted is the whole training set's, as in the run.
    return evaluate


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, pytest.param(1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("kind", BROKEN)
def test_all_numbers_are_those_of_the_loop(
    kind, size, network, digits, looped, monkeypatch
):
    broken = BROKEN[kind]
    split = Masked(*digits, size, broken=broken)
    split.statistics = lambda: network.spec.statistics
    row = looped(size, split)
    network.batch_size = size
    monkeypatch.setattr(network, "open_split", lambda *_: split)
    network.config.eval.metrics = tuple(METRICS)
    found = network.evaluate()
    assert found["examples"] == (~broken).sum()
    for name in METRICS:
        assert found[name] == pytest.approx(row[f"test/{name}"], rel=1e-5)
    # The logits are those of the images that they come with, in order.
    parts = list(network.predict_split(split))
    image, label, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_array_equal(image, digits[0][~broken])
    np.testing.assert_array_equal(label, digits[1][~broken])
    expected = network.logits(digits[0])[~broken]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    measured = measure(all_images(split))
    np.testing.assert_allclose(measured.mean_image, digits[0][~broken].mean(0))
    if kind not in ("none", "random 0.2"):
        return  # the report's figure takes a second
    first = next(prediction_sections(network, split, EXAMPLES))
    correct = round(row["test/top1"] * found["examples"])
    few = "" if not broken.any() else f" readable ones of {EXAMPLES}"
    said = f"{counted(correct, 'correct prediction')} of the {found['examples']}{few} "
    assert f">{said}test images" in first.html


def test_a_limit_counts_true_examples(network, digits):
    split = Masked(*digits, 8, broken=BROKEN["random 0.2"])
    network.batch_size = 8
    found = list(network.predict_split(split, 5))
    label = np.concatenate([one.label for one in found])
    np.testing.assert_array_equal(label, digits[1][~BROKEN["random 0.2"]][:5])


def test_every_array_is_taken():
    batch = {"mask": np.array([False, True, True]), "image": np.eye(3)}
    kept = true_examples(batch | {"logits": np.arange(3)})
    assert kept["logits"].tolist() == [1, 2] and kept["image"].shape == (2, 3)
    assert true_examples(batch, 1)["image"].tolist() == [[0, 1, 0]]
    assert not len(true_examples(batch, 0)["mask"])


@pytest.mark.heavy
def test_all_are_broken(network, digits, looped, monkeypatch):
    split = Masked(*digits, 8, broken=np.ones(EXAMPLES, bool))
    split.statistics = lambda: network.spec.statistics
    monkeypatch.setattr(network, "open_split", lambda *_: split)
    for call in (
        network.evaluate,
        lambda: looped(8, split),
        lambda: next(prediction_sections(network, split, 5)),
    ):
        with pytest.raises(InputError, match="^data.on_broken: no image is left to ev"):
            call()


class TestTraining:
    def fit(self, network, digits, broken, size, epochs=1):
        config = network.config.copy_and_resolve_references()
        config.batch_size, config.num_epochs = size, epochs
        config.log.every_steps = 1
        train = Masked(*digits, size, broken=broken)
        train.statistics = lambda: network.spec.statistics
        test = Batches(*digits, EXAMPLES)
        parallel = create_parallel(1, 1, size, config.model.name)
        trainer = Trainer(config, create_configured(config), train, test, parallel)
        rows = []
        state = trainer.put(trainer.draw())
        state = trainer.fit(state, rows.append, stop=StopSignal(), say=lambda _: None)
        return state, rows

    @pytest.mark.heavy
    def test_a_batch_without_an_example(self, network, digits):
        """It has no gradient, no row and no part in the epoch's."""
        state, rows = self.fit(network, digits, BROKEN["the first batch"], 8)
        assert [row["step"] for row in rows] == [2, 3]
        assert int(state.first_bad) == 0 and int(state.step) == 3
        assert float(state.epoch_sums["count"]) == 12
        leaves = jax.tree.leaves(state.params)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)
        assert all(np.isfinite(list(row.values())).all() for row in rows)

    def test_an_epoch_without_an_example(self, network, digits):
        with pytest.raises(RunError, match="^data.on_broken: all training images of "):
            self.fit(network, digits, np.ones(EXAMPLES, bool), 8)
