"""Explanations of pictures on a page: maps as images, their scales as text."""

from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import Colormap

from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.reporting.explanations import occlusion_shades
from alexnet_jax.reporting.files import image_png
from alexnet_jax.reporting.html import block, image, text


def explanation_html(one: Explanation, alt: str) -> str:
    """Returns an image and its occlusion map, gradient and Grad-CAM.

    Dotted lines frame what the network sees, where that is not the whole image; solid
    ones the patch that leaves the lowest probability.

    Args:
      one: The explanation.
      alt: Which image it is of, as an alternative text goes on.
    """
    return block("maps", _maps(one, alt))


def _maps(one: Explanation, alt: str) -> Iterator[str]:
    shades = occlusion_shades(one)
    low, high = 100 * float(one.occlusion.min()), 100 * float(one.occlusion.max())
    view = _frame(one.view, one.image, "view")
    if one.view[2:] == tuple(map(float, one.image.shape[:2])):
        view = ""
    both = view + (_frame(one.patch, one.image, "patch") if one.patch else "")
    yield _panel(one.image, "image", f"The image: {alt}", both)
    yield _panel(
        _colored(100 * one.occlusion, shades.colors, shades.low, shades.high),
        f"occlusion: probability from {low:.3g} % (red, evidence) to {high:.3g} %; "
        f"uncovered, white, {100 * one.probability:.3g} %",
        f"Occlusion map: {alt}",
        both,
    )
    yield _scaled(
        one.gradient, "magma", "black", "gradient", "logits a gray level", alt, view
    )
    if one.grad_cam is None:
        yield f"<div><span>{text('no Grad-CAM: no maps larger than 1×1')}</span></div>"
    else:
        title = f"Grad-CAM of {one.layer}"
        yield _scaled(one.grad_cam, "viridis", "violet", title, "logits", alt, view)


def _scaled(
    values: np.ndarray,
    colors: str,
    zero: str,
    title: str,
    unit: str,
    alt: str,
    frames: str,
) -> str:
    """Returns a map whose scale begins at 0 and ends in yellow."""
    top = float(values.max())
    shown = _colored(values, matplotlib.colormaps[colors], 0.0, top)
    said = f"{title}: 0 ({zero}) to {top:.2g} {unit} (yellow)"
    if not top:
        said = f"{title}: 0 everywhere"
    return _panel(shown, said, f"{title}: {alt}", frames)


def _colored(
    values: np.ndarray, colors: Colormap, low: float, high: float
) -> np.ndarray:
    """Returns a map `(h, w)` as an image, `(h, w, 3) uint8`."""
    shares = (values - low) / ((high - low) or 1.0)
    return colors(shares.clip(0, 1), bytes=True)[..., :3]


def _panel(pixels: np.ndarray, said: str, alt: str, frames: str) -> str:
    shown = image(image_png(pixels), alt, kind="pixels")
    return (
        f'<div><div class="framed">{shown}{frames}</div><span>{text(said)}</span></div>'
    )


def _frame(box: Sequence[float], pixels: np.ndarray, kind: str) -> str:
    """Returns a frame over an image.

    Args:
      box: Top, left, height and width, in the image's pixels.
      pixels: The image.
      kind: A class of the style.
    """
    height, width = pixels.shape[:2]
    sides = zip(
        ("top", "left", "height", "width"), box, (height, width) * 2, strict=True
    )
    style = "; ".join(f"{side}: {100 * at / whole:.4g}%" for side, at, whole in sides)
    return f'<i class="{kind}" style="{style}"></i>'
