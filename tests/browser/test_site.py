"""The site of the documentation, opened as files: no server, no network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = [
    "index.html",
    "running.html",
    "tutorials/features.html",
    "api/networks.html",
    "alexnets.html",
]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site's address. A broken link or a faulty docstring fails the build."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", folder],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return folder.as_uri()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", SHOWN)
def test_a_page_opens_alone_and_fits(site, page, width, name):
    opened = page(width)
    opened.goto(f"{site}/{name}")
    assert opened.locator("article h1").first.is_visible()
    pictures = opened.locator("article img").all()
    assert all(one.evaluate("img => img.naturalWidth") for one in pictures)
    # Tables and terminal lines scroll in boxes of their own.
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate("document.querySelector('article').scrollWidth") <= width


def test_the_first_page_is_the_readme(site, page):
    opened = page()
    opened.goto(f"{site}/index.html")
    assert opened.locator("article img").count() == 1
    opened.get_by_role("link", name="Which AlexNet?").first.click()
    assert opened.url == f"{site}/alexnets.html"
    opened.goto(f"{site}/index.html")
    # What is not in the site is in the repository.
    log = opened.locator("article a", has_text="lenet.py").first.get_attribute("href")
    assert log.startswith("https://") and log.endswith("/tree/main/results/lenet")


def test_search_finds_a_term_by_its_words(site, page):
    opened = page()
    opened.goto(f"{site}/index.html")
    opened.locator(".md-search__input").click()
    opened.keyboard.type("local response normalization")
    found = opened.locator(".md-search-result__link")
    found.first.wait_for()
    links = [link.get_attribute("href") for link in found.all()]
    best = " ".join(links[:3])
    assert re.search(r"/alexnets\.html\?h=\S+#response-normalization", best)
    assert any("LocalResponseNorm" in link for link in links)


@pytest.mark.parametrize(
    ("theme", "schemes"), [("light", ["default", "slate"]), ("dark", ["slate"])]
)
def test_it_is_dark_where_that_is_preferred_or_chosen(site, page, theme, schemes):
    opened = page(theme=theme)
    opened.goto(f"{site}/index.html")
    for scheme in schemes:
        assert opened.locator("body").get_attribute("data-md-color-scheme") == scheme
        opened.locator("label[for^=__palette]:visible").click()


def test_a_broken_link_fails_the_build(tmp_path):
    """Links within docs/, to the repository, and to anchors."""
    pytest.importorskip("mkdocs")
    for name in ("docs", "alexnet_jax", "mkdocs.yml", "pyproject.toml", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").unlink()
    (tmp_path / "docs").mkdir()
    for path in (ROOT / "docs").iterdir():
        (tmp_path / "docs" / path.name).symlink_to(path)
    broken = "[a](gone.md) [b](../gone.txt) [c](weights.md#gone)\n"
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    page = tmp_path / "docs" / "results.md"
    page.unlink()
    page.write_text(broken)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path / "site"],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    for link in ("gone.md", "gone.txt", "#gone"):
        assert link in done.stderr, link
