"""Pictures of runs, and the command that draws several over each other."""

import json

import pytest

from alexnet_jax.report import main


def write(folder, rows):
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    return str(folder)


def test_runs_over_each_other(tmp_path, capsys):
    rows = [
        {"step": step, "train/loss": 2 / step, "train/top1": 1 - 1 / step}
        for step in range(1, 9)
    ]
    ended = rows[-1] | {"test/loss": 0.1, "test/top1": 0.9}
    runs = [write(tmp_path / "a", rows), write(tmp_path / "b", [*rows[:4], ended])]
    output = tmp_path / "together.png"
    main([*runs, f"--output={output}"])
    assert output.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"drawn     {output}\n"


@pytest.mark.parametrize(
    ("name", "output", "line"),
    [
        ("empty", "a.png", "empty holds no metrics.jsonl with rows; give a workdir"),
        ("run", "nowhere/a.png", "No such file or directory"),
    ],
)
def test_mistakes(name, output, line, tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "run", [{"step": 1, "train/loss": 2.0, "train/top1": 0.1}])
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / name), f"--output={tmp_path / output}"])
    text = str(error.value.code)
    assert text.startswith("error: ") and line in text and "\n" not in text


def test_the_output_is_wanted(tmp_path):
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path)])
    assert "--output" in str(error.value.code)
