"""Finds the browser of the tests; as a program, says what to install without one."""

import shutil
import sys
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
MISSING = (
    "error: there is no Chromium or Chrome; install the package chromium, or run "
    "`python -m playwright install chromium`"
)


def find_browser() -> str | None:
    """Returns the path of Chromium or Chrome, else of Playwright's own if it is there.

    The system's comes first: it has the system's fonts, and takes no download.
    """
    found = [shutil.which(name) for name in _NAMES] + [*filter(_is_file, _MACOS)]
    if found := [*filter(None, found)]:
        return found[0]
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if _is_file(own) else None


def _is_file(path: str) -> bool:
    return Path(path).is_file()


if __name__ == "__main__":
    sys.exit(None if find_browser() else MISSING)
