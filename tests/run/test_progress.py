import time

import pytest

from alexnet_jax.run.progress import Meter, epoch_line


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
    row |= {"epoch": 3.25, "test/loss": 0.4, "test/top1": 0.9}
    assert "epoch 3.25/10 | " in epoch_line(row, 10, 10)
    assert "test loss 0.4000 top-1 0.9000" in epoch_line(row, 10, 10)
    row |= {"test/top5": 0.95}
    assert "top-5" not in epoch_line(row, 10, 10)
    assert "top-1 0.9000 top-5 0.9500 | " in epoch_line(row, 10, 11)
