"""The page of runs, its pictures, and what it says of runs that went wrong."""

import base64
import io
import json
import math
import re
import shutil
import subprocess
from types import SimpleNamespace
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.models import create_model
from alexnet_jax.report import main
from alexnet_jax.reporting.curves import draw_curves
from alexnet_jax.reporting.figures import (
    draw_confusion,
    draw_examples,
    draw_filters,
    tile,
)
from alexnet_jax.reporting.sections import draw_network
from alexnet_jax.run.read import read_runs

PICTURES = ["curves", "filters", "confusion", "mistakes", "predictions", "features"]


def rows_of(factor=1.0, epochs=4):
    """Two windows an epoch, the second at its end with a test result."""
    rows = []
    for step in range(1, 2 * epochs + 1):
        row = {"step": step, "epoch": step / 2, "time_s": 60.0 * step}
        row |= {"train/loss": factor / step, "train/top1": 1 - factor / (step + 1)}
        if step % 2 == 0:
            row |= {"test/loss": factor * 2 / step, "test/top1": 1 - factor / step}
        rows.append(row)
    return rows


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
    return [[cell.text or "" for cell in row] for row in found.iter("tr")]


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The page of the tiny run."""
    folder = tmp_path_factory.mktemp("page")
    main([str(trained), f"--output={folder}", "--examples=200"])
    return folder / "report.html"


def test_the_page_holds_its_pictures_itself(page):
    images = [*elements(page, "img")]
    assert len(images) == 6
    for image, name in zip(images, PICTURES, strict=True):
        prefix, _, data = image.get("src").partition(",")
        assert prefix == "data:image/png;base64"
        png = base64.b64decode(data)
        assert png == (page.parent / f"{name}.png").read_bytes()
        assert min(Image.open(io.BytesIO(png)).size) > 100
        assert len(image.get("alt")) > 30
    for element in elements(page, "*"):  # nothing is fetched
        for key in ("src", "href"):
            assert element.get(key, "data:").startswith("data:")
    assert "url(" not in page.read_text() and "@import" not in page.read_text()


def test_what_the_page_says(page, trained):
    text = text_of(page)
    assert "right answers of the first 200 of 297 test images, checkpoint of" in text
    assert "conv1 at step 8: 6 filters of 5×5×1 weights. All have one scale" in text
    columns, row = cells(page, "Results")
    said = dict(zip(columns, row, strict=True))
    final = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert said["network"] == "lenet5" and said["steps"] == "8"
    assert said["test top-1, %"] == f"{100 * final['test/top1']:.2f}"
    assert ["model.init", "he", "not author"] in cells(page, "Config")
    assert ["jax", jax.__version__] in cells(page, "Versions")
    summary = cells(page, "lenet5: input 28×28×1, 10 classes")
    assert summary[0][:2] == ["layer", "settings"] and summary[1][0] == "conv1"
    assert summary[-1][0] == "total" and "61,706" in summary[-1]
    alt = [image.get("alt") for image in elements(page, "img")]
    assert "Confusion matrix of 10 classes" in alt[2]
    assert alt[5].endswith("in conv1, conv2.")


def test_in_a_browser(page, tmp_path):
    """No console message, no broken image, no scrolling sideways on a phone."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    look = (
        "<script>onload = () => { document.title = JSON.stringify(["
        "document.images.length,"
        "[...document.images].filter(image => !image.naturalWidth).length,"
        "document.documentElement.scrollWidth - innerWidth]) }</script></body>"
    )
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text().replace("</body>", look))
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync"
    flags += " disable-background-networking disable-component-update dump-dom"
    words = [f"--{flag}" for flag in flags.split()]
    words += [f"--user-data-dir={tmp_path / 'user'}", "--window-size=500,900"]
    words += ["--enable-logging=stderr", "--v=0", copy.as_uri()]
    seen = subprocess.run([browser, *words], capture_output=True, timeout=60, text=True)
    assert "CONSOLE" not in seen.stderr
    count, broken, too_wide = json.loads(
        re.search("<title>(.*?)</title>", seen.stdout).group(1)
    )
    assert (count, broken) == (6, 0) and too_wide <= 0


def test_several_runs(trained, tmp_path, capsys):
    seeds = [write(tmp_path / f"lab/seed-{i}", rows_of(1 + 0.1 * i)) for i in (0, 1)]
    (tmp_path / "lab/seed-2").mkdir()  # killed before its first row
    single = write(tmp_path / "b" / "seed-0", rows_of(epochs=1))
    output = tmp_path / "out" / "page.html"
    main([str(seeds[0].parent), str(single), f"--output={output}"])
    out = capsys.readouterr().out
    assert out == f"page      {output}\npictures  curves.png\n"
    _, *rows = cells(output, "Results")
    assert [row[0] for row in rows] == [f"{tmp_path.name}/lab", "b/seed-0"]
    accuracy = "86.88 ± 0.88"
    assert rows[0][5:8] == ["2", accuracy, accuracy]
    assert rows[1][5:7] == ["1", "50.00"]
    (alt,) = [image.get("alt") for image in elements(output, "img")]
    assert "b/seed-0 ends at 50.00 %" in alt


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


