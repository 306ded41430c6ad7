"""What a reader writes of the book's classes: honored, or refused in a line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax import Classifier, d2l
from alexnet_jax.errors import InputError, RunError
from tests.d2l.helpers import ByTheBook, Plain, X, Y, data_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


def fit(model, data=None, trainer=None, **kwargs):
    trainer = d2l.Trainer(max_epochs=1) if trainer is None else trainer
    good = [(X, Y), (X, Y)]
    trainer.fit(model, data_of(good, good) if data is None else data, **kwargs)
    return trainer


def refused(model, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        fit(model, *args, **kwargs)
    (line,) = str(caught.value).splitlines()
    return line


class Flat(nn.Module):
    """Flattens."""

    @nn.compact
    def __call__(self, x):
        return x.reshape((x.shape[0], -1))


class Undecided(Classifier):
    def setup(self):
        self.net = nn.Sequential([Flat(), nn.Dense(10)])


class TestOptimizers:
    @pytest.mark.heavy
    @pytest.mark.parametrize("base", [Plain, ByTheBook, Undecided])
    def test_may_ask_the_trainer_for_the_steps(self, base):
        asked = []

        class Own(base):
            def configure_optimizers(self):
                trainer = self.trainer
                steps = trainer.max_epochs * trainer.num_train_batches
                asked.append((steps, trainer.num_val_batches))
                return optax.sgd(optax.cosine_decay_schedule(self.lr, steps))

        model = Own()
        fit(model, data_of(lambda: iter([(X, Y)] * 3), [(X, Y)]))
        assert set(asked) == {(3, 1)}
        asked.clear()
        fit(model, trainer=d2l.Trainer(max_epochs=2))
        assert set(asked) == {(4, 2)}

    @pytest.mark.parametrize("base", [Plain, ByTheBook])
    @pytest.mark.parametrize(
        "make", [optax.lbfgs, lambda: optax.chain(optax.clip(1.0), optax.lbfgs())]
    )
    def test_that_need_more_than_gradients(self, base, make):
        class Own(base):
            def configure_optimizers(self):
                return make()

        assert "Own: configure_optimizers must return a transform" in refused(Own())


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "method"),
        [
            ("loss", lambda self, Y_hat, Y: 0.0),
            ("accuracy", lambda self, Y_hat, Y, averaged=True: 0.0),
            ("training_step", lambda self, batch: 0.0),
            ("validation_step", lambda self, batch: None),
            ("plot", lambda self, key, value: None),
            ("apply_init", lambda self, inputs: None),
            ("configure_optimizers", lambda self, lr: None),
        ],
    )
    def test_of_other_tabs(self, name, method):
        model = type("Own", (Plain,), {name: method})()
        line = refused(model)
        assert line.startswith(f"Own.{name} must take (self") and "it takes (" in line

    def test_of_a_trainer(self):
        class Own(d2l.Trainer):
            def prepare_batch(self):
                return None

        line = refused(Plain(), trainer=Own(max_epochs=1))
        assert line.startswith("Own.prepare_batch must take (self, batch)")

    def test_replaced_for_all(self, monkeypatch):
        method = lambda self, Y_hat, Y: 0.0  # noqa: E731
        monkeypatch.setattr(d2l.Classifier, "loss", method)
        assert "Plain.loss must take (self, params, X, Y, state)" in refused(Plain())

    def test_that_ones_own_steps_give(self):
        class Own(Plain):
            def loss(self, logits, y):
                value = optax.softmax_cross_entropy_with_integer_labels(logits, y)
                return value.mean()

            def training_step(self, params, batch, state):
                def loss(params):
                    logits = state.apply_fn({"params": params}, *batch[:-1])
                    return self.loss(logits, batch[-1])

                return jax.value_and_grad(loss)(params)

            def validation_step(self, params, batch, state):
                logits = state.apply_fn({"params": params}, *batch[:-1])
                self.plot("loss", self.loss(logits, batch[-1]), train=False)

        assert fit(Own()).board.data["val_loss"]

    def test_a_trainer_of_ones_own_with_a_network_of_the_packages(self):
        class Own(d2l.Trainer):
            def fit_epoch(self):
                return None

        line = refused(Undecided(), trainer=Own(max_epochs=1))
        assert "Own.fit_epoch is honored with a d2l.Classifier" in line


def test_a_network_of_the_packages_without_validation():
    data = data_of([(X, Y)])
    data.val_dataloader = lambda: None
    assert "val_dataloader() gave None, and Undecided is" in refused(Undecided(), data)
    assert list(fit(Plain(), data).board.data) == ["train_loss"]


def test_prepare_model_as_the_book_writes_it():
    class Own(d2l.Trainer):
        def prepare_model(self, model):
            model.trainer = self
            model.board.xlim = [0, self.max_epochs]
            self.model = model

    trainer = fit(Plain(), trainer=Own(max_epochs=1))
    assert set(trainer.board.data) == {"train_loss", "val_loss", "val_acc"}
    assert trainer.board is trainer.model.board


class TestConstructors:
    @pytest.mark.heavy
    def test_the_books(self, monkeypatch):
        """Of §6.7, as `add_to_class` puts it in."""
        monkeypatch.setattr(d2l.Trainer, "__init__", d2l.Trainer.__init__)

        @d2l.add_to_class(d2l.Trainer)
        def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
            self.save_hyperparameters()
            self.gpus = [d2l.gpu(i) for i in range(min(num_gpus, d2l.num_gpus()))]

        for model in (Plain(), ByTheBook()):
            trainer = fit(model, trainer=d2l.Trainer(1, num_gpus=1))
            assert trainer.board.data["val_acc"] and trainer.picture.exists()

    def test_without_super(self):
        class Own(d2l.Trainer):
            def __init__(self, max_epochs):
                if max_epochs:
                    self.max_epochs = max_epochs

        for model in (Plain(), ByTheBook()):
            assert fit(model, trainer=Own(1)).train_batch_idx == 2
        assert "Own has no max_epochs" in refused(Plain(), trainer=Own(0))

    @pytest.mark.parametrize("count", [-1, "1", 0.5, None])
    def test_no_number_of_gpus(self, count):
        with pytest.raises(InputError, match="num_gpus must be an integer of at least"):
            d2l.Trainer(1, num_gpus=count)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"max_steps": 0}, "max_steps must be"),
            ({"gradient_clip_val": -1}, "gradient_clip_val must be"),
            ({"max_epochs": 0}, "max_epochs must be"),
        ],
    )
    def test_arguments_have_their_own_names(self, kwargs, message):
        trainer = d2l.Trainer(**{"max_epochs": 1, **kwargs})
        assert refused(Plain(), trainer=trainer).startswith(message)


class TestKeys:
    @pytest.mark.slow
    def test_a_seed_is_one(self):
        for make in (lambda n: n, np.int64, jax.random.key, jax.random.PRNGKey):
            one = fit(Plain(), key=make(3)).state.params
            jax.tree.map(
                np.testing.assert_array_equal, one, fit(Plain(), key=3).state.params
            )

    @pytest.mark.parametrize(
        "key", ["x", 0.5, True, 2**80, jax.random.split(jax.random.key(0)), np.ones(2)]
    )
    def test_others_are_none(self, key):
        for model in (Plain(), ByTheBook()):
            assert "key must be one key" in refused(model, key=key)


class TestWhatALossGivesToTheNetwork:
    @staticmethod
    def network(layer, *mutable):
        class Own(d2l.Classifier):
            def setup(self):
                kinds = {
                    "norm": lambda: nn.BatchNorm(not self.training),
                    "dropout": lambda: nn.Dropout(0.5, deterministic=not self.training),
                }
                self.net = nn.Sequential([Flat(), kinds[layer](), nn.Dense(10)])

            def loss(self, params, X, y, state, averaged=True):
                variables = {"params": params, **dict.fromkeys(mutable, {})}
                if mutable:
                    variables["batch_stats"] = state.batch_stats
                logits = state.apply_fn(variables, *X)
                return jnp.mean(logits**2), {}

        return Own()

    @pytest.mark.heavy
    def test_no_batch_statistics(self):
        for mutable in ((), ("batch_stats",)):
            line = refused(self.network("norm", *mutable))
            assert "Own: loss must return (loss, updates) of state.apply_fn(" in line

    def test_no_key_for_dropout(self):
        line = refused(self.network("dropout"))
        assert "Own: loss must give state.apply_fn a key, rngs=" in line


class TestALossThatIsNotFinite:
    @pytest.mark.parametrize("name", ["training", "validation"])
    def test_ends_the_run(self, name):
        class Own(Plain):
            def loss(self, params, X, y, state, averaged=True):
                value, updates = super().loss(params, X, y, state, averaged)
                wrong = self.training == (name == "training")
                # The gradient is finite, as where a label is out of range.
                return value + jax.lax.stop_gradient(jnp.nan if wrong else 0.0), updates

        label = "train_loss" if name == "training" else "val_loss"
        with pytest.raises(RunError, match=f"^loss: {label} is nan in epoch 1"):
            fit(Own())

    def test_with_a_plot_of_ones_own(self):
        class Own(Plain):
            def loss(self, params, X, y, state, averaged=True):
                return jnp.sum(jax.tree.leaves(params)[0]) * 0 + jnp.inf, {}

            def plot(self, key, value, train):
                return None

        with pytest.raises(RunError, match="^loss: it is inf in step 1 of epoch 1"):
            fit(Own())

    @pytest.mark.heavy
    def test_of_labels_that_the_trainer_puts_out_of_range(self):
        class Own(d2l.Trainer):
            def prepare_batch(self, batch):
                return batch[0], batch[1] + 8

        with pytest.raises(RunError, match="^loss: train_loss is nan"):
            fit(Plain(), trainer=Own(max_epochs=1))

    def test_of_a_module(self):
        class Own(d2l.Module):
            lr: float = 0.1

            def setup(self):
                self.net = nn.Sequential([Flat(), nn.Dense(10)])

            def loss(self, params, X, y, state):
                logits = state.apply_fn({"params": params}, *X)
                loss = optax.softmax_cross_entropy_with_integer_labels
                return loss(logits, y).mean()

        with pytest.raises(RunError, match="^loss: val_loss is nan in epoch 1"):
            fit(Own(), data_of([(X, Y)], [(X, Y + 7)]))


class TestPlot:
    def test_inside_a_jitted_step(self):
        class Own(Plain):
            def training_step(self, params, batch, state):
                return jax.jit(super().training_step)(params, batch, state)

        assert "Own: plot('loss') needs a number, which is not" in refused(Own())

    def test_of_several_numbers(self):
        class Own(Plain):
            def accuracy(self, params, X, Y, state, averaged=True):
                return super().accuracy(params, X, Y, state, averaged=False)

        assert "Own: plot('acc') needs one number" in refused(Own())
