"""The command that explains pictures."""

import json
import os
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax.explain import main
from alexnet_jax.reporting.explanations import MAKER, is_explanation
from alexnet_jax.reporting.files import to_bytes
from alexnet_jax.trained import load
from tests.explanation.known import FIRST, SECOND, THIRD, picture, watcher


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield watcher(tmp_path_factory.mktemp("known"), patch).workdir


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with two pictures in it."""
    monkeypatch.chdir(tmp_path)
    for name, bright in (("one.png", [FIRST]), ("two.png", [SECOND, THIRD])):
        Image.fromarray(picture(*bright)[..., 0]).save(name)
    return tmp_path


def size_of(path):
    with Image.open(path) as made:
        return made.size


@pytest.mark.heavy
def test_text_and_one_picture_of_all(run, place, capsys):
    main([str(run), "one.png", "two.png", "--window=4", "--stride=4"])
    first, evidence, second, other, output = capsys.readouterr().out.splitlines()
    assert first.startswith("one.png  ê0, ") and second.startswith("two.png  ê1, ")
    assert evidence.startswith("  evidence: rows 0 to 3, columns 8 to 11 of 12×12; ")
    assert evidence.endswith("covered, 27.4 %") and "  evidence: rows" in other
    assert output == "picture  explanation.png"
    both = size_of("explanation.png")
    main([str(run), "one.png", "--window=4", "--stride=4"])
    one = size_of("explanation.png")
    assert one[0] > 1000 and both[0] == pytest.approx(one[0], abs=40)
    assert both[1] == pytest.approx(2 * one[1], rel=0.1)


def test_the_picture_shows_where(run, place):
    """The brightest place of each map is the one that counts."""
    main([str(run), "one.png", "--window=4", "--stride=4", "--output=a.PNG"])
    with Image.open("a.PNG") as made:
        pixels = np.asarray(made.convert("L")).astype(int)
    rows = np.flatnonzero((pixels < 100).mean(axis=1) > 0.1)  # of the panels
    top, side = rows[0], (rows[-1] - rows[0]) // 3
    # In the dark map of the gradient, the bright third is the first, at the right.
    columns = slice(pixels.shape[1] // 2, 3 * pixels.shape[1] // 4 - 60)
    upper, lower = (
        (pixels[top + k * side : top + (k + 1) * side, columns] > 200).mean()
        for k in (0, 2)
    )
    assert upper > lower + 0.05


def test_json_of_a_named_class_and_layer(run, place, capsys):
    settings = ["--class=Ê1", "--layer=conv1", "--json", "--output=a.svg"]
    main([str(run), "two.png", *settings, "--window=4", "--stride=4"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["class"] == "ê1" and found["index"] == 1 and found["layer"] == "conv1"
    covered = found["patch"].pop("probability")
    assert covered < found["probability"]
    assert found["patch"] == {"top": 8, "left": 4, "height": 4, "width": 4}
    assert (place / "a.svg").read_text().startswith("<?xml")


@pytest.mark.heavy
def test_another_picture_is_not_replaced_unless_named(run, place, error_line):
    shutil.copy("one.png", "explanation.png")
    before = (place / "explanation.png").read_bytes()
    line = error_line(main, run, "one.png")
    assert "--output: explanation.png is here already, and not of this command" in line
    assert (place / "explanation.png").read_bytes() == before


@pytest.mark.heavy
def test_a_picture_of_any_name(run, place, capsys):
    for name in (b"caf\xe9.png", b"two\nlines.png", b"\x1b[31m.png"):
        shutil.copy("one.png", os.fsdecode(name))
        for ending in ("png", "svg"):
            main([str(run), os.fsdecode(name), f"--output=a.{ending}", "--window=9"])
    assert b"\x1b" not in (place / "a.svg").read_bytes()


@pytest.mark.heavy
def test_a_broken_picture_leaves_the_others(run, place, capsys):
    (place / "broken.png").write_bytes(b"none")
    with pytest.raises(SystemExit, match="^1$"):
        main([str(run), ".", "--class=0", "--output=../out.jpg"])
    out, err = capsys.readouterr()
    assert err.startswith("error: broken.png: ") and err.count("\n") == 1
    assert out.count("  ê0, ") == 2
    assert (place / "../out.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    with pytest.raises(SystemExit, match="^1$"):
        main([str(run), "broken.png", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["error"].startswith("broken.png: ")
    assert not (place / "explanation.png").exists()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["one.png", "--class=e9"], "class: no class is named 'e9'; "),
        (["one.png", "--class=3"], "class must be a name or an index from 0 to 2; got"),
        (["one.png", "--layer=rellu1"], "layer: no layer is named 'rellu1'; the near"),
        (["one.png", "--window=13"], "window must be from 1 to 12, as the images are"),
        (["one.png", "--window=0"], "argument --window: must be at least 1; got '0'"),
        (["one.png", "--stride=9"], "stride must be from 1 to 2, a window, so that"),
        (["none.png"], "none.png: cannot be read (No such file"),
        (["empty"], "IMAGE: empty contains no files"),
        (
            ["many"],
            "IMAGE: must be 1 to 50 pictures, as many as one output shows; got 51",
        ),
        ([], "the following arguments are required: IMAGE"),
        (["one.png", "--output="], "argument --output: must not be empty"),
        (
            ["one.png", "--output=a.txt"],
            "--output must end in one of .png, .jpg, .jpeg, .pdf, .svg; got",
        ),
        (
            ["one.png", "--output=a"],
            "--output must end in one of .png, .jpg, .jpeg, .pdf, .svg; got",
        ),
        (["one.png", "--output=one.png"], "one.png is one of the images; choose"),
        (["one.png", "--output=d.png"], "d.png is no file; choose another name"),
        (
            ["one.png", "--output=one.png/a.png"],
            "one.png is no folder; choose another one",
        ),
        (["one.png", "--output=s3://a/b.png"], "is an address; only local"),
    ],
)
def test_mistakes(argv, line, run, place, error_line, monkeypatch):
    for name in ("d.png", "empty", "many"):
        (place / name).mkdir()
    for i in range(51):
        (place / "many" / f"{i}.png").touch()
    before = {*place.rglob("*")}
    assert line in error_line(main, run, *argv)
    assert {*place.rglob("*")} == before


def test_an_output_that_cannot_be_written_is_known_at_once(place, error_line):
    line = error_line(main, "nothing", "one.png", "--output=one.png/a.png")
    assert line.startswith("error: --output: ")  # before the run is looked for


@pytest.mark.heavy
def test_the_picture_of_an_earlier_call_is_none_of_the_pictures(run, place, capsys):
    main([str(run), "."])
    main([str(run), "."])
    first, second = capsys.readouterr().out.split("explanation.png\n")[:2]
    assert first == second
    main([str(run), "one.png", "--output=new/folder/a.png"])
    assert (place / "new/folder/a.png").is_file()


@pytest.mark.slow
def test_a_full_disk_is_one_line(run, place, error_line, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alexnet_jax.atomic.write_file", full)
    line = error_line(main, run, "one.png")
    assert "explanation.png cannot be written (No space left on device); choose" in line


@pytest.mark.parametrize(
    ("images", "output"),
    [
        (["folder"], "folder/a.png"),
        (["folder/a.png"], "../HERE/folder/a.png"),
        (["../HERE/folder/a.png"], "folder/a.png"),
        (["folder/link.png"], "folder/a.png"),
        (["folder/a.png"], "folder/link.png"),
        (["folder/a.png"], "folder/hard.png"),
        (["one.png", "folder"], "folder/hard.png"),
        (["linked"], "folder/a.png"),
        (["folder"], "linked/a.png"),
    ],
)
def test_no_picture_is_replaced(images, output, run, place, error_line):
    (place / "folder").mkdir()
    (place / "one.png").rename("folder/a.png")
    (place / "two.png").rename("one.png")
    (place / "folder/link.png").symlink_to("a.png")
    (place / "folder/hard.png").hardlink_to("folder/a.png")
    (place / "linked").symlink_to("folder")
    before = {path: path.read_bytes() for path in place.rglob("*.png")}
    images, output = (
        [text.replace("HERE", place.name) for text in texts]
        for texts in (images, [output])
    )
    line = error_line(main, run, *images, f"--output={output[0]}")
    assert line.startswith("error: --output: ")
    assert line.endswith(" is one of the images; choose another file")
    assert {path: path.read_bytes() for path in place.rglob("*.png")} == before


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jpeg", ".JPG", ".svg", ".pdf"])
def test_an_explanation_is_known_by_what_is_in_it(ending, place):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    kind = ending.lower()[1:]
    (place / f"e{ending}").write_bytes(to_bytes(figure, kind, MAKER))
    (place / f"other{ending}").write_bytes(to_bytes(figure, kind))
    assert is_explanation(place / f"e{ending}")
    assert not is_explanation(place / f"other{ending}")
    assert not is_explanation(place / "none.png") and not is_explanation(place)


@pytest.mark.slow
def test_earlier_explanations_of_any_name_are_passed_over(run, place, capsys):
    main([str(run), ".", "--window=4", "--stride=4", "--output=../HERE.jpeg"])
    (place / "../HERE.jpeg").rename(place / "earlier.jpeg")
    first = capsys.readouterr().out.splitlines()[:-1]
    main([str(run), ".", "--window=4", "--stride=4", "--output=other.svg"])
    main([str(run), ".", "--window=4", "--stride=4", "--output=third.svg"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [*first, "picture  other.svg", *first, "picture  third.svg"]
    main([str(run), "earlier.jpeg", "--output=other.svg"])  # what is named is looked at
    assert capsys.readouterr().out.startswith("earlier.jpeg  ")


@pytest.mark.heavy
def test_one_row_and_one_column_are_singular_and_json_says_whence(run, place, capsys):
    main([str(run), "one.png", "--window=1"])
    assert "  evidence: row 0, column 8 of 12×12; " in capsys.readouterr().out
    main([str(run), "one.png", "--json", "--output=./a.svg"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["step"], found["output"]) == (load(run).step, "a.svg")


def test_what_speaks_against_a_class_is_no_evidence(run, place, capsys):
    main([str(run), "two.png", "--class=0", "--window=4", "--stride=4", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["patch"] is None
    assert found["notes"][0] == "no patch lowers the probability when it is covered"
    main([str(run), "two.png", "--class=0", "--window=4", "--stride=4"])
    assert "evidence" not in capsys.readouterr().out


def test_proc_is_refused_before_anything_is_computed(place, error_line):
    line = error_line(main, "nothing", "one.png", "--output=/proc/a.png")
    assert line.startswith("error: --output: /proc cannot be written (")
