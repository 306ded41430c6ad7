"""The tutorials of docs/, followed from top to bottom."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("[!i]*.md"))


# Nothing is downloaded and it takes minutes; what is printed keeps its form.
SHORTER = {
    "d2l.FashionMNIST": "d2l.Digits",
    "max_steps=10": "max_steps=2",
    "config.num_epochs = 4": "config.num_epochs = 1",
    "--config.num_epochs=6 --config.optim.decay_epochs='(4, 5)'": (
        "--config.num_epochs=1"
    ),
    "seed=0,1,2": "seed=0,1",
    "seeds=10,11,12": "seeds=10,11",
    '("seed-10", "seed-11", "seed-12")': '("seed-10", "seed-11")',
}


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_prints_what_it_says(page, data_dir, tmp_path):
    text = page.read_text()
    for printed, shorter in SHORTER.items():
        text = text.replace(printed, shorter)
    copy = tmp_path / page.name
    copy.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tests.tutorials", copy],
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "TFDS_DATA_DIR": str(data_dir),
            "JAX_PLATFORMS": "cpu",
            "MPLBACKEND": "agg",
        },
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_shortened_is_there():
    text = "".join(page.read_text() for page in TUTORIALS)
    assert all(printed in text for printed in SHORTER)


def test_a_tutorial_that_prints_something_else_is_told(tmp_path):
    page = tmp_path / "page.md"
    block = "```python\nprint('top-1', 0.5)\nprint('last')\n```\n\n```\n{}\n```\n"
    for expected, code in (
        ("top-1 0.9\nlast", 0),
        ("...\nlast", 0),
        ("top-1 0.9", 1),
        ("top-5 0.9\nlast", 0),  # numbers are not compared
        ("top 0.9\nlast", 1),
    ):
        page.write_text(block.format(expected))
        done = subprocess.run(
            [sys.executable, "-m", "tests.tutorials", page],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            cwd=tmp_path,
        )
        assert done.returncode == code, expected
