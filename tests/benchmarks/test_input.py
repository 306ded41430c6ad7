import json

import numpy as np
import pytest

from benchmarks import input as command


def test_fewer_images_than_a_batch(error_line):
    """Of which PyTorch's loader yields none, for ever."""
    line = error_line(command.main, "--images=130")
    assert line == "error: --images must be at least 131; got 130"


@pytest.mark.slow
def test_all_sides_are_timed(capsys):
    pytest.importorskip("torch")
    command.main(["--images=131", "--workers=1", "--repeats=1", "--batches=1"])
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 131
    for side in ("ours", "ours_threads", "torch"):
        assert np.all(np.array(found[f"{side}_images_per_s"]) > 0)
