"""Data of a user's own: each fault is named before the first step, on both loops."""

import numpy as np
import optax
import pytest

from alexnet_jax import d2l
from alexnet_jax.errors import InputError
from tests.d2l.helpers import ByTheBook, Plain, X, Y, changed, data_of, refusal


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


LABELS = {
    "ten of ten": (
        changed(3, 10),
        r"must be in \[0, 9\].*10 classes; .* has 10;",
    ),
    "negative": (changed(2, -1), r"labels must be in \[0, 9\].* has -1;"),
    "beyond 32 bits": (changed(0, 2**40), r"must be in \[0, 9\].* has 1099511627776;"),
    "half": (changed(1, 2.5), r"labels must be whole numbers in \[0, 9\].* has 2.5"),
    "NaN": (changed(1, np.nan), r"labels must be whole numbers.* has nan"),
    "infinite": (changed(1, np.inf), r"labels must be whole numbers.* has inf"),
    "one-hot": (
        np.eye(10)[np.arange(6)],
        r"of one-hot labels give y.argmax\(-1\)",
    ),
    "two columns": (np.zeros((6, 2)), r"must have shape \(batch,\).* has \(6, 2\)"),
    "one number": (np.int32(3), r"must have shape \(batch,\).* has \(\)"),
    "too few": (Y[:5], "has 6 examples and 5 labels; give one each"),
    "names": (np.array(list("abcdef")), "must hold arrays of numbers; got dtype <U1"),
    "objects": (Y.astype(object), "must hold arrays of numbers; got dtype object"),
    "complex": (Y.astype(complex), "must hold arrays of numbers; got dtype complex"),
}
IMAGES = {
    "no channels": (X[..., 0], r"has \(6, 8, 8\); add the channels by X\[..., None\]"),
    "channels first": (X.transpose(0, 3, 1, 2), r"give X.transpose\(0, 2, 3, 1\)"),
    "colors first": (np.zeros((6, 3, 8, 8)), r"channels first; give X.transpose"),
    "flat": (X.reshape(6, -1), r"\(batch, height, width, channels\); .* has \(6, 64\)"),
    "five axes": (X[None], r"channels\); .* has \(1, 6, 8, 8, 1\)"),
    "bytes as floats": (
        X * 255,
        r"uint8 in.*float32 up to .*astype\('uint8'\)",
    ),
    "bytes as integers": (
        (X * 255).astype(int),
        "uint8 in .* has int32 up to ",
    ),
    "16 bits": ((X * 65535).astype(np.uint16), r"has uint16 up to .*; give X / X.max"),
    "NaN": (np.where(X > 0.5, np.nan, X), "images with NaN or infinity; mend them"),
    "objects": (X.astype(object), "must hold arrays of numbers; got dtype object"),
    "empty": (X[:0], r"is empty: X has shape \(0, 8, 8, 1\)"),
    "ragged": ([[1.0], [1.0, 2.0]], "must hold arrays of numbers; list cannot be made"),
}
PAIRS = {
    "alone": (X, "must be a pair .X, y.; got ndarray"),
    "a dict": ({"image": X, "label": Y}, "must be a pair .X, y.; got dict"),
    "one": ((X,), "must be a pair .X, y.; got tuple of 1"),
    "nothing": (None, "must be a pair .X, y.; got NoneType"),
}
BATCHES = (
    {f"label, {name}": ((X, y), line) for name, (y, line) in LABELS.items()}
    | {f"image, {name}": ((x, Y), line) for name, (x, line) in IMAGES.items()}
    | {f"pair, {name}": pair for name, pair in PAIRS.items()}
)


@pytest.mark.parametrize("model", [Plain, ByTheBook])
@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_cannot_be_used(name, model):
    """Alone, after a good one, and among those to validate on."""
    bad, message = BATCHES[name]
    good = (X, Y)
    for train, val, place in (
        ([good, bad], None, "batch 1 of train_dataloader"),
        ([good], [good, good, bad], "batch 2 of val_dataloader"),
    ):
        data = data_of(train, val)
        assert place in refusal(model(), data)
        with pytest.raises(InputError, match=message):
            d2l.Trainer(max_epochs=1).fit(model(), data)


