"""The names that the book's code takes from d2l, and what its plain ones do."""

import random

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import d2l
from alexnet_jax.errors import InputError

# Each `d2l.NAME` in the blocks for JAX, and for all libraries, of §3.2 to 3.5 and 3.7,
# §4.2 to 4.5, §7.6 and §8.1 to 8.8, found by a regular expression over the chapters.
NAMES = """
Classifier DataModule FashionMNIST HyperParameters LinearRegression
LinearRegressionScratch Module ProgressBoard ResNeXtBlock SyntheticRegressionData
Trainer add_to_class argmax astype cpu exp float32 get_key get_seed init_cnn log
matmul nn_Module normal numpy ones randn reduce_mean reduce_sum reshape show_images
tensor to use_svg_display
"""
# What these chapters save for others, and §6.7's devices.
SAVED = """
AlexNet LeNet Residual SGD SoftmaxRegression gpu num_gpus plt set_figsize
try_all_gpus try_gpu zeros
"""
OF_OTHER_LIBRARIES = {"init_cnn", "normal", "randn"}


@pytest.mark.parametrize("name", (NAMES + SAVED).split())
def test_a_name_is_here_or_refused_with_a_reason(name):
    if name not in OF_OTHER_LIBRARIES:
        assert getattr(d2l, name) is not None and name in d2l.__all__
        return
    with pytest.raises(InputError, match=f"^d2l.{name} is not here: .+") as caught:
        getattr(d2l, name)
    assert isinstance(caught.value, AttributeError) and "\n" not in str(caught.value)
    assert not hasattr(d2l, name) and getattr(d2l, name, 7) == 7


def test_other_chapters_are_refused_and_slips_are_plain():
    with pytest.raises(InputError, match="d2l.TimeMachine is not here: .* on text"):
        _ = d2l.TimeMachine
    with pytest.raises(AttributeError, match="has no attribute 'Trainr'") as caught:
        _ = d2l.Trainr
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("Timer Accumulator", "add up numbers"),
        ("Animator plot", "draw with d2l.plt"),
        ("float size annotate", "of another edition or of another tab"),
        (
            "evaluate_accuracy load_array train_ch6 batch_norm squared_loss linreg sgd "
            "synthetic_data",
            "of an earlier edition or of another tab",
        ),
    ],
)
def test_names_of_other_editions(names, reason):
    for name in names.split():
        with pytest.raises(InputError, match=f"d2l.{name} is not here: .*{reason}"):
            getattr(d2l, name)


def test_hyperparameters_are_saved():
    class Saves(d2l.HyperParameters):
        def __init__(self, a, b, *, c=3, d=4):
            _local = 0
            self.save_hyperparameters(ignore=["b"])

    one = Saves(1, 2, d=5)
    assert (one.a, one.c, one.d) == (1, 3, 5) and not hasattr(one, "b")
    assert one.hparams == {"a": 1, "c": 3, "d": 5}


def test_a_method_is_added():
    class Bare:
        pass

    one = Bare()

    @d2l.add_to_class(Bare)
    def double(self, x):
        return 2 * x

    assert one.double(3) == 6


def test_arrays():
    x = d2l.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert d2l.reduce_sum(x, 0, keepdims=True).tolist() == [[5, 7, 9]]
    assert d2l.reduce_mean(x) == 3.5 and d2l.argmax(x, axis=1).tolist() == [2, 2]
    assert d2l.reshape(x, (-1, 1)).shape == d2l.reshape(x, -1, 1).shape == (6, 1)
    assert d2l.astype(x, jnp.int32).dtype == jnp.int32
    assert d2l.to(x, d2l.cpu()).devices() == {d2l.cpu()}
    assert isinstance(d2l.numpy(x), np.ndarray)
    assert d2l.matmul(x, d2l.transpose(x)).shape == (2, 2)


def test_keys_are_drawn_by_pythons_random():
    random.seed(3)
    first = d2l.get_key(), d2l.get_seed()
    random.seed(3)
    assert (d2l.get_key() == first[0]).all() and d2l.get_seed() == first[1]


def test_devices(monkeypatch):
    assert d2l.num_gpus() == 0 and d2l.try_gpu() == d2l.cpu()
    assert d2l.try_all_gpus() == [d2l.cpu()]
    with pytest.raises(InputError, match="gpu must be below 0, the GPUs here; got 0"):
        d2l.gpu()
    there = jax.devices()
    monkeypatch.setattr("alexnet_jax.d2l.functions.gpus", lambda: there)
    assert d2l.num_gpus() == 8 and d2l.gpu(7) == d2l.try_gpu(7) == there[7]
    assert d2l.try_all_gpus() == there


