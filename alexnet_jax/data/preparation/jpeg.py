"""Image files to arrays of one size, and to JPEG."""

import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Large images are decoded at half or a quarter of their size, but at no less than twice
# the wanted size: the filter below can hardly tell the difference.
_SPARE = 2
_FILTER = Image.Resampling.BICUBIC

# What Pillow raises on bytes that are not an image, or a truncated one.
_BROKEN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)


class BrokenImage(ValueError):
    """Bytes that are not an image, or a truncated one."""


@dataclass(frozen=True)
class Conversion:
    """What is done to each image file of a data set.

    Attributes:
      description: Says so in words; a preparation is continued only if it is the same.
      convert: Takes and returns the content of an image file.
      image_bytes: About the size of a result; None for that of the original.
    """

    description: str
    convert: Callable[[bytes], bytes]
    image_bytes: int | None = None

    def estimate_bytes(self, num_images: int, num_bytes: int) -> int:
        """Estimates the size of the results from the originals' number and size."""
        if self.image_bytes is None:
            return num_bytes
        return min(num_bytes, self.image_bytes * num_images)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise BrokenImage(" ".join(str(error).split())) from error


def decode(content: bytes, size: int, fit: str) -> np.ndarray:
    """Decodes an image to a square.

    Args:
      content: JPEG, or any format that Pillow reads.
      size: Height and width of the result, in pixels.
      fit: `crop` resizes the short side to `size` and keeps the center, as in 2012;
        `warp` resizes both sides to `size`, ignoring their ratio, as Caffe does.

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
    """Returns an image as JPEG with a short side of a given length.

    Args:
      content: JPEG, or any format that Pillow reads.
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
    """Returns an RGB or gray JPEG unchanged, and anything else as RGB JPEG.

    As TFDS does with the 22 CMYK files and the one PNG of ImageNet. The pixels of a
    JPEG are not decoded, so a truncated one passes.

    Args:
      content: JPEG, or any format that Pillow reads.

    Raises:
      BrokenImage: The bytes are not an image.
    """
    with _named(), Image.open(io.BytesIO(content)) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            return content
        return _encode(image.convert("RGB"), quality=100)


TO_JPEG = Conversion("JPEG as it is, all else as RGB JPEG", as_jpeg)


def _load(image: Image.Image, size: int) -> Image.Image:
    """Decodes it as RGB, not much larger than the size that is wanted."""
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
