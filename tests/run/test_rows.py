"""`metrics.jsonl`: damaged lines are skipped, all others stay."""

import json
import math

import pytest

from alexnet_jax.run.records import restore_rows
from alexnet_jax.run.rows import Stored, best_of, read_rows, scan_rows, to_text
from tests.helpers import rows_of

ROWS = rows_of()
LINES = [json.dumps(row).encode() for row in ROWS]


def renamed(old, new):
    return LINES[3].replace(old, new)


DAMAGES = {
    "half": LINES[3][:30],
    "no UTF-8": b"\xff" + LINES[3],
    "a byte inside": renamed(b"epoch", b"ep\xc3ch"),
    "number": b"5",
    "list": b"[]",
    "null": b"null",
    "text": b'"step"',
    "NUL": bytes(200),
    "nested": b"[" * 100_000,
    "renamed step": renamed(b'"step"', b'"stop"'),
    "renamed loss": renamed(b"train/loss", b"train/lose"),
    "step as text": renamed(b'"step": 4', b'"step": "4"'),
    "step as fraction": renamed(b'"step": 4', b'"step": 4.5'),
    "step as truth": renamed(b'"step": 4', b'"step": true'),
    "negative step": renamed(b'"step": 4', b'"step": -4'),
    "no finite epoch": renamed(b'"epoch": 2.0', b'"epoch": NaN'),
    "value as list": renamed(b'"epoch": 2.0', b'"epoch": 2.0, "x": []'),
    "huge number": renamed(b'"step": 4', b'"step": ' + b"4" * 5000),
    "no 64 bits": renamed(b'"epoch": 2.0', b'"epoch": 2.0, "x": ' + b"4" * 400),
    "no 32 bits": renamed(b'"epoch": 2.0', b'"epoch": 2.0, "x": 1e308'),
    "an accuracy of NaN": renamed(b'"epoch": 2.0', b'"epoch": 2.0, "test/top5": NaN'),
    "an accuracy in %": renamed(b'"epoch": 2.0', b'"epoch": 2.0, "test/top5": 90.1'),
    "an epoch of nothing": renamed(b'"epoch": 2.0', b'"epoch": 1e-300'),
    "two in a line": LINES[3] + LINES[4],
    "duplicate": LINES[2],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_damaged_line_costs_that_line_alone(tmp_path, damage, place, capsys):
    path = tmp_path / "metrics.jsonl"
    lines = [*LINES[:place], DAMAGES[damage], *LINES[place + 1 :]]
    rows = [*ROWS[:place], *ROWS[place + 1 :]]
    if damage == "duplicate" and place == 0:
        rows = [*ROWS[1:]]  # which is the copy, does not matter
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = scan_rows(path)
    assert found.rows == rows and len(found.bad) == 1
    assert read_rows(path) == rows
    assert "damaged; skipped" in capsys.readouterr().out


def test_what_is_no_damage(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path) == []
    nan = dict(ROWS[0], **{"train/loss": math.nan})
    text = b"\n\n".join([json.dumps(nan).encode(), bytes(9) + LINES[1], *LINES[2:]])
    path.write_bytes(text)  # empty lines, NaN, no end of line, zeros before a row
    assert read_rows(path)[1:] == ROWS[1:]
    assert capsys.readouterr().out == ""


def test_rows_come_by_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join(reversed(LINES)))
    assert read_rows(path) == ROWS


def test_the_damaged_file_is_kept_and_lost_rows_come_from_the_checkpoints(
    tmp_path, capsys
):
    path = tmp_path / "metrics.jsonl"
    damaged = b"\n".join([LINES[0], b"5", *LINES[2:5], LINES[5][:9]])
    path.write_bytes(damaged)
    stored = Stored([ROWS[1]], are_all=False)
    assert restore_rows(path, 4, stored) == ROWS[:4] == read_rows(path)
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == damaged
    out = capsys.readouterr().out
    assert "lines 2, 6 are damaged; skipped; the file as it was is metrics.js" in out
    assert "lacks the rows of step 2; taken from the checkpoints; others may b" in out
    restore_rows(path, 4, stored)
    assert capsys.readouterr().out == ""
    path.write_bytes(damaged)
    restore_rows(path, 4, stored)
    assert (tmp_path / "metrics.jsonl.damaged-2").read_bytes() == damaged


def test_a_row_of_a_checkpoint_is_the_true_one(tmp_path, capsys):
    """A flipped digit is no damage that a line shows; checkpoints have checksums."""
    path = tmp_path / "metrics.jsonl"
    for spoilt in ({"train/loss": 9.0}, {"train/loss": math.nan}, {"more": 1.0}):
        rows = [ROWS[0], ROWS[1] | spoilt, *ROWS[2:]]
        path.write_text(to_text(rows))
        assert restore_rows(path, 4, Stored(ROWS[:3], are_all=True)) == ROWS[:4]
        assert "the rows of step 2 are not as their ch" in capsys.readouterr().out
    nan = [ROWS[0] | {"train/loss": math.nan}]
    path.write_text(to_text(nan))
    restore_rows(path, 4, Stored(nan, are_all=True))
    assert capsys.readouterr().out == ""


def test_rows_that_nobody_has(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    restore_rows(path, 4, Stored([], are_all=True))
    assert capsys.readouterr().out == ""
    restore_rows(path, 4, Stored([], are_all=False))
    assert "has no rows up to step 4; they are lost" in capsys.readouterr().out


def test_of_equal_results_the_last_is_the_best():
    """Its checkpoint is the one that is kept."""
    rows = [{"step": step, "epoch": step, "test/top1": 0.5} for step in (1, 2, 3)]
    rows.append({"step": 4, "epoch": 4, "test/top1": 0.4})
    assert best_of(rows)["step"] == 3
