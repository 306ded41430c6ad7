"""JPEG to bytes of one size, and to smaller JPEG."""

import contextlib
import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

FITS = ("crop", "warp")

# Large images are decoded at half or a quarter of their size where twice the wanted
# size remains: the filter below still sees more than it can tell apart.
_SPARE = 2
_FILTER = Image.Resampling.BICUBIC

# What Pillow raises at bytes that are no image, or half of one.
_BROKEN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)


class BrokenImage(ValueError):
    """Bytes that are no image, or only the beginning of one."""


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise BrokenImage(" ".join(str(error).split())) from error


def decode(content: bytes, size: int, fit: str) -> np.ndarray:
    """Decodes an image to a square.

    Args:
      content: JPEG, or whatever Pillow reads.
      size: Height and width to come out, in pixels.
      fit: `crop` brings the short side to `size` and keeps the middle, as in 2012;
        `warp` brings both sides to `size` whatever their ratio, as Caffe does.

    Returns:
      `(size, size, 3) uint8`, RGB.

    Raises:
      BrokenImage: The bytes cannot be decoded.

    Source:
      Krizhevsky et al. 2012, §2; Caffe's `examples/imagenet/create_imagenet.sh`.
    """
    with _named(), Image.open(io.BytesIO(content)) as opened:
        image = _load(opened, size)
        warped = fit == "warp"
        target = (size, size) if warped else _to_short_side(image.size, size)
        if image.size != target:
            image = image.resize(target, _FILTER)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        return np.asarray(image)[top : top + size, left : left + size]


def shrink(content: bytes, short_side: int, quality: int) -> bytes:
    """Returns an image as a JPEG whose short side is so long.

    Args:
      content: JPEG, or whatever Pillow reads.
      short_side: In pixels.
      quality: Of the JPEG, 1 to 95.

    Raises:
      BrokenImage: The bytes cannot be decoded.
    """
    with _named(), Image.open(io.BytesIO(content)) as opened:
        image = _load(opened, short_side)
        target = _to_short_side(image.size, short_side)
        return _encode(image.resize(target, _FILTER), quality)


def as_jpeg(content: bytes) -> bytes:
    """Returns a JPEG of colour or grey as it is, and anything else as RGB JPEG.

    As TFDS mends the 22 CMYK files and the one PNG of ImageNet. The image's data is
    not decoded, so a JPEG that is cut short passes.

    Args:
      content: JPEG, or whatever Pillow reads.

    Raises:
      BrokenImage: The bytes are no image.
    """
    with _named(), Image.open(io.BytesIO(content)) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            return content
        return _encode(image.convert("RGB"), quality=100)


def _load(image: Image.Image, size: int) -> Image.Image:
    """Decodes it as RGB, no larger than is of use for so small a size."""
    image.draft("RGB", (_SPARE * size, _SPARE * size))
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_short_side(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    width, height = size
    factor = short_side / min(width, height)
    return round(width * factor), round(height * factor)


def _encode(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