@pytest.mark.parametrize("model", [Plain, ByTheBook])
def test_batches_of_several_sizes(model):
    other = np.zeros((6, 9, 9, 1), np.float32)
    line = refusal(model(), data_of([(X, Y), (other, Y)]))
    assert "batch 1 of train_dataloader() has (9, 9, 1), those before (8, 8, 1)" in line


@pytest.mark.parametrize("model", [Plain, ByTheBook])
@pytest.mark.parametrize("empty", [[], lambda: iter(())])
def test_loaders_that_are_empty(model, empty):
    assert "the loader is empty" in refusal(model(), data_of(empty))
    assert "the loader is empty" in refusal(model(), data_of([(X, Y)], empty))


@pytest.mark.parametrize("model", [Plain, ByTheBook])
def test_something_else_than_a_loader(model):
    line = refusal(model(), data_of(7))
    assert "train_dataloader() must return an iterable of pairs (X, y); got int" in line


@pytest.mark.parametrize("model", [Plain, ByTheBook])
def test_classes_that_are_too_few_for_a_registered_data_set(model, data_dir):
    data = d2l.Digits(batch_size=500, resize=(8, 8), data_dir=str(data_dir))
    line = refusal(model(num_classes=5), data)
    assert "labels must be in [0, 4], the network's 5 classes; data.train has " in line


class Tensor:
    """As PyTorch's: what NumPy asks for, and no more."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)

    def __len__(self):
        return len(self.array)


class Stream(list):
    """Batches whose number is not known, as of PyTorch's loader of a stream."""

    def __len__(self):
        raise TypeError("object of type 'IterableDataset' has no len()")


GOOD = {
    "a loader without a length": lambda: Stream([(X, Y), (X, Y)]),
    "lists": lambda: [[X.tolist(), Y.tolist()]],
    "tensors": lambda: [(Tensor(X), Tensor(Y))],
    "a generator": lambda: ((X, Y) for _ in range(2)),
    "whole floats": lambda: [(X, Y.astype(np.float64))],
    "a column": lambda: [(X, Y[:, None])],
    "small integers": lambda: [(X, Y.astype(np.uint8))],
    "float64 and float16": lambda: [(X.astype(np.float64), Y), (X.astype("f2"), Y)],
    "bytes": lambda: [((X * 255).astype(np.uint8), Y)],
    "centered": lambda: [((X - 0.5) * 200, Y)],
    "true and false": lambda: [(X > 0.5, Y > 3)],
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", GOOD)
def test_what_is_taken(name):
    """And the same is made of it by both loops."""
    results = []
    for model in (Plain(lr=0.01), ByTheBook(lr=0.01)):
        trainer = d2l.Trainer(max_epochs=1)
        trainer.fit(model, data_of(GOOD[name]))
        results.append(trainer.board.data["val_loss"][-1][1])
    assert results[0] == pytest.approx(results[1], rel=1e-4)
    assert np.isfinite(results[0])


@pytest.mark.parametrize("model", [Plain, ByTheBook])
def test_a_generator_that_is_used_up(model):
    """It would train for one epoch, or for none."""
    once = iter([(X, Y), (X, Y)])
    assert "it must return a new iterable at each call" in refusal(
        model(), data_of(lambda: once)
    )


def test_data_without_validation():
    trainer = d2l.Trainer(max_epochs=1)
    data = data_of([(X, Y)])
    data.val_dataloader = lambda: None
    trainer.fit(Plain(), data)
    assert trainer.train_batch_idx == 1 and list(trainer.board.data) == ["train_loss"]


def test_labels_of_ones_own_loss_may_be_anything():
    """As with a loss that takes one-hot labels."""

    class Own(Plain):
        def loss(self, params, X, y, state, averaged=True):
            logits = state.apply_fn({"params": params}, *X)
            return optax.softmax_cross_entropy(logits, y).mean(), {}

        def accuracy(self, params, X, y, state, averaged=True):
            return 0.5

    one_hot = [(X, np.eye(10, dtype=np.float32)[Y])]
    trainer = d2l.Trainer(max_epochs=1)
    trainer.fit(Own(), data_of(one_hot, one_hot))
    assert trainer.board.data["val_acc"] == [(1.0, 0.5)]
