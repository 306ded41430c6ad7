"""Figures and images as the bytes of files."""

import io
import warnings
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

# What the metadata of a report's files name.
MAKER = "alexnet_jax.report"


def to_png(figure: Figure) -> bytes:
    """Returns a figure as the bytes of a PNG file."""
    return to_bytes(figure, "png")


def to_bytes(figure: Figure, kind: str, maker: str = "") -> bytes:
    """Returns a figure as the bytes of a file.

    Args:
      figure: The figure.
      kind: Of the file: `png`, `jpg`, `jpeg`, `pdf` or `svg`.
      maker: What the file's metadata says that it was made by; Matplotlib if empty.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if maker and kind in ("jpg", "jpeg"):
        options["pil_kwargs"] = {"comment": maker.encode()}
    elif maker:
        options["metadata"] = {"Software" if kind == "png" else "Creator": maker}
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", "Glyph")
        warnings.filterwarnings("ignore", "constrained_layout not")  # a long name
        figure.savefig(buffer, format=kind, bbox_inches="tight", **options)
    return buffer.getvalue()


def image_png(pixels: np.ndarray, max_side: int | None = None) -> bytes:
    """Returns an image as the bytes of a PNG file.

    Args:
      pixels: `(h, w, C) uint8`: 1 channel of gray, 3 of color, 4 with opacity; of any
        other number their mean.
      max_side: A larger image is made smaller, to this many pixels.
    """
    if pixels.shape[-1] not in (1, 3, 4):
        pixels = pixels.mean(axis=-1, keepdims=True).round().astype(np.uint8)
    made = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max_side and max(made.size) > max_side:
        made.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    made.save(buffer, "png", optimize=True)
    return buffer.getvalue()
