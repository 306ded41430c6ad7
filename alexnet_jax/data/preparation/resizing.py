"""Resizing of decoded images, as frameworks with published weights do it."""

import numpy as np
from PIL import Image

# Of a resized image's long side to its short side. Of a narrower image the middle is
# taken first: a row of 4,000 pixels would become one of 256 × 1,024,000.
_MAX_RATIO = 32
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_ONE, _SPARE_BITS = 1 << 11, 4  # OpenCV's weights, and what it drops of a row's sum


def resize(
    image: Image.Image, size: tuple[int, int], fit: str, way: str = "bicubic"
) -> np.ndarray:
    """Resizes an image to a height and a width.

    Args:
      image: Of mode `RGB` or `L`.
      size: Height and width, in pixels.
      fit: `config.data.fit`.
      way: `config.data.resize`. `bicubic` and `bilinear` are Pillow's, which average
        where an image shrinks. With `crop` the latter is torchvision's `Resize` and
        `CenterCrop` to the byte: it truncates the long side, and rounds the place of
        the center half to even. `opencv` is `cv::resize` of bytes by `INTER_LINEAR`:
        of each pixel the four neighbors alone, in fixed point.

    Returns:
      `(*size, C) uint8`, or `(*size,)` of a gray one.

    Source:
      pytorch/vision, `transforms/functional.py`; opencv,
      `modules/imgproc/src/resize.cpp`, as Caffe's `convert_imageset` calls it.
    """
    height, width = size
    if fit == "warp":
        if way == "opencv":
            return _by_four(image, size, size, (0, 0))
        return np.asarray(_warp(image, size, _FILTERS[way]))
    target = _covering(image, size, truncates=way == "bilinear")
    margin = target[0] - height, target[1] - width
    if way == "opencv":
        return _by_four(image, target, size, (margin[0] // 2, margin[1] // 2))
    covered, cut = _cover(image, size, target, _FILTERS[way])
    if way == "bilinear":
        top, left = round(margin[0] / 2) - cut[0], round(margin[1] / 2) - cut[1]
    else:
        left, top = (covered.width - width) // 2, (covered.height - height) // 2
    return np.asarray(covered)[top : top + height, left : left + width]


def cover(image: Image.Image, least: tuple[int, int]) -> Image.Image:
    """Resizes an image to no less than a height and a width, one of them exactly.

    Bicubically; of a narrow one the middle alone.
    """
    return _cover(image, least, _covering(image, least), _FILTERS["bicubic"])[0]


def _covering(
    image: Image.Image, least: tuple[int, int], *, truncates: bool = False
) -> tuple[int, int]:
    """Returns the smallest height and width that cover others in its proportions."""
    width, height = image.size
    if not truncates:
        factor = max(least[0] / height, least[1] / width)
        return round(height * factor), round(width * factor)
    if least[0] * width > least[1] * height:
        return least[0], int(least[0] * width / height)
    return int(least[1] * height / width), least[1]


def _cover(
    image: Image.Image,
    least: tuple[int, int],
    target: tuple[int, int],
    filter_: Image.Resampling,
) -> tuple[Image.Image, tuple[int, int]]:
    """Resizes it to a height and a width, and says what of these is cut at each end."""
    width, height = image.size
    # Of each end, in pixels of the result.
    most = _MAX_RATIO * max(least)
    down, across = (max(0, side - most) // 2 for side in target)
    left, top = across * width / target[1], down * height / target[0]
    size = target[1] - 2 * across, target[0] - 2 * down
    if image.size != size:
        image = image.resize(size, filter_, (left, top, width - left, height - top))
    return image, (down, across)


def _warp(
    image: Image.Image, size: tuple[int, int], filter_: Image.Resampling
) -> Image.Image:
    """Resizes an image to a height and a width."""
    width, height = image.size
    # Pillow resizes the rows first: of a narrow, high image it would keep them all.
    if height > max(width, _MAX_RATIO * size[0]) and size[1] > width:
        image = image.resize((width, size[0]), filter_)
    target = size[1], size[0]
    return image if image.size == target else image.resize(target, filter_)


def _by_four(
    image: Image.Image,
    target: tuple[int, int],
    size: tuple[int, int],
    corner: tuple[int, int],
) -> np.ndarray:
    """Returns the part of a size, at a corner, of an image resized as OpenCV does it.

    Pillow's own four neighbors are truncated where OpenCV's are rounded: half a level
    darker, which the logits show.
    """
    source = np.asarray(image)
    pixels = source[..., None] if source.ndim == 2 else source
    rows, down = _neighbors(pixels.shape[0], target[0], corner[0], size[0])
    columns, across = _neighbors(pixels.shape[1], target[1], corner[1], size[1])
    columns = columns.clip(0, pixels.shape[1] - 1)
    found = np.full((*size, pixels.shape[2]), 2, np.int32)
    for row, weight in zip(rows.clip(0, pixels.shape[0] - 1), down, strict=True):
        left, right = (
            pixels[row[:, None], column] * factor[:, None]
            for column, factor in zip(columns, across, strict=True)
        )
        found += (left + right >> _SPARE_BITS) * weight[:, None, None] >> 16
    return (found >> 2).astype(np.uint8).reshape(*size, *source.shape[2:])


def _neighbors(
    side: int, target: int, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns two neighbors of each of some pixels, `(2, count)`, and their weights.

    A neighbor can be one less than the first, or one more than the last.
    """
    places = first + np.arange(count)
    exact = ((places + 0.5) * (side / target) - 0.5).astype(np.float32)
    low = np.floor(exact)
    share = exact - low
    weights = np.rint(np.stack([1 - share, share]) * _ONE).astype(np.int32)
    return np.stack([low, low + 1]).astype(np.int64), weights
