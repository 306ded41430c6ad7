import time

import pytest

from alexnet_jax.run.progress import Meter, epoch_line, speed_text


def test_the_meter_stands_still_while_paused(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    meter = Meter()
    start = meter.mark()
    for _ in range(4):  # 10 images in 2 s each
        now += 2.0
        meter.add(10)
        meter.resume()  # runs already: nothing is lost
    assert meter.images_per_s(start) == pytest.approx(5.0)
    meter.pause()
    now += 60.0
    meter.pause()
    assert meter.images_per_s(start) == pytest.approx(5.0)
    later = meter.mark()
    meter.resume()
    now += 1.0
    meter.add(30)
    assert meter.images_per_s(later) == pytest.approx(30.0)
    assert meter.images_per_s(start) == pytest.approx(70 / 9)


def test_epoch_line():
    row = {"epoch": 3.0, "train/loss": 0.5, "train/top1": 0.81, "images_per_s": 1234.5}
    line = epoch_line(row, 10, 10)
    assert line == "epoch  3/10 | train loss 0.5000 top-1 0.8100 | 1,234 images/s"
    row |= {"step": 13, "epoch": 3.25, "test/loss": 0.4, "test/top1": 0.9}
    assert epoch_line(row, 10, 10).startswith("step 13/40, in epoch 4/10 | ")
    assert "test loss 0.4000 top-1 0.9000" in epoch_line(row, 10, 10)
    row |= {"test/top5": 0.95}
    assert "top-5" not in epoch_line(row, 10, 10)
    assert "top-1 0.9000 top-5 0.9500 | " in epoch_line(row, 10, 11)


@pytest.mark.parametrize(
    ("width", "has"),
    [
        (None, "train loss 0.5000 top-1 0.8100 | test loss 0.4000 top-1 0.9000 | 9,9"),
        (
            80,
            "epoch 10/10 | train loss 0.5000 top-1 0.8100 | test loss 0.4000 top-1 0.",
        ),
        (60, "epoch 10/10 | test loss 0.4000 top-1 0.9000"),
        (20, "epoch 10/10 | test loss 0.4000 top-1 0.9000"),  # is never cut
    ],
)
def test_an_epochs_line_fits_the_terminal(width, has):
    row = {"step": 40, "epoch": 10.0, "train/loss": 0.5, "train/top1": 0.81}
    row |= {"test/loss": 0.4, "test/top1": 0.9, "images_per_s": 9_999.0}
    line = epoch_line(row, 10, 10, width)
    assert has in line and len(line) <= max(width or 100, 43)


def test_a_speed_is_never_nought():
    assert [*map(speed_text, (12_345.6, 10.4, 3.14159, 0.0312))] == [
        "12,346 images/s",
        "10 images/s",
        "3.1 images/s",
        "0.031 images/s",
    ]
