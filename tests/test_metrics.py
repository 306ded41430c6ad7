from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import metrics
from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.metrics import (
    METRICS,
    add_sums,
    by_confidence,
    check_metrics,
    class_scores,
    confusion,
    create_loss,
    cross_entropy,
    finish_metrics,
    means,
    metric_sums,
    shown_metrics,
    training_sums,
)
from alexnet_jax.run.rows import read_rows
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.trained import load


def evaluate(logits, label, mask=None, names=tuple(METRICS)):
    label = jnp.asarray(label, jnp.int32)
    mask = jnp.ones(len(label), bool) if mask is None else jnp.asarray(mask)
    return finish_metrics(add_sums({}, metric_sums(names, logits, label, mask)))


def test_training_sums_by_hand():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]]))
    label = jnp.array([0, 1, 1], jnp.int32)
    mask = jnp.array([True, True, True])
    sums = training_sums(cross_entropy, logits, label, mask)
    assert float(sums["loss"]) == pytest.approx(-np.log(0.7 * 0.3 * 0.5))
    assert (float(sums["top1"]), float(sums["count"])) == (2, 3)
    assert means(sums)["top1"] == pytest.approx(2 / 3)


@pytest.mark.heavy
def test_padding_counts_nowhere_even_if_it_is_nan():
    logits = jnp.array([[2.0, 0.0], [jnp.nan, jnp.nan]])
    label, mask = jnp.array([0, 0], jnp.int32), jnp.array([True, False])
    sums = training_sums(cross_entropy, logits, label, mask)
    assert float(sums["loss"]) == pytest.approx(np.log(1 + np.exp(-2)))
    assert (float(sums["top1"]), float(sums["count"])) == (1, 1)
    found = evaluate(logits, label, mask)
    alone = evaluate(logits[:1], label[:1])
    assert found == pytest.approx(alone)


@pytest.mark.heavy
def test_top5_by_hand():
    logits = jnp.array([[6.0, 5, 4, 3, 2, 1]] * 3 + [[jnp.nan] * 6])
    mask = [True, True, True, False]
    assert evaluate(logits, [0, 4, 5, 0], mask)["top5"] == pytest.approx(2 / 3)
    assert evaluate(logits[:, :3], [0, 0, 0, 0], mask)["top5"] == 1


def test_metrics_by_hand():
    logits = jnp.array([[3.0, 2, 1], [0, 5, 0], [1, 1, 1], [0, 0, 9]])
    label = np.array([0, 1, 2, 0], np.int32)
    found = evaluate(logits, label)
    assert found["top1"] == 0.5 and found["top5"] == 1.0
    exact = np.log(np.exp(logits).sum(axis=1)) - np.asarray(logits)[range(4), label]
    assert found["loss"] == pytest.approx(np.mean(exact), rel=1e-6)
    wide = jnp.arange(12, dtype=jnp.float32)[None]
    assert [evaluate(wide, [label])["top5"] for label in (6, 7)] == [0.0, 1.0]
    matrix = confusion(np.asarray(logits), label)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]


@pytest.mark.heavy
def test_of_equal_logits_the_lower_label_comes_first():
    logits = jnp.array([[3.0, 1, 1, 1, 1, 1, 1]])
    assert [evaluate(logits, [label])["top5"] for label in (4, 5)] == [1, 0]
    assert [evaluate(logits[:, 1:], [label])["top1"] for label in (0, 1)] == [1, 0]


@pytest.mark.slow
def test_parts_add_up():
    """However examples are cut into batches, the metrics are the whole's."""
    generator = np.random.default_rng(0)
    logits = jnp.asarray(generator.normal(size=(23, 7)), jnp.float32)
    label = jnp.asarray(generator.integers(0, 7, 23), jnp.int32)
    total = {}
    for first in range(0, 23, 5):
        part = slice(first, first + 5)
        mask = jnp.ones(len(label[part]), bool)
        total = add_sums(total, metric_sums(METRICS, logits[part], label[part], mask))
    assert finish_metrics(total) == pytest.approx(evaluate(logits, label), rel=1e-6)


def test_the_metric_of_the_docs(monkeypatch):
    """What docs/extending.md says of a new metric is all that it takes."""
    text = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
    code = text.partition("## A metric")[2].partition("```python\n")[2]
    monkeypatch.setattr("alexnet_jax.metrics.METRICS", dict(METRICS))
    exec(code.partition("```")[0], vars(metrics))
    logits = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = evaluate(logits, [0, 1, 1], names=("loss", "error"))
    assert found["error"] == pytest.approx(1 / 3)
    assert shown_metrics({"test/error": 1 / 3}, 10) == {"error": "0.3333"}


def test_a_metric_that_is_not_there():
    check_metrics(tuple(METRICS))
    with pytest.raises(InputError, match="eval.metrics must name .*; got 'top3'"):
        check_metrics(("loss", "top3"))


def test_top5_is_shown_where_it_says_something():
    row = {"step": 1, "train/loss": 1.0, "test/loss": 2.0, "test/top5": 0.5}
    assert shown_metrics(row, 10) == {"loss": "2.0000"}
    assert shown_metrics(row, 11) == {"loss": "2.0000", "top-5": "0.5000"}


