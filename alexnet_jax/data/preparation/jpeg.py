"""Image files to arrays of one size, and to JPEG."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from alexnet_jax.config import side_pair
from alexnet_jax.data.image_files import MAX_PIXELS, open_image

# Large images are decoded at half or a quarter of their size, but at no less than twice
# the wanted size: the filter below can hardly tell the difference.
_SPARE = 2
_FILTER = Image.Resampling.BICUBIC
# Of a resized image's long side to its short side. Of a narrower image the middle is
# taken first: a row of 4,000 pixels would become one of 256 × 1,024,000.
_MAX_RATIO = 32
_JPEG_SIDE = 65_499  # pixels, odd or even with what is cut; libjpeg takes one more


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
def _opened(content: bytes) -> Iterator[Image.Image]:
    try:
        with open_image(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BrokenImage(
                    f"{image.width}×{image.height} is more than {MAX_PIXELS:,} pixels"
                )
            yield image
    except (BrokenImage, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise any kind
        text = " ".join(str(error).split())
        raise BrokenImage(text or type(error).__name__) from error


def decode(content: bytes, size: int | Sequence[int], fit: str) -> np.ndarray:
    """Decodes an image to a size.

    Args:
      content: Of a format in `image_files.FORMATS`.
      size: Height and width of the result, in pixels; of a square, its side.
      fit: `crop` resizes until both sides are at least `size` and keeps the center,
        as in 2012, when the short side became that of a square; `warp` resizes both
        sides to `size`, ignoring their ratio, as Caffe does.

    Returns:
      `(*size, 3) uint8`, RGB.

    Raises:
      BrokenImage: The bytes cannot be decoded, or are of too many pixels.

    Source:
      Krizhevsky et al. 2012, §2; Caffe's `examples/imagenet/create_imagenet.sh`.
    """
    height, width = sides = side_pair(size)
    with _opened(content) as opened:
        image = _load(opened, sides)
        image = _warp(image, sides) if fit == "warp" else _cover(image, sides)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return np.asarray(image)[top : top + height, left : left + width]


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
    with _opened(content) as opened:
        size = short_side, short_side
        return _encode(_cover(_load(opened, size), size), quality)


def as_jpeg(content: bytes) -> bytes:
    """Returns an RGB or gray JPEG unchanged, and anything else as RGB JPEG.

    As TFDS does with the 22 CMYK files and the one PNG of ImageNet. The pixels of a
    JPEG are not decoded, so a truncated one passes. Of an image too long for JPEG the
    middle is kept.

    Args:
      content: Of a format in `image_files.FORMATS`.

    Raises:
      BrokenImage: The bytes are not an image.
    """
    with _opened(content) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            return content
        width, height = image.size
        left, top = (max(0, side - _JPEG_SIDE) // 2 for side in image.size)
        if left or top:
            image = image.crop((left, top, width - left, height - top))
        return _encode(image.convert("RGB"), quality=100)


TO_JPEG = Conversion("JPEG as it is, all else as RGB JPEG", as_jpeg)


def _load(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Decodes it as RGB, not much larger than the height and width that are wanted."""
    height, width = size
    image.draft("RGB", (_SPARE * width, _SPARE * height))
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _cover(image: Image.Image, least: tuple[int, int]) -> Image.Image:
    """Resizes an image to no less than a height and a width, one of them exactly.

    Of a narrow one the middle alone.
    """
    width, height = image.size
    factor = max(least[0] / height, least[1] / width)
    target = round(width * factor), round(height * factor)
    # Of each end, in pixels of the result.
    most = _MAX_RATIO * max(least)
    across, down = (max(0, side - most) // 2 for side in target)
    left, top = across * width / target[0], down * height / target[1]
    size = target[0] - 2 * across, target[1] - 2 * down
    if image.size == size:
        return image
    return image.resize(size, _FILTER, (left, top, width - left, height - top))


def _warp(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes an image to a height and a width."""
    width, height = image.size
    # Pillow resizes the rows first: of a narrow, high image it would keep them all.
    if height > max(width, _MAX_RATIO * size[0]) and size[1] > width:
        image = image.resize((width, size[0]), _FILTER)
    target = size[1], size[0]
    return image if image.size == target else image.resize(target, _FILTER)


def _encode(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
