"""What a reader overrides is called: the two loops, and that they agree."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax import Classifier, d2l
from alexnet_jax.errors import InputError, RunError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


def pairs(sizes=(8, 8, 8, 5), seed=0, shape=(6, 6, 1)):
    generator = np.random.default_rng(seed)
    return [
        (generator.random((n, *shape), np.float32), generator.integers(0, 10, n))
        for n in sizes
    ]


class Data:
    """A user's own data, in memory."""

    def __init__(self, train=None, val=None):
        self.train = pairs() if train is None else train
        self.val = pairs((8, 3), seed=1) if val is None else val

    def train_dataloader(self):
        return self.train

    def val_dataloader(self):
        return self.val


class Net(d2l.Classifier):
    """BatchNorm, so that the collections are looked at as well; no dropout."""

    lr: float = 0.1
    num_classes: int = 10
    training: bool = True

    def setup(self):
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        norm = nn.BatchNorm(not self.training, momentum=0.9)
        self.net = nn.Sequential([flatten, norm, nn.Dense(self.num_classes)])


class Plain(d2l.Classifier):
    def setup(self):
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        self.net = nn.Sequential([flatten, nn.Dense(self.num_classes)])


def fit(model, data=None, epochs=2, **kwargs):
    trainer = d2l.Trainer(max_epochs=epochs, **kwargs)
    trainer.fit(model, Data() if data is None else data)
    return trainer


def by_the_book(cls):
    """Returns a class that must go through the book's loop, and changes nothing."""

    class Same(cls):
        def training_step(self, params, batch, state):
            return super().training_step(params, batch, state)

    return Same


class TestTheTwoLoopsAgree:
    @pytest.mark.parametrize(
        "clip",
        [
            pytest.param(0, marks=pytest.mark.heavy),
            pytest.param(0.05, marks=pytest.mark.slow),
        ],
    )
    def test_on_every_number(self, clip):
        def adam(cls):
            class Adam(cls):
                def configure_optimizers(self):
                    return optax.adam(self.lr)

            return Adam

        for change in (lambda cls: cls, adam):
            # A smaller last batch is filled up in one, which BatchNorm sees.
            net, sizes = (Plain, (8, 8, 8, 5)) if clip else (Net, (8, 8, 8, 8))
            data = Data(pairs(sizes))
            fast = fit(change(net)(lr=0.1), data, gradient_clip_val=clip)
            book = fit(by_the_book(change(net))(lr=0.1), data, gradient_clip_val=clip)
            for name in ("params", "batch_stats"):
                near = jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5),
                    getattr(fast.state, name),
                    getattr(book.state, name),
                )
                assert jax.tree.structure(near) is not None
            for label in ("val_loss", "val_acc"):
                a, b = (one.board.data[label] for one in (fast, book))
                np.testing.assert_allclose(a, b, rtol=2e-4)
            assert int(fast.state.step) == int(book.state.step) == 8
            assert (fast.epoch, fast.train_batch_idx) == (2, 8)
            assert (book.epoch, book.train_batch_idx) == (2, 8)

    @pytest.mark.heavy
    def test_on_bytes_and_a_resize(self):
        batches = [
            ((x * 255).astype(np.uint8), y) for x, y in pairs((8, 8), shape=(4, 4, 1))
        ]
        data = Data(batches, batches)
        data.resize = (6, 6)
        models = Plain(), by_the_book(Plain)()
        a, b = (fit(model, data).state.params for model in models)
        kernel = a["net"]["layers_1"]["kernel"]
        assert kernel.shape == (36, 10)
        np.testing.assert_allclose(kernel, b["net"]["layers_1"]["kernel"], rtol=1e-4)

    @pytest.mark.slow
    def test_on_a_registered_data_set(self, data_dir):
        data = [d2l.Digits(500, (8, 8), data_dir=str(data_dir)) for _ in range(2)]
        fast, book = fit(Plain(), data[0]), fit(by_the_book(Plain)(), data[1])
        for label in ("val_loss", "val_acc"):
            a, b = (one.board.data[label] for one in (fast, book))
            np.testing.assert_allclose(a, b, rtol=1e-4)

    @pytest.mark.slow
    def test_on_several_devices(self, monkeypatch):
        monkeypatch.setattr("alexnet_jax.d2l.trainer.gpus", jax.devices)
        data = Data(pairs((8, 8)), pairs((8, 3)))
        one, two = (fit(by_the_book(Plain)(), data, num_gpus=n) for n in (1, 2))
        leaves = [jax.tree.leaves(trainer.state.params) for trainer in (one, two)]
        for a, b in zip(*leaves, strict=True):
            assert (len(a.devices()), len(b.devices())) == (1, 2)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        with pytest.raises(InputError, match="batch_size must be a multiple of the 2"):
            fit(by_the_book(Plain)(), Data(pairs((5,))), num_gpus=2)

    @pytest.mark.slow
    def test_max_steps_ends_both(self):
        for model in (Plain(), by_the_book(Plain)()):
            trainer = fit(model, epochs=5, max_steps=6)
            assert (trainer.train_batch_idx, trainer.epoch) == (6, 1)


