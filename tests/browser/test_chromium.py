"""The browser of the tests itself."""

import pytest

PAGE = (
    "<!doctype html><html lang='en'><meta name='viewport' "
    "content='width=device-width'><body>{}</body></html>"
)
BOX = "<div style='width: {}px; height: 9px'></div>"


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_too_wide_is_found(page, too_wide, width):
    made = page(width)
    made.set_content(PAGE.format(BOX.format(100)))
    assert too_wide(made) == []
    made.set_content(PAGE.format(BOX.format(1400)))
    assert any("page" in one for one in too_wide(made))
    scrolled = f"<div style='overflow: auto'>{BOX.format(1400)}</div>"
    made.set_content(PAGE.format(scrolled))
    assert too_wide(made)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes(page, theme):
    asked = f"matchMedia('(prefers-color-scheme: {theme})').matches"
    assert page(theme=theme).evaluate(asked)
