"""The report in a browser: wide and narrow, light and dark, on paper."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.config import default_config
from alexnet_jax.report import main
from alexnet_jax.trained import TrainedModel
from tests.helpers import rows_of

NAMES = ["قطة صغيرة", "日本語の名前", "<b>bold</b>", "a\x1b[2Jb", "W" * 60, "", "ñandú"]
NAMES += ["American Staffordshire terrier (n02093428)", "a b c d e f g", "9"]
THEMES = {"light": (255, 255, 255), "dark": (22, 23, 26)}


def write_run(folder, place):
    folder.mkdir(parents=True)
    rows = rows_of(1 + place / 10)
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = default_config()
    config.optim.learning_rate = 0.01 * (place + 1)
    record = {"config": config.to_dict(), "versions": {}, "devices": []}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """Pages by name: of a run, of one with odd names, of eight runs."""
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in ("one", "odd", "eight")}
    main([str(trained), f"--output={made['one']}", "--examples=200"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainedModel, "class_name", lambda self, label: NAMES[label])
        main([str(trained), f"--output={made['odd']}", "--examples=200"])
    long = "a_run_with_a_name_that_is_as_long_as_those_of_sweeps_are-0.003,"
    runs = [write_run(folder / f"{long}{i}", i) for i in range(8)]
    main([*map(str, runs), f"--output={made['eight']}"])
    return made


OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"
# What is shown of text, but where a style sets it to nothing.
SIZES = """() => [...document.body.querySelectorAll("*")]
  .filter(one => one.getClientRects().length && [...one.childNodes].some(
    node => node.nodeType === 3 && node.textContent.trim()))
  .map(one => parseFloat(getComputedStyle(one).fontSize)).filter(size => size)"""


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["one", "odd", "eight"])
def test_nothing_is_wider_than_the_window(files, page, too_wide, name, width, theme):
    made = page(width, theme)
    made.goto(files[name].as_uri())
    assert too_wide(made) == []
    made.evaluate(OPEN_ALL)
    assert too_wide(made) == []
    broken = "[...document.images].filter(one => !one.naturalWidth).length"
    assert made.evaluate(broken) == 0
    assert min(made.evaluate(SIZES)) >= 11


@pytest.mark.parametrize("width", [1280, 390])
def test_dark_is_dark(files, page, width):
    shots = {}
    for theme, ground in THEMES.items():
        made = page(width, theme)
        made.goto(files["one"].as_uri())
        color = made.evaluate("getComputedStyle(document.body).backgroundColor")
        assert color == f"rgb{ground}"
        shot = np.asarray(Image.open(io.BytesIO(made.screenshot())).convert("RGB"))
        assert tuple(shot[2, 2]) == ground
        curves = made.locator(".panels img").first
        pixels = curves.screenshot()
        # Its ink is opposite to its ground.
        drawn = np.asarray(Image.open(io.BytesIO(pixels)).convert("L")).astype(int)
        assert abs(int(np.ptp(drawn))) > 150
        shots[theme] = np.median(drawn), curves.evaluate("one => one.currentSrc")
    assert shots["light"][0] > 250 and shots["dark"][0] < 40
    assert shots["light"][1] != shots["dark"][1]


def test_paper_is_white_and_shows_all(files, page):
    made = page(1280, "dark")
    made.goto(files["one"].as_uri())
    made.emulate_media(media="print", color_scheme="dark")
    color = made.evaluate("getComputedStyle(document.body).backgroundColor")
    assert color == f"rgb{THEMES['light']}"
    assert made.locator("nav").is_hidden()
    source = made.locator(".panels img").first.evaluate("one => one.currentSrc")
    assert source == made.locator(".panels img").first.get_attribute("src")


def test_on_a_phone_rows_are_stacked_and_named(files, page):
    made = page(390)
    made.goto(files["eight"].as_uri())
    row = made.locator("table.stacked tbody tr").first
    cells = row.locator("td")
    tops = {round(cell.bounding_box()["y"]) for cell in cells.all()}
    assert len(tops) > 1
    label = cells.first.evaluate("one => getComputedStyle(one, '::before').content")
    assert "network" in label
    # A curve is as wide as the page, so that its text is not drawn smaller.
    assert made.locator(".panels img").first.bounding_box()["width"] > 350


def test_a_link_of_the_contents_leads_to_its_run(files, page):
    made = page(1280)
    made.goto(files["eight"].as_uri())
    links = made.locator("nav a").all()
    assert len(links) == 3 + 8
    links[-1].click()
    heading = made.locator("h2").last
    assert heading.bounding_box()["y"] < 900
    heading.click()
    assert made.locator("details[open] h3").first.is_visible()


def test_names_are_text(files, page):
    made = page(390)
    made.goto(files["odd"].as_uri())
    assert made.locator("b b").count() == 0
    shown = made.locator("body").inner_text()
    for name in ("قطة صغيرة", "日本語の名前", "<b>bold</b>", r"a\u001b[2Jb"):
        assert name in shown
