"""The report: the page, its figures, and its notes on runs that went wrong."""

import base64
import io
import itertools
import json
import math
import shutil
from pathlib import Path
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.report import main
from alexnet_jax.reporting.curves import draw_curves
from alexnet_jax.reporting.figures import draw_confusion
from alexnet_jax.reporting.files import to_png
from alexnet_jax.run.read import read_runs
from alexnet_jax.trained import load
from tests.helpers import rows_of

FIGURES = {"curves", "filters", "confusion", "calibration", "mistakes", "predictions"}
FIGURES |= {"explanations", "features"}


def write(folder, rows):
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def elements(file, name):
    """The page parsed as XML, so that it is well-formed in any case."""
    return ElementTree.parse(file).getroot().iter(name)


def text_of(file):
    (body,) = elements(file, "body")
    return " ".join("".join(body.itertext()).split())


def cells(file, caption):
    """The rows of a page's table."""
    (found,) = (
        made
        for made in elements(file, "table")
        if made.findtext("caption").startswith(caption)
    )
    return [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]


def size_of(png):
    with Image.open(io.BytesIO(png)) as image:
        return image.size


def facts_of(file):
    """What stands at the top of a run, by its name."""
    names, values = elements(file, "dt"), elements(file, "dd")
    return {
        key.text: " ".join("".join(value.itertext()).split())
        for key, value in zip(names, values, strict=True)
    }


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The page of the tiny run."""
    folder = tmp_path_factory.mktemp("page")
    main([str(trained), f"--output={folder}", "--examples=200"])
    return folder / "report.html"


@pytest.mark.heavy
def test_the_page_holds_its_pictures_itself(page):
    assert {path.stem for path in page.parent.glob("*.png")} == FIGURES
    for name in FIGURES:
        assert min(size_of((page.parent / f"{name}.png").read_bytes())) > 100
    images = [*elements(page, "img")]
    assert len(images) > 50
    sources = [image.get("src") for image in images]
    sources += [source.get("srcset") for source in elements(page, "source")]
    for source in sources:
        prefix, _, data = source.partition(",")
        assert prefix == "data:image/png;base64"
        assert min(size_of(base64.b64decode(data))) >= 2
    assert all(len(image.get("alt")) > 20 for image in images)
    for element in elements(page, "*"):  # nothing is fetched
        for key in ("src", "srcset", "href"):
            assert element.get(key, "data:").startswith(("data:", "#"))
    assert "url(" not in page.read_text() and "@import" not in page.read_text()


def test_links_lead_to_headings_which_are_in_order(page):
    anchors = [one.get("id") for one in elements(page, "*") if one.get("id")]
    links = [link.get("href") for link in elements(page, "a")]
    assert len(anchors) == len({*anchors})
    assert len(links) > 8 and {*links} == {f"#{anchor}" for anchor in anchors[1:]}
    tags = [one.tag for one in elements(page, "*")]
    levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= one + 1 for one, after in itertools.pairwise(levels))


def test_what_the_page_says(page, trained):
    text = text_of(page)
    assert "correct predictions of the first 200 of 297 test images, by the" in text
    assert "conv1 at step 8: 6 filters of 5×5×1 weights, on one scale: mid-gray" in text
    final = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    top1 = f"{100 * final['test/top1']:.2f} %"
    right = round(297 * final["test/top1"])
    said = facts_of(page)
    assert said["Test top-1 accuracy"] == f"{top1} {right} of 297 images"
    assert said["Network"] == "lenet5 61,706 parameters"
    assert said["Length"] == "2 epochs 8 steps"
    assert ["model.init", "he", "author"] in cells(page, "Config: what is not")
    assert ["seed", "0"] in cells(page, "Config: as the default")
    assert ["jax", jax.__version__] in cells(page, "Versions")
    summary = cells(page, "lenet5: input 28×28×1, 10 classes")
    assert summary[0][:2] == ["layer", "settings"] and summary[1][0] == "conv1"
    assert summary[-1][0] == "total" and "61,706" in summary[-1]
    assert "while a 2×2 patch of the training images' mean color covers a place" in text
    alts = " ".join(image.get("alt") for image in elements(page, "img"))
    assert "Occlusion map: predicted " in alts and "maps of conv2 that vary" in alts


@pytest.mark.heavy
def test_calibration_and_classes_are_those_of_evaluate(trained, tmp_path):
    file = tmp_path / "page.html"
    main([str(trained), f"--output={file}"])
    found = load(trained).evaluate()
    said = f"Expected calibration error {100 * found['ece']:.2f} %; mean confidence "
    assert said in text_of(file)
    rows = cells(file, "Scores of the 297 test images")[1:]
    for row, one in zip(rows, found["classes"], strict=True):
        assert row[:2] == [one["class"], f"{one['examples']:,}"]
        assert row[3] == f"{100 * one['top1']:.1f}"
        confused = f"{one['mistaken_for']} ({one['mistaken']})"
        assert row[5] == (confused if one["mistaken"] else "-")


def test_several_runs(trained, tmp_path, capsys):
    seeds = [write(tmp_path / f"lab/seed-{i}", rows_of(1 + 0.1 * i)) for i in (0, 1)]
    (tmp_path / "lab/seed-2").mkdir()  # killed before its first row
    single = write(tmp_path / "b" / "seed-0", rows_of(epochs=1))
    output = tmp_path / "out" / "page.html"
    main([str(seeds[0].parent), str(single), f"--output={output}"])
    out = capsys.readouterr().out
    assert out == f"page      {output}\n"
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]
    _, *rows = cells(output, "Final results")
    assert [row[0] for row in rows] == [f"{tmp_path.name}/lab", "b/seed-0"]
    accuracy = "86.88 ± 0.88"
    assert rows[0][5:8] == ["2", accuracy, accuracy]
    assert rows[1][5:7] == ["1", "50.00"]
    alts = [image.get("alt") for image in elements(output, "img")]
    assert len(alts) == 3  # test loss and accuracy, training loss
    assert "b/seed-0 ends at 50.00 %" in alts[1]


def test_layer_files_of_one_folder_are_told_apart(tmp_path):
    runs = []
    for name in ("18pct", "19pct"):
        run = write(tmp_path / name, rows_of())
        network = f"cfg:{'/folder' * 12}/layers-{name}.cfg"
        record = {"config": {"model": {"name": network}}}
        (run / "config.json").write_text(json.dumps(record))
        runs.append(str(run))
    page = tmp_path / "page.html"
    main([*runs, f"--output={page}"])
    _, *rows = cells(page, "Final results")
    assert [row[1] for row in rows] == ["cfg:layers-18pct.cfg", "cfg:layers-19pct.cfg"]
    differing = [one for row in cells(page, "Keys of the config") for one in row]
    for name in ("18pct", "19pct"):
        (shown,) = [one for one in differing if one.endswith(f"/layers-{name}.cfg")]
        assert shown.startswith("cfg:/folder/folder") and len(shown) == 60


def test_a_run_killed_half_way(trained, tmp_path):
    """Its last row is cut, there is no checkpoint yet, nor a figure."""
    run = tmp_path / "killed"
    run.mkdir()
    for name in ("config.json", "data.json", "statistics.npz"):
        shutil.copy(trained / name, run)
    lines = (trained / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:1], lines[1][:30]]))
    main([str(run)])
    text = text_of(run / "report.html")
    assert "killed is not finished: it ends at step 2 of 8." in text
    assert "killed holds no test result." in text
    assert f"No figures of the network: checkpoint: {run} holds no intact" in text
    assert len([*elements(run / "report.html", "img")]) == 2  # training loss and rate
    assert cells(run / "report.html", "lenet5: input 28×28×1, 10 classes")


@pytest.mark.heavy
def test_a_page_alone_without_a_folder_for_the_figures(tmp_path, capsys):
    run = write(tmp_path / "run", rows_of())
    main([str(run)])
    assert {path.name for path in run.iterdir()} == {"metrics.jsonl", "report.html"}
    assert capsys.readouterr().out == f"page      {run / 'report.html'}\n"
    main([str(run), f"--output={tmp_path / 'out'}"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"curves.png", "report.html"}
    main([str(run), f"--output={tmp_path / 'out'}"])  # its own are replaced


@pytest.mark.parametrize("name", ["curves.png", "report.html"])
@pytest.mark.parametrize("place", ["out", "run"])
def test_files_of_other_programs_are_moved_aside(name, place, tmp_path, capsys):
    run = write(tmp_path / "run", rows_of())
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("I like alexnet_jax.report")
    main([str(run), f"--output={folder}"])
    ours = place == "run" and name == "curves.png"  # the run's, which draws it, too
    line = f"warning   {folder / name} is of no report of this version; moved to "
    assert (line in capsys.readouterr().out) is not ours
    aside = folder / f"{name}.damaged"
    assert ours or aside.read_text() == "I like alexnet_jax.report"
    main([str(run), f"--output={folder}"])
    assert "warning" not in capsys.readouterr().out


def test_only_a_page_that_is_named_replaces_any(tmp_path, capsys):
    run = write(tmp_path / "run", rows_of())
    (run / "report.html").write_text("mine")
    main([str(run), f"--output={run / 'report.html'}"])
    assert "warning" not in capsys.readouterr().out
    (run / "report.html").write_text("mine")
    main([str(run)])
    assert (run / "report.html.damaged").read_text() == "mine"


def test_what_is_left_out_of_a_folder_is_said(tmp_path):
    run = write(tmp_path / "run", rows_of())
    write(run / "seed-0", rows_of())
    (run / "sweep.json").write_text("[]")
    page = tmp_path / "Page.HTML"
    main([str(run), f"--output={page}"])
    assert "run also holds several runs, which are left out" in text_of(page)


def test_links_in_a_foreign_folder_are_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run = write(tmp_path / "run", rows_of())
    for name in ("report.html", "curves.png"):
        (run / name).symlink_to(victim)
    main([str(run), f"--output={run}"])
    assert victim.read_text() == "mine"
    assert not (run / "report.html").is_symlink()
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_damaged_lines_are_skipped_with_a_warning(tmp_path, capsys):
    run = write(tmp_path / "run", rows_of())
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    damaged = b"\n".join([lines[0], b"\xff" + lines[1], b"5", *lines[2:]])
    (run / "metrics.jsonl").write_bytes(damaged)
    main([str(run)])
    line = f"warning   {run / 'metrics.jsonl'}: lines 2, 3 are damaged; skipped"
    assert line in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_bytes() == damaged
    assert facts_of(run / "report.html")["Length"] == "4 epochs 8 steps"


@pytest.mark.parametrize(
    "record", ['{"config": []}', '{"config": {"model": 5}}', "[" * 100_000, "\0"]
)
def test_a_config_that_is_none(tmp_path, record):
    run = write(tmp_path / "run", rows_of())
    (run / "config.json").write_text(record)
    main([str(run)])
    assert "The run has no readable config.json." in text_of(run / "report.html")


@pytest.mark.parametrize("name", ["a$b^$", "$\\x$", "_a", "a&b<c>", "日"])
def test_odd_names(tmp_path, name):
    """A name is no formula to the figures."""
    runs = [write(tmp_path / one, rows_of(epochs=1)) for one in (name, "other")]
    main([*map(str, runs), f"--output={tmp_path / 'page.html'}"])
    assert name in text_of(tmp_path / "page.html")
    assert to_png(draw_curves({name: [rows_of()]}, name))
    assert to_png(draw_confusion(np.eye(2, dtype=int), (name, "other")))


def test_a_run_with_nan(tmp_path):
    rows = rows_of()
    for row in rows[3:]:
        row |= {name: math.nan for name in row.keys() & {"train/loss", "test/loss"}}
    run = write(tmp_path / "nan", rows)
    (run / "config.json").write_text("[]")
    main([str(run)])
    text = text_of(run / "report.html")
    assert "nan: the loss is not finite at step 4." in text
    assert "The run has no readable config.json." in text


def test_the_best_result_within_an_epoch_is_at_a_step(tmp_path):
    rows = rows_of()[:3]
    for row, top1 in zip(rows, (0.3, 0.4, 0.5), strict=True):
        row["test/top1"] = top1
    run = write(tmp_path / "run", rows)
    main([str(run)])
    said = facts_of(run / "report.html")
    assert said["Best test top-1"] == "50.00 % at step 3, in epoch 2"


def test_a_page_without_the_data(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / "data.json"
    path.write_text(path.read_text().replace('"9"', '"<nine>"'))
    main([str(run)])
    text = text_of(run / "report.html")
    assert "No figures of its predictions: data.name: digits 1.0.0 has other" in text
    images = [*elements(run / "report.html", "img")]
    assert [image.get("alt")[:17] for image in images][3:] == ["The 6 filters of "]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["empty"], "empty holds no metrics.jsonl with rows; give a workdir"),
        (["nowhere"], "nowhere holds no metrics.jsonl with rows; give a workdir"),
        (["odd"], "odd holds no metrics.jsonl with rows; give a workdir"),
        (["run", "run2"], "--output is required for more than one run"),
        (["run", "run", "--output=a"], "WORKDIR: the same folder is given twice"),
        (["run", "--output=a.png"], "must be a folder or FILE.html; got a.png; in a"),
        (
            ["run", "--output=run/metrics.jsonl"],
            "run/metrics.jsonl is no folder; choose another",
        ),
        (["run", "--output=run2.html"], "--output: run2.html is no file; choose"),
        (["run", "run2", "--output=run"], "--output: run is a run's folder, whose"),
        (["run", "--examples=0"], "argument --examples: must be at least 1; got '0'"),
        ([], "the following arguments are required: WORKDIR"),
    ],
)
def test_mistakes(argv, line, tmp_path, monkeypatch, error_line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("run", "run2"):
        write(tmp_path / name, rows_of(epochs=1))
    (tmp_path / "run2.html").mkdir()
    write(tmp_path / "odd", [{"step": 3}, [], 5])
    assert line in error_line(main, *argv)


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
    paths = [write(tmp_path / name / "x", rows_of()) for name in ("a", "b")]
    assert [run.name for run in read_runs(paths)] == ["a/x", "b/x"]
    assert [run.name for run in read_runs(paths[:1])] == ["x"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_epochs", 10**400),
        ("num_epochs", "2"),
        ("num_train_steps", []),
        ("model", {"num_classes": "x"}),
        ("model", {"num_classes": None}),
        ("model", {"name": None}),
        ("data", {"name": [1]}),
        ("devices", [1]),
        ("versions", {"jax": {"a": 1}}),
    ],
)
def test_values_that_no_run_has(tmp_path, key, value):
    run = write(tmp_path / "run", rows_of())
    record = (
        {key: value} if key in ("devices", "versions") else {"config": {key: value}}
    )
    (run / "config.json").write_text(json.dumps(record))
    main([str(run)])
    assert "The run has no readable config.json." in text_of(run / "report.html")


def test_a_home_folder(tmp_path, monkeypatch, error_line):
    write(tmp_path / "run", rows_of())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    main(["~/run"])
    assert (tmp_path / "run" / "report.html").exists() and not Path("~").exists()
    assert "argument WORKDIR: must not be empty" in error_line(main, "")


def test_a_setting_that_a_sweep_has_twice_counts_once(tmp_path):
    for name, seed in (("rate-0.1", 0), ("rate-0.1,seed-0", 0), ("rate-0.1,seed-1", 1)):
        run = write(tmp_path / "lab" / name, rows_of())
        (run / "config.json").write_text(json.dumps({"config": {"seed": seed}}))
    (tmp_path / "lab" / "sweep.json").write_text("[]")
    (found,) = read_runs([tmp_path / "lab"])
    assert len(found.workdirs) == 2 and not found.notes()


def test_seeds_of_another_config_are_told(tmp_path):
    for seed, rate in ((0, 0.1), (1, 0.2)):
        run = write(tmp_path / "run" / f"seed-{seed}", rows_of())
        config = {"seed": seed, "optim": {"learning_rate": rate}}
        (run / "config.json").write_text(json.dumps({"config": config}))
    (found,) = read_runs([tmp_path / "run"])
    (line,) = found.notes()
    assert line.startswith("seed-1 is of another config than seed-0 (optim.learning_ra")
