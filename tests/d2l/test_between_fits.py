"""What a reader changes between fits, and what a fit that was cut short leaves."""

import os
import signal

import jax
import numpy as np
import optax
import pytest

from alexnet_jax import create_model, d2l
from alexnet_jax.errors import InputError, RunError
from tests.d2l.helpers import ByTheBook, Plain, X, Y, data_of

BOTH = pytest.mark.parametrize("model", [Plain, ByTheBook])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def digits(data_dir):
    return d2l.Digits(batch_size=500, resize=(8, 8), data_dir=str(data_dir))


class Own(d2l.DataModule):
    """By the book's method, as a reader writes it."""

    def __init__(self):
        super().__init__()
        self.batch_size = 2

    def get_dataloader(self, train):
        return self.get_tensorloader((X, Y), train)


@BOTH
def test_every_epoch_of_ones_own_data_has_another_order(model):
    seen = []

    class Watched(Own):
        def get_dataloader(self, train):
            loader = super().get_dataloader(train)
            if not train:
                return loader
            whole = loader.__class__.__iter__

            class Noted(loader.__class__):
                def __iter__(self):
                    order = []
                    seen.append(order)
                    for batch in whole(self):
                        order += batch[1].tolist()
                        yield batch

            loader.__class__ = Noted
            return loader

    d2l.Trainer(max_epochs=4).fit(model(), Watched())
    epochs = seen[-4:]
    assert {tuple(sorted(order)) for order in epochs} == {tuple(Y)}
    assert len({*map(tuple, epochs)}) > 1


@BOTH
def test_what_is_changed_of_registered_data_is_trained_on(model, digits):
    d2l.Trainer(max_epochs=1).fit(model(), digits)
    images, labels = digits.train
    digits.train, digits.batch_size = (images[:128], labels[:128]), 32
    trainer = d2l.Trainer(max_epochs=1)
    trainer.fit(model(), digits)
    assert trainer.train_batch_idx == len(digits.train_dataloader()) == 4
    digits.resize = [6, 6]
    trainer.fit(model(), digits)
    image, _ = next(iter(digits.val_dataloader()))
    assert image.shape[1:] == (6, 6, 1)
    assert trainer.state.params["net"]["layers_1"]["kernel"].shape == (36, 10)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("batch_size", 0, "^batch_size must be an integer of at least 1; got 0"),
        ("resize", 7, r"^resize must be a pair of pixels"),
        ("train", 3, r"^data.train must be a pair of images and labels"),
        (
            "train",
            (X, Y),
            r"^data.train: images must be \(N, h, w, C\) uint8, N >= 1; ",
        ),
        (
            "val",
            ((255 * X).astype(np.uint8), Y[:3]),
            r"^data.val: labels must be \(6,\) integers, as many as images; got \(3,\)",
        ),
    ],
)
def test_changes_that_cannot_be(name, value, line, digits):
    setattr(digits, name, value)
    with pytest.raises(InputError, match=line):
        d2l.Trainer(max_epochs=1).fit(Plain(), digits)


@pytest.mark.heavy
@BOTH
def test_an_interrupted_fit_keeps_what_was_learned(model):
    count = 0

    def batches():
        nonlocal count
        for _ in range(3):
            count += 1
            if count == 30 and model is Plain:
                os.kill(os.getpid(), signal.SIGINT)
            elif count == 30:  # as Python's own handler does
                raise KeyboardInterrupt
            yield X, Y

    trainer = d2l.Trainer(max_epochs=100)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model(), data_of(batches))
    assert 0 < trainer.train_batch_idx < 300
    assert int(trainer.state.step) == trainer.train_batch_idx
    assert trainer.picture is not None and trainer.picture.exists()
    with pytest.raises(InputError):  # an earlier fit's state is not this one's
        trainer.fit(model(num_classes=2), data_of([(X, Y)]))
    assert trainer.state is None or int(trainer.state.step) == 0
    assert trainer.epoch == trainer.train_batch_idx == 0


