"""Image files to arrays of one size, and to those that data sets store."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from alexnet_jax.config import side_pair
from alexnet_jax.data.decoding import (
    broken_images,
    check_size,
    is_stored_as_is,
    read_pixels,
)
from alexnet_jax.data.image_files import open_image
from alexnet_jax.data.preparation.resizing import cover, resize

# Large images are decoded at half or a quarter of their size, but at no less than twice
# the wanted size: a bicubic filter can hardly tell the difference.
_SPARE = 2
_JPEG_SIDE = 65_499  # pixels, odd or even with what is cut; libjpeg takes one more
_COMPRESSION = 3  # of PNG: a tenth larger than by default, in a third of the time


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


def decode(
    content: bytes,
    size: int | Sequence[int],
    fit: str,
    channels: int = 3,
    way: str = "bicubic",
) -> np.ndarray:
    """Decodes an image to a size.

    Args:
      content: Of a format in `image_files.FORMATS`.
      size: Height and width of the result, in pixels; of a square, its side.
      fit: `crop` resizes until both sides are at least `size` and keeps the center,
        as in 2012, when the short side became that of a square; `warp` resizes both
        sides to `size`, ignoring their ratio, as Caffe does.
      channels: 3 for RGB, 1 for gray.
      way: `config.data.resize`, as `resizing.resize` has them. A large JPEG is decoded
        whole, unless it is `bicubic`.

    Returns:
      `(*size, channels) uint8`.

    Raises:
      BrokenImage: The bytes cannot be decoded, or are of too many pixels.

    Source:
      Krizhevsky et al. 2012, §2; Caffe's `examples/imagenet/create_imagenet.sh`.
    """
    return decode_file(io.BytesIO(content), size, fit, channels, way)[0]


def decode_file(
    file: IO[bytes],
    size: int | Sequence[int],
    fit: str,
    channels: int = 3,
    way: str = "bicubic",
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decodes an image as `decode` does; also returns `decoding.Pixels.notes`."""
    sides = side_pair(size)
    with broken_images():
        mode = "L" if channels == 1 else "RGB"
        image, notes = _load(file, sides if way == "bicubic" else None, mode)
        return resize(image, sides, fit, way).reshape(*sides, channels), notes


def shrink(content: bytes, short_side: int, quality: int) -> bytes:
    """Returns an image as JPEG with a short side of a given length.

    Args:
      content: Of a format in `image_files.FORMATS`.
      short_side: In pixels. The long side is at most 32 times as long: of a narrower
        image the middle is kept.
      quality: Of the JPEG, 1 to 95.

    Raises:
      BrokenImage: The bytes cannot be decoded.
    """
    with broken_images():
        size = short_side, short_side
        image, _ = _load(io.BytesIO(content), size, "RGB")
        return _encode(cover(image, size), "JPEG", quality=quality)


def as_stored(content: bytes) -> bytes:
    """Returns what a data set stores of an image file; it decodes to the same pixels.

    RGB and gray JPEG and PNG stay as they are; so a JPEG's orientation is applied when
    it is decoded. Anything else becomes PNG, which TFDS's readers take. The pixels of a
    JPEG are not decoded here, so a truncated one passes.

    Args:
      content: Of a format in `image_files.FORMATS`.

    Raises:
      BrokenImage: The bytes are not an image, or one that `read_pixels` refuses.
    """
    with broken_images():
        with open_image(io.BytesIO(content)) as image:
            check_size(image)
            if is_stored_as_is(image):
                if image.format == "PNG":
                    image.load()
                return content
        pixels = read_pixels(io.BytesIO(content)).image
        return _encode(pixels, "PNG", compress_level=_COMPRESSION)


TO_STORED = Conversion("JPEG and PNG as they are, all else as PNG", as_stored)


def as_jpeg(content: bytes) -> bytes:
    """Returns an RGB or gray JPEG unchanged, and anything else as RGB JPEG.

    As TFDS does with the 22 CMYK files and the one PNG of ImageNet. The pixels of a
    JPEG are not decoded, so a truncated one passes. Of an image too long for JPEG the
    middle is kept.

    Args:
      content: Of a format in `image_files.FORMATS`.

    Raises:
      BrokenImage: The bytes are not an image, or one that `read_pixels` refuses.
    """
    with broken_images():
        with open_image(io.BytesIO(content)) as opened:
            check_size(opened)
            if opened.format != "PNG" and is_stored_as_is(opened):
                return content
        image = read_pixels(io.BytesIO(content)).image
        width, height = image.size
        left, top = (max(0, side - _JPEG_SIDE) // 2 for side in image.size)
        if left or top:
            image = image.crop((left, top, width - left, height - top))
        return _encode(image.convert("RGB"), "JPEG", quality=100)


TO_JPEG = Conversion("JPEG as it is, all else as RGB JPEG", as_jpeg)


def _load(
    file: IO[bytes], size: tuple[int, int] | None, mode: str
) -> tuple[Image.Image, tuple[str, ...]]:
    """Decodes it in a mode; given a height and a width, not much larger than these."""
    least = size and (_SPARE * size[0], _SPARE * size[1])
    image, notes = read_pixels(file, least=least)
    return image if image.mode == mode else image.convert(mode), notes


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
