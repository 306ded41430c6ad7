"""A browser for the tests of pages: `make test-browser`."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.chromium import MISSING, find_browser

HERE = Path(__file__).parent
_LOCAL = ("localhost", "127.0.0.1", "::1")
_HEIGHTS = {"desktop": 900, "phone": 844}


def pytest_collection_modifyitems(items):
    """Marks all tests of this folder, which want a browser, as slow."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def browser():
    """Chromium or Chrome, without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = find_browser()
    if path is None:
        pytest.skip(MISSING.removeprefix("error: "))
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=path,
            args=[
                "--use-fake-device-for-media-stream",  # a camera
                *(["--no-sandbox"] if is_root else []),
            ],
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """Makes an empty page: `page(width=390, theme="dark")`; for a file, `goto`.

    A width below 600 is a phone's: two device pixels each, touch. After the test, no
    page that was made so has asked another machine for anything, nor written an error
    to the console; with `alone=False` it may have.
    """
    contexts, faults = [], []

    def make(width=1280, theme="light", *, alone=True):
        is_phone = width < 600
        context = browser.new_context(
            viewport={
                "width": width,
                "height": _HEIGHTS["phone" if is_phone else "desktop"],
            },
            color_scheme=theme,
            device_scale_factor=2 if is_phone else 1,
            is_mobile=is_phone,
            has_touch=is_phone,
        )
        contexts.append(context)
        made = context.new_page()
        if alone:
            _watch(made, faults)
        return made

    yield make
    for context in contexts:
        context.close()
    assert not faults, "\n".join(faults)


def _watch(page, faults):
    """Notes requests to other machines, errors of scripts and of the console."""

    def asked(request):
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob", "file") and url.hostname not in _LOCAL:
            faults.append(f"request: {request.url}")

    def said(message):
        if message.type in ("error", "warning"):
            faults.append(f"console: {message.text}")

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))


@pytest.fixture
def too_wide():
    """Returns what of a page is wider than the window, or than a box that cuts it off.

    A picture that is drawn larger than its box, a word that does not break, a table in
    a box that scrolls sideways: `assert too_wide(page) == []`.
    """
    return lambda page: page.evaluate(_TOO_WIDE, page.viewport_size["width"])


# The width is given, since a phone zooms out where a page is wider, and with it
# `innerWidth`. One pixel is rounding. What a closed <details> hides has no box.
_TOO_WIDE = """(width) => {
  const seen = [];
  const name = (node) => {
    const text = (node.innerText || node.alt || "").trim().slice(0, 40);
    return `${node.tagName.toLowerCase()}.${node.className}: ${text}`;
  };
  const page = document.documentElement;
  if (page.scrollWidth > width + 1) seen.push(`page: ${page.scrollWidth} px`);
  for (const node of document.body.querySelectorAll("*")) {
    if (!node.getClientRects().length) continue;
    const box = node.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) continue;
    if (box.right > width + 1 || box.left < -1) seen.push(name(node));
    const inline = getComputedStyle(node).display === "inline";
    if (!inline && node.scrollWidth > node.clientWidth + 1) seen.push(name(node));
  }
  return seen;
}"""
