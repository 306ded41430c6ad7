"""What is overridden switches no check off."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax import d2l
from tests.d2l.helpers import ByTheBook, Plain, X, Y, changed, data_of, refusal


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


class Decay(Plain):
    def loss(self, params, X, y, state, averaged=True):
        value, updates = super().loss(params, X, y, state, averaged)
        squares = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
        return value + 1e-3 * squares, updates


class OwnLoss(Plain):
    def loss(self, params, X, y, state, averaged=True):
        logits = state.apply_fn({"params": params}, *X)
        value = optax.softmax_cross_entropy_with_integer_labels(
            logits, y.reshape(-1).astype(jnp.int32)
        )
        return value.mean(), {}


class OwnForward(Plain):
    def forward(self, X):
        return self.net(X)


class OwnCall(Plain):
    @nn.compact
    def __call__(self, X):
        return nn.Dense(10)(X.reshape((X.shape[0], -1)))


@pytest.mark.parametrize("model", [Decay, OwnLoss])
@pytest.mark.parametrize("labels", [changed(3, 10), changed(3, -1), changed(3, 10.0)])
def test_labels_of_ones_own_loss(model, labels):
    good = [(X, Y)]
    for y in (labels, labels[:, None]):
        line = refusal(model(), data_of([(X, Y), (X, y)]))
        assert "labels must be in [0, 9]" in line and "batch 1 of train_" in line
    assert "batch 1 of val_" in refusal(model(), data_of(good, [*good, (X, labels)]))


def test_labels_where_the_loss_is_replaced_for_all(monkeypatch):
    monkeypatch.setattr(d2l.Classifier, "loss", OwnLoss.loss)
    assert "labels must be in [0, 9]" in refusal(Plain(), data_of([(X, Y + 5)]))


def test_labels_of_a_registered_data_set(data_dir):
    data = d2l.Digits(batch_size=500, resize=(8, 8), data_dir=str(data_dir))
    assert "labels must be in [0, 4]" in refusal(Decay(num_classes=5), data)


class TestWhatALossOfOnesOwnMayTake:
    @staticmethod
    def fit(loss, labels, classes=10):
        class Own(Plain):
            def accuracy(self, params, X, y, state, averaged=True):
                return 0.5

        Own.loss = lambda self, params, X, y, state, averaged=True: (
            loss(state.apply_fn({"params": params}, *X), y).mean(),
            {},
        )
        trainer = d2l.Trainer(max_epochs=1)
        batches = [(X, y) for y in labels]
        trainer.fit(Own(num_classes=classes), data_of(batches, batches))
        assert trainer.board.data["val_acc"] == [(1.0, 0.5)]

    @pytest.mark.heavy
    def test_real_numbers_though_some_are_whole(self):
        labels = [Y * 30.0, Y * 2.5]
        self.fit(lambda logits, y: (logits.mean(-1) - y) ** 2 / 1e4, labels)

    @pytest.mark.heavy
    def test_zero_and_one_for_a_single_logit(self):
        def loss(logits, y):
            return optax.sigmoid_binary_cross_entropy(logits[:, 0], y)

        self.fit(loss, [Y % 2], classes=1)
        self.fit(loss, [Y > 2], classes=1)

    def test_several_a_picture(self):
        def loss(logits, y):
            return optax.sigmoid_binary_cross_entropy(logits, y)

        self.fit(loss, [np.eye(10, dtype=int)[Y] * 1])


class TestImagesOfANetworkOfOnesOwn:
    @pytest.mark.parametrize("model", [OwnForward, OwnCall])
    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (X.transpose(0, 3, 1, 2), "channels first; give X.transpose"),
            (X * 255, "float32 up to .*; give X.astype('uint8')"),
            (np.where(X > 0.5, np.nan, X), "images with NaN or infinity"),
            (X[..., 0] * 255, "float32 up to"),
            ((X * 255).astype(np.uint8).reshape(6, -1), "give X / 255"),
            (np.where(X > 0.5, np.inf, X).reshape(6, -1), "NaN or infinity"),
        ],
    )
    def test_are_looked_at(self, model, images, message):
        line = refusal(model(), data_of([(images, Y)]))
        assert all(part in line for part in message.split(".*"))
        assert "batch 0 of train_dataloader()" in line

    def test_of_softmax_regression(self):
        for images in (X * 255, X.transpose(0, 3, 1, 2)):
            model = d2l.SoftmaxRegression(num_outputs=10, lr=0.1)
            assert "data: images must" in refusal(model, data_of([(images, Y)]))

    def test_labels_are_looked_at(self):
        for y in (Y[:5], Y + 5):
            assert "labels" in refusal(OwnForward(), data_of([(X, y)]))

    @pytest.mark.slow
    def test_other_shapes_are_taken(self):
        table = np.random.default_rng(0).random((6, 4), np.float32) * 8  # as iris
        for x in (X.reshape(6, -1), X[..., 0], table, table - 300):
            d2l.Trainer(max_epochs=1).fit(OwnCall(lr=1e-6), data_of([(x, Y)], [(x, Y)]))


@pytest.mark.parametrize("model", [Plain, ByTheBook])
class TestBothLoops:
    @pytest.mark.heavy
    def test_images_to_validate_on_are_resized(self, model):
        other = np.concatenate([X, X[:, :2]], axis=1)
        trainer = d2l.Trainer(max_epochs=1)
        trainer.fit(model(), data_of([(X, Y)], [(other, Y)]))
        (_, value), *_ = trainer.board.data["val_loss"]
        assert np.isfinite(value)

    def test_images_of_other_channels_are_not(self, model):
        color = np.repeat(X, 3, 3)
        line = refusal(model(), data_of([(X, Y)], [(color, Y)]))
        assert "have 1 channels, those to validate on 3; give as many" in line

    @pytest.mark.parametrize("maps", [5, 8])
    def test_other_channels_first(self, model, maps):
        images = np.zeros((6, maps, 12, 12), np.float32)
        line = refusal(model(), data_of([(images, Y)]))
        assert "channels first; give X.transpose(0, 2, 3, 1)" in line

    @pytest.mark.heavy
    def test_channels_last_are_taken(self, model):
        images = np.zeros((6, 5, 12, 12), np.float32).transpose(0, 2, 3, 1)
        d2l.Trainer(max_epochs=1).fit(model(), data_of([(images, Y)], [(images, Y)]))

    @pytest.mark.parametrize("stray", [-1.0, -5.0])
    def test_a_stray_negative_pixel_hides_no_range(self, model, stray):
        images = X * 255
        images[0, 0, 0] = stray
        assert "float32 from -" in refusal(model(), data_of([(images, Y)]))

    def test_three_arrays(self, model):
        line = refusal(model(), data_of([(X, X, Y)]))
        assert "batch 0 of train_dataloader() must be a pair (X, y); got 3" in line

    def test_a_label_alone(self, model):
        line = refusal(model(), data_of([(X[:1], Y[0])]))
        assert "labels must have shape (batch," in line and "has ()" in line

    def test_logits_that_are_not_num_classes(self, model):
        class Five(model):
            def setup(self):
                flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
                self.net = nn.Sequential([flatten, nn.Dense(5)])

        line = refusal(Five(), data_of([(X, Y % 5)]))
        assert "Five must return (batch, 10), a logit for each of its num_cl" in line


def test_a_label_alone_for_a_loss_of_ones_own():
    assert "has ()" in refusal(Decay(), data_of([(X[:1], Y[0])]))


def test_images_to_validate_on_that_a_network_of_ones_own_does_not_take():
    line = refusal(OwnForward(), data_of([(X, Y)], [(X[:, :5], Y)]))
    assert "the network does not take both; give the same" in line
