"""Draws the picture that ships, `alexnet_jax/weights/picture.jpg`.

  python -m tests.weights.draw_picture FILE

It is drawn here, of nobody's photograph: a house, a tree and a ball before hills, with
edges, textures and smooth parts, of 500×375 pixels, as many of ImageNet's have.
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

_WIDTH, _HEIGHT = 500, 375
_TWICE = 2 * _WIDTH, 2 * _HEIGHT  # drawn so, for smooth edges


def _noise(draw: np.random.Generator, cells: int) -> np.ndarray:
    """Returns smooth noise in [-1, 1], `(h, w, 1)`."""
    small = draw.uniform(-1, 1, (cells * 3 // 4, cells)).astype(np.float32)
    image = Image.fromarray(small).resize(_TWICE, Image.Resampling.BICUBIC)
    return np.asarray(image)[..., None]


def draw_picture() -> Image.Image:
    """Returns the picture, RGB."""
    draw = np.random.default_rng(2012)
    coarse, fine = _noise(draw, 8) + 0.5 * _noise(draw, 20), _noise(draw, 160)
    rows = np.linspace(0, 1, _TWICE[1], dtype=np.float32)[:, None, None]
    columns = np.linspace(0, 1, _TWICE[0], dtype=np.float32)[None, :, None]
    # Sky and clouds, two rows of hills, a meadow.
    seen = np.float32([70, 130, 205]) + rows * np.float32([170, 120, 40])
    seen = seen + np.clip(coarse, 0, 1) * (235 - seen) * (rows < 0.5)
    hills = 0.45 + 0.05 * np.sin(9 * columns) + 0.02 * np.sin(31 * columns + 1)
    seen = np.where(rows > hills, np.float32([95, 120, 140]) + 8 * fine, seen)
    hills = 0.55 + 0.04 * np.sin(7 * columns + 2)
    green = np.float32([70, 125, 55]) + 25 * fine + 60 * (rows - 0.5)
    seen = np.where(rows > hills, green, seen)
    image = Image.fromarray(seen.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    _draw_house(pen)
    # A tree of many leaves.
    pen.polygon([(760, 600), (772, 380), (800, 380), (815, 600)], fill=(92, 64, 44))
    for x, y, size, shade in draw.normal(0, 1, (900, 4)) * [62, 55, 3, 22]:
        x, y, size = 786 + x, 310 + y, 9 + abs(size)
        color = int(60 + shade), int(110 + shade), int(45 + shade / 2)
        pen.ellipse([x - size, y - size, x + size, y + size], fill=color)
    # A ball in six colors, shaded.
    pen.ellipse([470, 660, 690, 700], fill=(45, 80, 38))
    colors = [(215, 45, 40), (245, 240, 235), (245, 195, 40)] * 2
    for part, color in enumerate(colors):
        pen.pieslice([480, 500, 670, 690], 60 * part - 20, 60 * part + 40, fill=color)
    y, x = np.mgrid[: _TWICE[1], : _TWICE[0]].astype(np.float32)
    away = np.hypot(x - 575, y - 595)[..., None]
    light = 1.15 - np.hypot(x - 545, y - 555)[..., None] / 170
    seen = np.where(away < 95, np.asarray(image) * light, np.asarray(image))
    image = Image.fromarray(seen.clip(0, 255).astype(np.uint8))
    return image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def _draw_house(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle([130, 370, 420, 600], fill=(205, 185, 155))
    for row, y in enumerate(range(370, 600, 16)):  # of bricks
        pen.line([130, y, 420, y], fill=(170, 145, 115), width=2)
        for x in range(130 + 20 * (row % 2), 420, 40):
            pen.line([x, y, x, min(y + 16, 600)], fill=(170, 145, 115), width=2)
    pen.polygon([(100, 375), (275, 240), (450, 375)], fill=(150, 55, 45))
    for y in range(255, 375, 15):
        half = (y - 240) * 175 / 135
        pen.line([275 - half, y, 275 + half, y], fill=(115, 38, 34), width=3)
    pen.rectangle([345, 235, 385, 330], fill=(135, 80, 65))
    pen.rectangle([235, 470, 305, 600], fill=(80, 50, 35))
    pen.ellipse([290, 535, 299, 544], fill=(230, 200, 90))
    for x in (155, 330):
        pen.rectangle([x, 420, x + 62, 500], fill=(120, 170, 200), outline=(250,) * 3)
        pen.line([x + 31, 420, x + 31, 500], fill=(250, 250, 250), width=5)
        pen.line([x, 460, x + 62, 460], fill=(250, 250, 250), width=5)


if __name__ == "__main__":
    draw_picture().save(sys.argv[1], "JPEG", quality=82)