class TestLabelSmoothing:
    def test_by_hand(self):
        optim = default_config().optim
        optim.label_smoothing = 0.1
        probabilities = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]], np.float32)
        label = jnp.array([0, 2], jnp.int32)
        found = create_loss(optim)(jnp.log(probabilities), label)
        surprise = -np.log(probabilities)
        expected = 0.9 * surprise[[0, 1], [0, 2]] + 0.1 * surprise.mean(axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_none_is_plain_cross_entropy(self):
        assert create_loss(default_config().optim) is cross_entropy

    @pytest.mark.slow
    def test_a_run_trains_with_it(self, config, tmp_path):
        """At rate 0 the network stays: only the training loss differs."""
        config.optim.learning_rate, config.num_epochs = 0.0, 1
        plain = run(config, tmp_path / "plain")
        config.optim.label_smoothing = 0.5
        smoothed = run(config, tmp_path / "smoothed")
        assert smoothed["test/loss"] == plain["test/loss"]
        assert smoothed["train/loss"] != plain["train/loss"]


class TestCalibration:
    # Confidences 0.55, 0.55, 0.85, 0.95: of bins 8, 8, 12 and 14 of 15.
    PROBABILITY = np.array([[0.55, 0.45], [0.55, 0.45], [0.15, 0.85], [0.95, 0.05]])

    def test_by_hand(self):
        logits = jnp.asarray(np.log(self.PROBABILITY), jnp.float32)
        label = [0, 1, 1, 1]
        expected = (2 * abs(0.55 - 0.5) + abs(0.85 - 1) + abs(0.95 - 0)) / 4
        assert evaluate(logits, label)["ece"] == pytest.approx(expected, abs=1e-6)

    def test_bins_are_closed_above(self):
        # Of two equal logits the confidence is 0.5, of three a third, 5 of 15.
        for classes, place in ((2, 7), (3, 4), (15, 0)):
            found = by_confidence(jnp.zeros((1, classes)), jnp.zeros(1, jnp.int32))[0]
            assert found[0].tolist() == [float(i == place) for i in range(15)]
        sure = by_confidence(jnp.array([[90.0, 0.0]]), jnp.zeros(1, jnp.int32))[0]
        assert sure[:, 14].tolist() == [1, 1, 1]

    @pytest.mark.heavy
    def test_any_batches_and_padding_make_the_same(self):
        draw = np.random.default_rng(0)
        logits = draw.normal(size=(50, 4)).astype(np.float32) * 3
        label = draw.integers(0, 4, 50).astype(np.int32)
        whole = evaluate(jnp.asarray(logits), label)["ece"]
        total = {}
        for start in range(0, 50, 20):
            part = slice(start, start + 20)
            padded = np.full((20, 4), np.nan, np.float32)
            padded[: len(logits[part])] = logits[part]
            labels = np.zeros(20, np.int32)
            labels[: len(label[part])] = label[part]
            mask = np.arange(20) < len(label[part])
            sums = metric_sums(("ece",), *map(jnp.asarray, (padded, labels, mask)))
            total = add_sums(total, sums)
        assert finish_metrics(total)["ece"] == pytest.approx(whole)
        confidence = np.exp(logits - np.log(np.exp(logits).sum(1, keepdims=True))).max(
            1
        )
        edges = np.arange(16) / 15
        by_hand = 0.0
        for low, high in zip(edges, edges[1:], strict=False):
            within = (confidence > low) & (confidence <= high)
            if within.any():
                right = (logits.argmax(1) == label)[within].mean()
                by_hand += within.mean() * abs(confidence[within].mean() - right)
        assert whole == pytest.approx(by_hand, abs=1e-6)


def test_class_scores_by_hand():
    found = class_scores(np.array([[3, 1, 0, 0], [0, 0, 0, 0], [2, 2, 1, 0], [0] * 4]))
    assert found.examples.tolist() == [4, 0, 5, 0]
    np.testing.assert_allclose(found.precision, [3 / 5, 0, 1, np.nan])
    np.testing.assert_allclose(found.recall, [3 / 4, np.nan, 1 / 5, np.nan])
    np.testing.assert_allclose(found.f1, [6 / 9, 0, 2 / 6, np.nan])
    assert found.confused_with.tolist() == [1, -1, 0, -1]
    assert found.confusions.tolist() == [1, 0, 2, 0]


def run(config, workdir):
    train_and_evaluate(config, workdir)
    return read_rows(workdir / "metrics.jsonl")[-1]


class TestBalanced:
    @pytest.mark.heavy
    def test_by_hand(self):
        logits = jnp.eye(4)[jnp.array([0, 0, 0, 1, 1, 3])]
        # Class 0: 3 of 4; class 1: 1 of 2; classes 2 and 3 have no examples.
        found = evaluate(logits, [0, 0, 0, 0, 1, 1])
        assert found["balanced"] == pytest.approx((3 / 4 + 1 / 2) / 2)
        assert found["top1"] == pytest.approx(4 / 6)

    @pytest.mark.heavy
    def test_classes_of_one_size_make_it_top1(self):
        logits = jnp.asarray(np.random.default_rng(0).normal(size=(30, 3)), jnp.float32)
        found = evaluate(logits, list(range(3)) * 10)
        assert found["balanced"] == pytest.approx(found["top1"])

    @pytest.mark.slow
    @pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.heavy)])
    def test_a_run_records_it_and_evaluate_finds_the_same(
        self, config, devices, tmp_path, capsys
    ):
        config.eval.metrics = (*config.eval.metrics, "balanced")
        config.parallel.data, config.num_epochs = devices, 1
        row = run(config, tmp_path)
        found = load(tmp_path).evaluate()
        assert row["test/balanced"] == pytest.approx(found["balanced"])
        classes = [one["top1"] for one in found["classes"]]
        assert found["balanced"] == pytest.approx(np.mean(classes))
        assert f" balanced {row['test/balanced']:.4f} | " in capsys.readouterr().out
