"""The colors of figures and pages: read on their ground, told apart."""

import itertools
import re

import pytest

from alexnet_jax.reporting.curves import style_of
from alexnet_jax.reporting.themes import DARK, LIGHT, Theme


def linear(color):
    if color.startswith("#"):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    else:
        parts = [int(part) / 255 for part in color.split()]
    return [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]


def contrast(one, other):
    """As WCAG 2 defines it."""
    weights = (0.2126, 0.7152, 0.0722)
    low, high = sorted(
        sum(w * x for w, x in zip(weights, linear(color), strict=True))
        for color in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
class TestTheme:
    def test_text_is_read(self, theme: Theme):
        for name in ("muted", "link", "correct", "wrong"):
            assert contrast(getattr(theme, name), theme.ground) >= 4.5, name
        assert contrast(theme.ink, theme.ground) >= 7
        assert contrast(theme.ink, theme.note) >= 4.5
        assert contrast(theme.ink, theme.heat) >= 4.5

    def test_lines_are_seen(self, theme):
        assert len({*theme.lines}) == 8
        for color in theme.lines:
            assert contrast(color, theme.ground) >= 3, color


def test_styles_are_all_different():
    styles = [style_of(place) for place in range(32)]
    assert len({*styles}) == 32
    for one, other in itertools.pairwise(styles):
        assert all(a != b for a, b in zip(one, other, strict=True))
    assert len({style[1:] for style in styles[:8]}) == 8  # without their colors


def test_colors_are_written_as_css_reads_them():
    for theme in (LIGHT, DARK):
        for name, value in theme._asdict().items():
            for color in value if name == "lines" else (value,):
                assert re.fullmatch(r"#[0-9a-f]{6}|\d+ \d+ \d+", color)