def spy(name, calls, cls=Plain):
    """Returns a class whose method notes each call, and does as before."""

    def method(self, *args, **kwargs):
        calls.append(args)
        return getattr(cls, name)(self, *args, **kwargs)

    return type("Spy", (cls,), {name: method})


class TestHooksAreCalled:
    @pytest.mark.heavy
    @pytest.mark.parametrize(
        ("name", "count"),
        [
            ("configure_optimizers", 1),
            ("loss", 6),
            ("accuracy", 2),
            ("forward", 1),
            ("__call__", 1),
            ("apply_init", 1),
            ("training_step", 4),
            ("validation_step", 2),
            ("plot", 8),
        ],
    )
    def test_of_a_class(self, name, count):
        calls = []
        fit(spy(name, calls)(), epochs=1)
        assert len(calls) >= count
        if count > 1:
            assert len(calls) == count

    @pytest.mark.parametrize("name", ["loss", "configure_optimizers", "accuracy"])
    def test_added_to_d2ls_own_class(self, name, monkeypatch):
        calls, stock = [], getattr(d2l.Classifier, name)
        monkeypatch.setattr(d2l.Classifier, name, stock)  # is put back

        def method(self, *args, **kwargs):
            calls.append(args)
            return stock(self, *args, **kwargs)

        method.__name__ = name
        d2l.add_to_class(d2l.Classifier)(method)
        fit(Plain(), epochs=1)
        assert calls

    def test_set_on_an_object(self):
        model, calls = Plain(), []
        stock = model.loss
        model.loss = lambda *args: (calls.append(args), stock(*args))[1]
        fit(model, epochs=1)
        assert len(calls) == 6

    @pytest.mark.parametrize(
        "name", ["prepare_data", "prepare_model", "prepare_batch", "fit_epoch"]
    )
    def test_of_the_trainer(self, name, monkeypatch):
        calls, stock = [], getattr(d2l.Trainer, name)
        monkeypatch.setattr(d2l.Trainer, name, stock)  # is put back

        def method(self, *args):
            calls.append(args)
            return stock(self, *args)

        method.__name__ = name
        d2l.add_to_class(d2l.Trainer)(method)
        fit(Plain(), epochs=2)
        assert calls

    @pytest.mark.heavy
    def test_of_the_trainers_clipping(self):
        class Own(d2l.Trainer):
            def clip_gradients(self, grad_clip_val, grads):
                return jax.tree.map(jnp.zeros_like, grads)

        states = []
        for clip in (0, 1):
            trainer = Own(max_epochs=1, gradient_clip_val=clip)
            trainer.fit(Plain(), Data())
            states.append(trainer.state.params["net"]["layers_1"]["bias"])
        assert np.abs(states[0]).max() > 0 and np.abs(states[1]).max() == 0

    @pytest.mark.slow
    def test_clipping_reaches_a_fit_epoch_of_ones_own(self):
        class Own(d2l.Trainer):
            def fit_epoch(self):
                for batch in self.train_dataloader:
                    step = self.model.training_step
                    _, grads = step(self.state.params, batch, self.state)
                    before = self.state.params
                    self.state = self.state.apply_gradients(grads=grads)
                    change = jax.tree.map(jnp.subtract, self.state.params, before)
                    self.length = float(optax.tree.norm(change))
                    self.train_batch_idx += 1

        trainer = Own(max_epochs=1, gradient_clip_val=0.01)
        trainer.fit(Plain(lr=1.0), Data())
        assert trainer.length == pytest.approx(0.01, rel=1e-3)
        with pytest.raises(InputError, match="max_steps is not honored by a fit_epoch"):
            Own(max_epochs=1, max_steps=2).fit(Plain(), Data())

    @pytest.mark.heavy
    def test_of_a_data_modules_loader(self, data_dir):
        digits = d2l.Digits(500, (8, 8), data_dir=str(data_dir))
        digits.get_dataloader = lambda train: pairs((8, 8), shape=(8, 8, 1))
        assert fit(Plain(), digits).train_batch_idx == 4

    @pytest.mark.heavy
    def test_adam_is_another_optimizer_than_sgd(self):
        class Adam(Net):
            def configure_optimizers(self):
                return optax.adam(self.lr)

        sgd, adam = (
            fit(cls(lr=0.05), epochs=1).board.data["val_loss"] for cls in (Net, Adam)
        )
        assert abs(sgd[-1][1] - adam[-1][1]) > 0.01

    @pytest.mark.heavy
    def test_a_loss_of_ones_own_is_trained(self):
        class Pull(Plain):
            """Draws all parameters to 1, whatever the images."""

            def loss(self, params, X, y, state, averaged=True):
                return sum(((leaf - 1) ** 2).sum() for leaf in jax.tree.leaves(params))

        trainer = fit(Pull(lr=0.25), Data(val=pairs((8,))), epochs=8)
        for leaf in jax.tree.leaves(trainer.state.params):
            np.testing.assert_allclose(leaf, 1.0, atol=1e-3)

    def test_plot_draws_where_it_says(self):
        class Own(Plain):
            def plot(self, key, value, train):
                self.board.draw(self.trainer.train_batch_idx, value, f"my_{key}")

        trainer = fit(Own(), epochs=1)
        assert [len(v) for k, v in trainer.board.data.items()] == [6, 2]

    @pytest.mark.slow
    def test_the_networks_board_is_the_trainers(self):
        for cls in (Plain, by_the_book(Plain)):
            model = cls()
            model.board.yscale = "log"
            model.plot_train_per_epoch = 4
            trainer = fit(model, epochs=1)
            assert trainer.board is model.board and trainer.board.yscale == "log"
            assert len(trainer.board.data["train_loss"]) == 4
            other = cls()
            trainer.fit(other, Data())
            assert trainer.board is other.board and other.board is not model.board
            trainer = d2l.Trainer(max_epochs=1)
            trainer.board = d2l.ProgressBoard(yscale="log")
            trainer.fit(model, Data())
            assert trainer.board.yscale == "log" and trainer.board.data

    @pytest.mark.slow
    def test_a_network_evaluates_after_fit(self):
        for cls in (Net, by_the_book(Net)):
            model = cls()
            state = fit(model).state
            x, y = (jnp.asarray(part) for part in pairs((64,))[0])
            assert model.training is False
            one = model.accuracy(state.params, (x,), y, state)
            each = model.accuracy(state.params, (x,), y, state, averaged=False)
            assert each.shape == (64,)
            assert float(each.mean()) == pytest.approx(float(one))
            losses, _ = model.loss(state.params, (x,), y, state, averaged=False)
            logits = model.apply({"params": state.params, **state.model_state}, x)
            np.testing.assert_allclose(
                losses,
                optax.softmax_cross_entropy_with_integer_labels(logits, y),
                rtol=1e-5,
            )