def test_images_are_shown():
    images = np.zeros((3, 4, 4, 1))
    axes = d2l.show_images(images, 2, 2, titles=["a", "b"])
    assert [one.get_title() for one in axes] == ["a", "b", "", ""]
    assert d2l.show_images(images[..., 0], 1, 3).shape == (3,)
    d2l.use_svg_display()
    d2l.set_figsize((3, 2))
    d2l.plt.close("all")


class TestRegressionData:
    data = d2l.SyntheticRegressionData(w=d2l.tensor([2, -3.4]), b=4.2, num_val=50)

    def test_is_linear(self):
        assert self.data.X.shape == (1050, 2) and self.data.y.shape == (1050, 1)
        error = self.data.y - (self.data.X @ self.data.w.reshape(-1, 1) + 4.2)
        assert 0.005 < float(error.std()) < 0.02

    def test_comes_in_batches(self):
        train, val = self.data.train_dataloader(), self.data.val_dataloader()
        assert (len(train), len(val)) == (32, 2)
        first, second = (np.concatenate([y for _, y in train]) for _ in range(2))
        assert not np.array_equal(first, second)
        assert np.array_equal(np.sort(first, 0), np.sort(second, 0))
        x = np.concatenate([x for x, _ in val])
        assert np.array_equal(x, self.data.X[1000:])

    def test_of_ones_own(self):
        class Own(d2l.DataModule):
            def __init__(self, size):
                super().__init__()
                self.save_hyperparameters()
                self.batch_size = size

            def get_dataloader(self, train):
                tensors = [jnp.arange(9.0), jnp.arange(9)]
                return self.get_tensorloader(tensors, train, slice(0, 7))

        sizes = [len(y) for _, y in Own(3).val_dataloader()]
        assert sizes == [3, 3, 1] and Own(3).root == "../data"
        for wrong in (0, -3, 2.5, "8", None, True):
            with pytest.raises(InputError, match="Own.batch_size must be an inte"):
                Own(wrong).train_dataloader()
        assert len(Own(np.int64(3)).train_dataloader()) == 3
        with pytest.raises(InputError, match=r"must be of one length.*\[2, 3\]"):
            Own(3).get_tensorloader([jnp.ones(2), jnp.ones(3)], train=True)


class TestRegression:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @staticmethod
    def data(**kwargs):
        counts = {"num_train": 20, "num_val": 10, "batch_size": 8}
        return d2l.SyntheticRegressionData(
            w=d2l.tensor([2, -3.4]), b=4.2, **{**counts, **kwargs}
        )

    @pytest.mark.parametrize("name", ["num_train", "num_val", "batch_size"])
    @pytest.mark.parametrize("value", [-5, 2.5, "8"])
    def test_counts(self, name, value):
        with pytest.raises(InputError, match=f"^{name} must be an integer of at least"):
            self.data(**{name: value})

    @pytest.mark.slow
    def test_without_validation(self):
        trainer = d2l.Trainer(max_epochs=1)
        trainer.fit(d2l.LinearRegression(lr=0.03), self.data(num_val=np.int64(0)))
        assert list(trainer.board.data) == ["train_loss"]

    @pytest.mark.heavy
    @pytest.mark.parametrize("part", ["X", "y"])
    def test_values_that_are_not_finite(self, part):
        for model in (d2l.LinearRegression(0.03), d2l.LinearRegressionScratch(2, 0.03)):
            data = self.data()
            setattr(data, part, getattr(data, part).at[25].set(jnp.nan))
            with pytest.raises(InputError, match="batch 0 of val_.* with NaN or infin"):
                d2l.Trainer(max_epochs=1).fit(model, data)

    def test_targets_of_another_shape(self):
        for model in (d2l.LinearRegression(0.03), d2l.LinearRegressionScratch(2, 0.03)):
            data = self.data()
            data.y = jnp.zeros((30, 2))
            with pytest.raises(InputError, match=r"y must have shape \(8, 1\).* \(8"):
                d2l.Trainer(max_epochs=1).fit(model, data)


@pytest.mark.parametrize(
    "block",
    [
        d2l.Residual(3),
        d2l.Residual(6, use_1x1conv=True, strides=(2, 2)),
        d2l.ResNeXtBlock(4, 2, 1, use_1x1conv=True, strides=(2, 2)),
        d2l.ResNeXtBlock(3, 3, 1),
    ],
)
def test_blocks(block):
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 3), jnp.float32)
    shape = jax.eval_shape(
        lambda: block.init_with_output(jax.random.key(1), x)[0]
    ).shape
    size = 3 if getattr(block, "use_1x1conv", False) else 6
    assert shape == (4, size, size, block.num_channels)
    assert isinstance(block, nn.Module)