@pytest.mark.heavy
@BOTH
def test_a_curve_begins_with_its_own_values(model):
    """Of ten batches two points; a fit of two steps leaves none that waits."""
    trainer = d2l.Trainer(max_epochs=1, max_steps=2)
    trainer.fit(model(), data_of([(X, Y)] * 10))
    assert len(trainer.board.data["train_loss"]) == 2
    net = model()
    longer = d2l.Trainer(max_epochs=1)
    longer.fit(net, data_of([(X, Y)] * 3))
    longer.max_epochs = 2
    longer.fit(net, data_of([(X, Y)] * 10))
    assert longer.board.xlim == (0, 2)


@pytest.mark.heavy
@BOTH
def test_what_a_trainer_says_after_a_fit(model):
    trainer, net = d2l.Trainer(max_epochs=2), model()
    trainer.fit(net, data_of([(X, Y)] * 3))
    assert trainer.model is net and hasattr(trainer.optim, "update")
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (6, 2)


@pytest.mark.parametrize("rate", ["0.1", None, -0.1, np.nan, True])
def test_rates_that_are_none(rate):
    line = "^lr must be a number of at least 0, or a schedule of optax; got "
    with pytest.raises(InputError, match=line):
        d2l.Trainer(max_epochs=1).fit(Plain(lr=rate), data_of([(X, Y)]))


@pytest.mark.heavy
def test_a_rate_may_be_a_schedule():
    rate, found = optax.cosine_decay_schedule(0.1, 9), []
    for model in (Plain, ByTheBook):
        trainer = d2l.Trainer(max_epochs=3)
        trainer.fit(model(lr=rate), data_of([(X, Y)] * 3))
        found.append(trainer.state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *found)


@pytest.mark.heavy
def test_a_rate_that_is_too_high_is_named_as_the_book_names_it():
    with pytest.raises(RunError) as caught:
        d2l.Trainer(max_epochs=3).fit(Plain(lr=1e38), data_of([(X, Y)] * 3))
    line = str(caught.value)
    assert line.endswith("that is not finite; lower lr (1e+38)") and "optim" not in line


@pytest.mark.heavy
def test_a_network_sees_what_loaders_give(capsys):
    """The numbers of the curves are those of `apply` on the loaders' images."""
    model = create_model("lenet5", num_classes=10, initializer="he")
    other = type("Other", (type(model),), {"author_scale": "pixels"})
    images = np.random.default_rng(1).random((30, 28, 28, 1), np.float32)
    data = data_of([(images, np.arange(30) % 10)])
    data.val_dataloader = data.train_dataloader
    net, trainer = other(num_classes=10, initializer="he"), d2l.Trainer(max_epochs=2)
    trainer.fit(net, data)
    assert "note      Other is given images in [0, 1], as loaders have them; its " in (
        capsys.readouterr().out
    )
    logits = net.apply({"params": trainer.state.params}, images)
    found = optax.softmax_cross_entropy_with_integer_labels(logits, np.arange(30) % 10)
    said = trainer.board.data["val_loss"][-1][1]
    assert float(found.mean()) == pytest.approx(said, rel=1e-4)


def test_layers_of_ones_own_in_a_network_of_the_books():
    """What its author's weights are drawn by holds for the author's layers."""

    class Mine(d2l.LeNet):
        setup = Plain.setup

    Mine().layer_summary((1, 8, 8, 1))
    variables = Mine().init(jax.random.key(0), X)
    assert variables["params"]["net"]["layers_1"]["kernel"].shape == (64, 10)
    with pytest.raises(InputError, match="does not follow model.init 'he'"):
        Mine(initializer="he").init(jax.random.key(0), X)


@pytest.mark.parametrize("base", [d2l.Module, d2l.Classifier, Plain])
def test_a_constructor_is_refused(base):
    with pytest.raises(InputError, match=r"^M: a network has no __init__ of its own; "):

        class M(base):
            def __init__(self, lr=0.1):
                super().__init__()
                self.save_hyperparameters()


def test_one_name_may_be_ignored():
    class Kept(d2l.HyperParameters):
        def __init__(self, root, size):
            self.save_hyperparameters(ignore="root")

    assert Kept("a", 3).hparams == {"size": 3}
