"""Learning curves: means, spreads, gaps."""

import io
import math

import numpy as np

from alexnet_jax.reporting.curves import draw_curves, draw_panel
from alexnet_jax.reporting.html import document, paragraph
from tests.helpers import rows_of


def test_curves_are_means_with_their_spread():
    low, high = rows_of(1.0), rows_of(2.0)
    figure = draw_curves({"a": [low, high], "b": [low]}, "title")
    loss, accuracy = figure.axes
    _, tests, _, _ = loss.lines  # of each run the training between, the test at epochs
    np.testing.assert_array_equal(tests.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(tests.get_ydata(), [1.5, 0.75, 0.5, 0.375])
    (spread,) = loss.collections
    corners = spread.get_paths()[0].vertices
    at_first = corners[corners[:, 0] == 1, 1]
    deviation = np.std([1.0, 2.0], ddof=1)
    assert {round(float(y), 6) for y in at_first} == {
        round(1.5 - deviation, 6),
        round(1.5 + deviation, 6),
    }
    assert accuracy.get_xlabel() == "epoch"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["a (2 seeds)", "b", "train", "test"]


def test_a_short_run_counts_steps_and_gaps_stay_gaps():
    rows = rows_of(epochs=1)
    rows[0]["train/loss"] = math.nan
    rows[1]["test/loss"] = math.inf
    figure = draw_curves({"a": [rows]})
    loss, accuracy = figure.axes
    assert loss.get_xlabel() == "step"
    # Of the loss what is left is the training's over the epoch.
    assert [line.get_ydata().tolist() for line in loss.lines] == [[0.5]]
    assert len(accuracy.lines) == 3


def test_an_epoch_without_an_evaluation_is_no_jump():
    rows = rows_of()
    for key in ("test/loss", "test/top1"):
        del rows[1][key], rows[3][key]  # the ends of the first two epochs
    for figure in (draw_curves({"a": [rows]}), draw_panel({"a": [rows]}, "test/loss")):
        within, ends, tests = figure.axes[0].lines
        assert within.get_xdata().tolist() == [0.5, 1.5, 2.5, 3.5]
        assert ends.get_xdata().tolist() == [1, 2, 3, 4]
        assert tests.get_xdata().tolist() == [3, 4]
    figure = draw_panel({"a": [rows], "b": [rows]}, "train/loss")
    for line in figure.axes[0].lines:
        assert line.get_xdata().tolist() == [0.5, 1.5, 2.5, 3.5]


def test_a_name_of_bytes_that_are_no_text():
    name = "\udcff\x1b"
    figure = draw_curves({name: [rows_of()], "b": [rows_of()]}, name)
    figure.savefig(io.BytesIO())
    assert figure.get_suptitle() == r"\udcff\u001b"
    page = document(name, [paragraph(name)])
    assert page.encode() and r"\udcff" in page


def test_a_curve_of_one_point_is_seen():
    figure = draw_curves({"a": [rows_of(epochs=1)[:1]], "b": [rows_of(epochs=1)]})
    for axes in figure.axes:
        for line in axes.lines:
            assert (
                len(line.get_xdata()) > 1
                or line.get_marker() == "o"
                or (line.get_marker() not in ("", "None", None))
            )


def test_runs_by_color_dashes_and_marker():
    runs = {f"run {number}": [rows_of()] for number in range(12)}
    figure = draw_curves(runs)
    (legend,) = figure.legends
    looks = [
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in legend.get_lines()[:12]
    ]
    assert len({*looks}) == 12
