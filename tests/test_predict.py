"""Predictions of picture files."""

import csv
import io
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len

from alexnet_jax.predict import main
from alexnet_jax.reporting.predictions import predictions_text
from alexnet_jax.trained import TrainedModel, probabilities


@pytest.fixture(scope="module")
def network(trained):
    return TrainedModel(trained)


@pytest.fixture(scope="module")
def digits(network):
    """The test images `(297, 8, 8, 1)`."""
    return network.open_split("test").image


def save(path, array, **how):
    Image.fromarray(array).save(path, **how)
    return path


def ask(capsys, *argv, form="--json"):
    main([str(word) for word in (*argv, form)])
    return capsys.readouterr().out


def test_stored_images_are_answered_as_in_evaluation(
    trained, network, digits, tmp_path, capsys
):
    paths = [save(tmp_path / f"{i:03}.png", digits[i, ..., 0]) for i in range(30)]
    expected = probabilities(network.logits(digits))[:30]
    assert expected.std(axis=0).min() > 1e-4  # it is not one answer to all
    found = json.loads(ask(capsys, trained, tmp_path))
    assert [one["file"] for one in found] == [str(path) for path in paths]
    for one, chances in zip(found, expected, strict=True):
        assert one["notes"] == [] and len(one["predictions"]) == 5
        given = [answer["probability"] for answer in one["predictions"]]
        np.testing.assert_allclose(given, np.sort(chances)[:-6:-1], rtol=1e-6)
        assert one["predictions"][0]["class"] == str(chances.argmax())


def test_text_and_csv(trained, digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # whatever pytest calls its folders
    path = save(tmp_path / "a.png", digits[0, ..., 0])
    other = save(tmp_path / "longer.png", 255 - digits[0, ..., 0])
    main([str(word) for word in (trained / "checkpoints/4", path, other)])
    head, data, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith(", step 4") and data == "data        digits 1.0.0, 10 classes"
    first, second, note = lines
    assert first.index("%") == second.index("%") and first.count("%") == 5
    assert note.startswith("  note: its background is brighter than its object")
    rows = [*csv.DictReader(io.StringIO(ask(capsys, trained, path, form="--csv")))]
    (found,) = json.loads(ask(capsys, trained, path))
    assert rows[0]["class_5"] == found["predictions"][4]["class"]
    assert float(rows[0]["probability_1"]) == found["predictions"][0]["probability"]
    assert rows[0]["notes"] == rows[0]["error"] == ""


@pytest.mark.parametrize(
    ("names", "columns", "lines"),
    [
        (["cat", "dog"], 80, 1),  # as Fashion-MNIST's, in one line
        (["German short-haired pointer (n02100236)", "cat"], 80, 6),
        (["German short-haired pointer (n02100236)", "cat"], None, 1),
        (["狗" * 12, "cat"], 80, 6),  # of two columns a letter
    ],
)
def test_lines_fit_the_terminal(names, columns, lines, monkeypatch):
    shown = [names[k % 2] for k in range(5)]
    network = SimpleNamespace(
        config=SimpleNamespace(model=SimpleNamespace(num_classes=5)),
        workdir="run",
        step=4,
        spec=SimpleNamespace(name="some"),
        class_name=lambda label: "longer than any that is shown" * 3,
    )
    predictions = [{"class": name, "probability": 0.2} for name in shown]
    found = [{"file": "a.jpg", "notes": [], "predictions": predictions}]
    found += [{"file": "long" * 30, "error": "it is broken"}]
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    _, _, *text = predictions_text(network, found)
    assert len(text) == lines and (lines == 1 or text[0] == "a.jpg")
    assert max(map(cell_len, text)) <= (columns or 250)
    assert all(name in "".join(text) for name in names)
    if names[0] == "cat":
        assert text[0].startswith("a.jpg   20.0 % cat   20.0 % dog   20.0 % cat")


def test_dark_on_light_is_noticed_and_can_be_turned(
    trained, network, digits, tmp_path, capsys
):
    path = save(tmp_path / "a.png", 255 - digits[0, ..., 0])
    (found,) = json.loads(ask(capsys, trained, path))
    assert "try --invert" in found["notes"][0]
    (found,) = json.loads(ask(capsys, trained, path, "--invert"))
    assert found["notes"] == []
    best = probabilities(network.logits(digits[:1])).max()
    assert found["predictions"][0]["probability"] == pytest.approx(best, rel=1e-6)
    save(path, digits[0, ..., 0])
    (found,) = json.loads(ask(capsys, trained, path, "--invert"))
    assert "try without --invert" in found["notes"][0]


@pytest.mark.heavy
def test_a_folder_of_a_thousand_with_three_broken_ones(
    trained, digits, tmp_path, capsys
):
    folder = tmp_path / "many" / "deep"
    folder.mkdir(parents=True)
    for i in range(1000):
        save(folder / f"{i:03}.png", digits[i % 297, ..., 0], compress_level=0)
    for i in (3, 500, 999):
        (folder / f"{i:03}.png").write_bytes(b"broken")
    (folder / ".hidden").touch()
    with pytest.raises(SystemExit) as error:
        main([str(trained), str(tmp_path / "many"), "--json"])
    assert error.value.code == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert len(found) == 1000
    assert [i for i, one in enumerate(found) if "error" in one] == [3, 500, 999]
    assert [line.split("/")[-1][:7] for line in err.splitlines()] == [
        f"{i:03}.png" for i in (3, 500, 999)
    ]
    assert err.count("error: ") == 3
    answers = [one.get("predictions") for one in found]
    assert answers[0] == answers[297] and answers[3] is None


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nothing", "a.png"], "checkpoint: .*nothing holds no intact checkpoint"),
        (["nothing", "empty"], "IMAGE: .*empty contains no files"),
        (["nothing"], "the following arguments are required: IMAGE"),
        (["nothing", "a", "--json", "--csv"], ".*not allowed with argument --json"),
    ],
)
def test_mistakes(argv, line, tmp_path, monkeypatch, error_line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert re.match(f"error: .*{line}", error_line(main, *argv))


def test_what_is_no_picture_file_does_not_hold_the_others_up(trained, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("L", (8, 8), 9).save(tmp_path / name)
    Image.new("L", (5_000, 1), 9).save(tmp_path / "narrow.png")
    os.mkfifo(tmp_path / "fifo.png")
    paths = [tmp_path / one for one in (name, "fifo.png", "narrow.png")]
    with pytest.raises(SystemExit, match="^1$"):
        main([str(trained), *map(str, paths), "--json"])
    captured = capsys.readouterr()
    first, second, third = json.loads(captured.out)
    assert first["predictions"] and third["predictions"]
    assert "it is a FIFO, not a regular file" in second["error"]
    assert len(captured.err.splitlines()) == 1