def test_a_tile_is_rows_of_filters():
    filters = np.arange(5, dtype=np.float32)[:, None, None, None] / 10
    sheet = tile(np.broadcast_to(filters, (5, 2, 3, 1)), columns=3)[..., 0]
    assert sheet.shape == (5, 11)
    np.testing.assert_allclose(sheet[0], [0, 0, 0, 1, 0.1, 0.1, 0.1, 1] + [0.2] * 3)
    np.testing.assert_allclose(sheet[4, 4:], [0.4] * 3 + [1] * 4)
    assert (sheet[2] == 1).all()


def test_filters_have_one_scale():
    kernel = np.zeros((1, 1, 1, 4), np.float32)
    kernel[..., :] = [0.1, -0.4, 0.2, 0.0]
    (axes,) = draw_filters(kernel).axes
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[::2, ::2], [[0.625, 0.0], [0.75, 0.5]])
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 1)
    several = draw_filters(np.repeat(kernel, 2, axis=2)).axes[0].images[0].get_array()
    np.testing.assert_allclose(several, shown)


def test_filters_lie_by_their_tower():
    model = create_model("alexnet_2012", width=1 / 8)
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    shapes = jax.eval_shape(lambda: model.init(keys, jnp.zeros((1, 67, 67, 3))))
    shape = shapes["params"]["conv1"]["kernel"].shape
    assert shape == (11, 11, 3, 12)
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    params = {"conv1": {"kernel": kernel}}
    network = SimpleNamespace(weights={"params": params}, model=model, step=3)
    (drawn,) = draw_network(network)
    first, second = drawn.figure.axes
    assert first.get_title() == "tower 1: filters 0 to 5"
    assert second.get_title() == "tower 2: filters 6 to 11"
    shade = 0.5 + 0.5 * kernel[..., 6] / np.abs(kernel).max()
    np.testing.assert_allclose(second.images[0].get_array()[:11, :11], shade, rtol=1e-6)
    assert "12 filters of 11×11×3 weights, 6 of each of its 2 towers" in drawn.caption


def test_a_confusion_matrix_has_its_names_and_counts():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    axes, _ = draw_confusion(matrix, ["shirt", "coat", "bag"]).axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in ticks] == ["shirt", "coat", "bag"]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "3", (1, 0): "1", (1, 2): "2", (2, 2): "2"}
    share = axes.images[0].get_array()
    np.testing.assert_allclose(share, [[0.75, 0.25, 0], [0, 0, 0], [0, 0.5, 0.5]])
    many = draw_confusion(np.eye(1000, dtype=int), [str(i) for i in range(1000)])
    assert not many.axes[0].texts


def test_examples_are_titled():
    image = np.zeros((2, 4, 4, 3), np.uint8)
    texts = [("coat", "51 %", "coat"), ("a very long class name", "99 %", "bag")]
    figure = draw_examples(image, texts, np.array([True, False]), columns=3)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["P: coat 51 %\nT: coat", "P: a very long … 99 %\nT: bag", ""]
    colors = [axes._left_title.get_color() for axes in figure.axes[:2]]
    assert colors[0] != colors[1]


def test_a_run_killed_half_way(trained, tmp_path):
    """Its last row is cut, there is no checkpoint yet, nor a picture."""
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
    assert f"No pictures of the network: checkpoint: {run} holds no intact" in text
    assert len([*elements(run / "report.html", "img")]) == 1
    assert cells(run / "report.html", "lenet5: input 28×28×1, 10 classes")


def test_a_run_with_nan(tmp_path):
    rows = rows_of()
    for row in rows[3:]:
        row |= {"train/loss": math.nan, "test/loss": math.nan}
    run = write(tmp_path / "nan", rows)
    (run / "config.json").write_text("[]")
    main([str(run)])
    text = text_of(run / "report.html")
    assert "nan: the loss is not finite at step 4." in text
    assert "There is no config.json." in text


def test_a_page_without_the_data(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / "data.json"
    path.write_text(path.read_text().replace('"9"', '"<nine>"'))
    main([str(run)])
    text = text_of(run / "report.html")
    assert "No pictures of its answers: data.name: digits 1.0.0 has other" in text
    assert len([*elements(run / "report.html", "img")]) == 2


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["empty"], "empty holds no metrics.jsonl with rows; give a workdir"),
        (["nowhere"], "nowhere holds no metrics.jsonl with rows; give a workdir"),
        (["odd"], "line 2: is no row of a run, which has epoch, step, train/loss, "),
        (["run", "run2"], "--output is missing: of several runs, where is the page?"),
        (["run", "run", "--output=a"], "WORKDIR: one is named twice"),
        (["run", "--output=a.png"], "must be a folder or FILE.html; got a.png; the "),
        (["run", "--output=run/metrics.jsonl"], "File exists"),
        (["run", "--examples=0"], "--examples must be at least 1; got 0"),
        ([], "the following arguments are required: WORKDIR"),
    ],
)
def test_mistakes(argv, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("run", "run2"):
        write(tmp_path / name, rows_of(epochs=1))
    write(tmp_path / "odd", [*rows_of(epochs=1)[:1], {"step": 3}])
    with pytest.raises(SystemExit) as error:
        main(argv)
    text = str(error.value.code)
    assert text.startswith("error: ") and line in text and "\n" not in text


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
    paths = [write(tmp_path / name / "x", rows_of()) for name in ("a", "b")]
    assert [run.name for run in read_runs(paths)] == ["a/x", "b/x"]
    assert [run.name for run in read_runs(paths[:1])] == ["x"]