class TestWhatCannotBeHonored:
    def test_hooks_of_another_class(self):
        class Other(Classifier):
            def setup(self):
                self.net = nn.Sequential([nn.Dense(10)])

            def loss(self, params, X, y, state):
                return 0.0

        with pytest.raises(InputError, match="Other.loss is honored in a d2l.Classifi"):
            fit(Other())

    def test_an_optimizer_of_another_class_is(self):
        calls = []

        class Other(Classifier):
            setup = Plain.setup

            def configure_optimizers(self):
                calls.append(0)
                return optax.adam(self.lr)

        fit(Other(), epochs=1)
        assert calls == [0]

    @pytest.mark.parametrize("answer", [None, "adam", 0.1, optax.adam, d2l.SGD, []])
    def test_no_optimizer(self, answer):
        class Own(Plain):
            def configure_optimizers(self):
                return answer

        with pytest.raises(InputError, match="Own: configure_optimizers must return"):
            fit(Own())

    @pytest.mark.parametrize("answer", [None, 1.0, (1.0,), (1.0, {}), ((1.0, {}), 2.0)])
    def test_a_training_step_without_gradient(self, answer):
        class Own(Plain):
            def training_step(self, params, batch, state):
                return answer

        with pytest.raises(InputError, match="Own: training_step must return the loss"):
            fit(Own())

    def test_a_loss_of_every_example(self):
        class Own(Plain):
            def loss(self, params, X, y, state, averaged=True):
                return super().loss(params, X, y, state, averaged=False)

        with pytest.raises(InputError, match=r"Own: loss must return a scalar.*\(8,\)"):
            fit(Own())

    def test_batch_statistics_that_are_lost(self):
        class Own(Net):
            def loss(self, params, X, y, state, averaged=True):
                return super().loss(params, X, y, state)[0]

        with pytest.raises(InputError, match="Own: loss must return .loss, updates"):
            fit(Own())

    def test_a_module_without_loss_or_rate(self):
        class Bare(d2l.Module):
            def setup(self):
                self.net = nn.Dense(1)

        with pytest.raises(InputError, match="Bare has no lr; give it the field"):
            fit(Bare())

        class Rated(Bare):
            lr: float = 0.1

        with pytest.raises(InputError, match="Rated defines no loss.*; define loss"):
            fit(Rated())

    @pytest.mark.parametrize("epochs", [0, -1, 1.5, "ten"])
    def test_no_number_of_epochs(self, epochs):
        for cls in (Plain, by_the_book(Plain)):
            with pytest.raises(InputError, match="(num|max)_epochs must be"):
                fit(cls(), epochs=epochs)

    def test_a_loss_that_is_not_finite(self):
        with pytest.raises(
            RunError, match="loss: train_loss is (nan|inf) in epoch 1, after 1"
        ):
            fit(by_the_book(Plain)(lr=float("inf")))


class TestFieldsInTheBooksOrder:
    def test_without_defaults_and_by_position(self):
        class Any(d2l.Classifier):
            arch: tuple
            stem: int
            lr: float = 0.2
            training: bool = True

        class Deep(Any):
            lr: float = 0.3
            stem: int = 7
            arch: tuple = (1,)

        one = Any((3, 4), 5, 0.4, training=False)
        assert (one.arch, one.stem, one.lr, one.training) == ((3, 4), 5, 0.4, False)
        assert Any((1,), 2).num_classes == 10 and Deep((9,)).arch == (9,)
        assert (Deep().lr, Deep().stem) == (0.3, 7)
        assert Deep(stem=8).clone(training=False).stem == 8
        assert Plain(0.5, 4).lr == 0.5 and Plain(0.5, 4).num_classes == 4
        with pytest.raises(TypeError, match=r"Any got \['arch'\] twice"):
            Any((1,), arch=(2,))
        with pytest.raises(TypeError, match="stem"):
            Any((1,))

    def test_a_value_without_annotation(self):
        class NiN(d2l.Classifier):
            num_classes = 5
            lr = 0.7

        assert (NiN().num_classes, NiN().lr) == (5, 0.7)
        assert NiN(num_classes=3).num_classes == 3
