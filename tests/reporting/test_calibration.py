"""Reliability diagrams, and what is said of them."""

import numpy as np
import pytest

from alexnet_jax.reporting.calibration import calibration, draw_calibration, verdict
from alexnet_jax.reporting.classes import classes_html, confusion_html


def logits_of(confidence, count):
    return np.log(np.tile([[confidence, 1 - confidence]], (count, 1))).astype("float32")


@pytest.mark.parametrize(
    ("confidence", "right", "said"),
    [
        (0.9, 5, "confidence 90.0 %, accuracy 50.0 %: overconfident by 40.0 percent"),
        (0.6, 9, "confidence 60.0 %, accuracy 90.0 %: underconfident by 30.0 percent"),
        (0.8, 8, "accuracy 80.0 %: neither over- nor underconfident on average"),
    ],
)
def test_the_verdict_has_its_numbers(confidence, right, said):
    label = (np.arange(10) >= right).astype(np.int32)
    found = calibration(logits_of(confidence, 10), label)
    assert said in verdict(found)
    assert found.error == pytest.approx(abs(confidence - right / 10), abs=1e-6)
    assert found.predictions.sum() == 10 and np.isfinite(found.accuracy).sum() == 1


def test_the_diagram_has_a_bar_for_each_bin():
    logits = np.concatenate([logits_of(0.9, 10), logits_of(0.55, 4)])
    label = np.array([0] * 8 + [1] * 2 + [0] * 2 + [1] * 2, np.int32)
    accuracy, counts = draw_calibration(calibration(logits, label)).axes
    heights = {i: bar.get_height() for i, bar in enumerate(accuracy.patches)}
    assert {i: h for i, h in heights.items() if np.isfinite(h)} == {8: 0.5, 13: 0.8}
    assert [counts.patches[i].get_height() for i in (8, 12, 13)] == [4, 0, 10]
    assert accuracy.get_xlim() == (0, 1)


def test_of_many_classes_the_worst_and_the_best():
    matrix = np.diag(np.arange(1000) % 7 + 1)
    matrix[3, 3], matrix[3, 4] = 0, 5
    matrix[8] = 0  # without images
    names = [f"class <{i}>" for i in range(1000)]
    html = classes_html(matrix, names, "of the first images")
    assert (
        "The worst 20 of 999 classes with images (of 1,000), by F1, of the fi" in html
    )
    assert "The best 5 of them" in html and html.count('scope="row"') == 25
    assert html.index("class &lt;3&gt;") < html.index("class &lt;4&gt;")
    shown = confusion_html(matrix, names, "As told.")
    assert "Confusion matrix of 1,000 classes: " in shown and "<td" not in shown
    assert len(shown) < 100_000


def test_a_confusion_matrix_is_a_table_in_any_script():
    html = confusion_html(np.array([[3, 1], [0, 2]]), ["قطة", "a<b"], "As told.")
    assert html.count("<bdi>قطة</bdi>") == 2 and html.count("a&lt;b") == 2
    assert '<td style="--share: 0.75">3</td><td style="--share: 0.25">1</td>' in html
    assert '<td style="--share: 0.00"></td><td style="--share: 1.00">2</td>' in html
