"""Hooks that are jitted with the network as a static argument, as the book's are."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax import d2l

X = np.random.default_rng(0).random((8, 4, 4, 1), np.float32)
Y = np.arange(8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


class Data:
    def train_dataloader(self):
        return [(X, Y), (X[::-1], Y[::-1])]

    val_dataloader = train_dataloader


class BookEpoch(d2l.Trainer):
    """§3.4's loop, as a reader writes it."""

    def fit_epoch(self):
        self.model.training = True
        for batch in self.train_dataloader:
            (_, updates), grads = self.model.training_step(
                self.state.params, self.prepare_batch(batch), self.state
            )
            self.state = self.state.apply_gradients(grads=grads)
            key = jax.random.split(self.state.dropout_rng)[0]
            self.state = self.state.replace(dropout_rng=key, **updates)
            self.train_batch_idx += 1
        self.model.training = False
        for batch in self.val_dataloader:
            batch = self.prepare_batch(batch)
            self.model.validation_step(self.state.params, batch, self.state)
            self.val_batch_idx += 1


def network(layer, jitted):
    """Returns a network with a layer that evaluates otherwise than it trains."""

    def logits(params, inputs, state):
        return state.apply_fn(
            {"params": params, **state.model_state},
            *inputs,
            mutable=["batch_stats"],
            rngs={"dropout": state.dropout_rng},
        )

    def loss(self, params, X, Y, state, averaged=True):
        found, updates = logits(params, X, state)
        value = optax.softmax_cross_entropy_with_integer_labels(found, Y)
        return (value.mean() if averaged else value), dict(updates)

    def accuracy(self, params, X, Y, state, averaged=True):
        # Of the logits, so that no two phases have the same.
        return jnp.abs(logits(params, X, state)[0]).mean()

    jit = partial(jax.jit, static_argnums=(0, 5)) if jitted else (lambda f: f)

    class Net(d2l.Classifier):
        def setup(self):
            flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
            phase = {
                "norm": lambda: nn.BatchNorm(not self.training),
                "dropout": lambda: nn.Dropout(0.5, deterministic=not self.training),
            }[layer]()
            self.net = nn.Sequential([flatten, phase, nn.Dense(10)])

    Net.loss, Net.accuracy = jit(loss), jit(accuracy)
    return Net


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("layer", "trainer"),
    [
        pytest.param("norm", d2l.Trainer, marks=pytest.mark.slow),
        ("dropout", BookEpoch),
        pytest.param("norm", BookEpoch, marks=pytest.mark.slow),
        pytest.param("dropout", d2l.Trainer, marks=pytest.mark.heavy),
    ],
)
def test_a_jitted_hook_evaluates_as_a_plain_one(layer, trainer):
    curves, states, values = [], [], []
    for jitted in (True, False):
        model = network(layer, jitted)()
        one = trainer(max_epochs=2)
        one.fit(model, Data())
        one.fit(model, Data())  # programs of the first fit are there
        curves.append(one.board.data)
        states.append(one.state)
        values.append([])
        for training in (False, True, False):
            model.training = training
            loss = model.loss(one.state.params, (X,), Y, one.state)[0]
            values[-1].append(float(loss))
    for label in ("val_loss", "val_acc"):
        np.testing.assert_allclose(curves[0][label], curves[1][label], rtol=1e-4)
    np.testing.assert_allclose(*values, rtol=1e-4)
    assert values[0][0] == values[0][2] != values[0][1]
    assert states[0].apply_fn is not None


class BookFit(BookEpoch):
    """§3.2's `fit`, as a reader writes it."""

    def fit(self, model, data):
        self.prepare_data(data)
        self.prepare_model(model)
        variables = model.apply_init(
            (X,), key=dict.fromkeys(("params", "dropout"), jax.random.key(0))
        )
        self.state = d2l.TrainState.create(
            apply_fn=model.apply,
            params=variables["params"],
            tx=model.configure_optimizers(),
            batch_stats=variables.get("batch_stats", {}),
            dropout_rng=jax.random.key(1),
        )
        for epoch in range(self.max_epochs):
            self.epoch = epoch
            self.fit_epoch()


@pytest.mark.slow
def test_a_fit_of_ones_own():
    curves = []
    for jitted in (True, False):
        one = BookFit(max_epochs=2)
        one.fit(network("norm", jitted)(), Data())
        curves.append(one.board.data["val_loss"])
    np.testing.assert_allclose(*curves, rtol=1e-4)


def test_a_state_of_ones_own_is_kept():
    """As where the loop is one's own and makes another state."""
    one = d2l.Trainer(max_epochs=1)
    assert one.state is None
    one.fit(network("norm", False)(), Data())
    other = one.state.replace(apply_fn=len)
    one.state = other
    assert one.state is other
