"""The one way from an image file to its pixels.

Preparation, training, evaluation, statistics and prediction all take it, so that a
network sees a file as it saw it in training, whatever the file holds.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from alexnet_jax.data.image_files import FORMATS, MAX_PIXELS, open_image

# Metadata that is damaged or unusual; it is not the user's concern.
warnings.filterwarnings("ignore", module=r"PIL\.")

_STRIP = 4_000_000  # pixels that are converted at a time, beside the image
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_JPEG = ("JPEG", "MPO")
# By EXIF's orientation; from 5 on, height and width are exchanged.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_KEY_FACTORS = {"L;2": 85, "L;4": 17}  # of PNG's samples, as Pillow decodes them
_INTERPRETATION, _WHITE_IS_ZERO = 262, 0  # of gray, a tag of TIFF


class BrokenImage(ValueError):
    """Bytes that are not an image, a truncated one, or one that is not taken.

    Attributes:
      line: What is said after the file's name; the text of the error gives the reason
        alone.
    """

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(reason)
        self.line = line or f"cannot be read ({reason})"


class Pixels(NamedTuple):
    """A decoded image file.

    Attributes:
      image: Upright, of mode `L` or `RGB`.
      notes: What was changed in it, or is unusual, and may change a prediction.
    """

    image: Image.Image
    notes: tuple[str, ...]


def is_stored_as_is(image: Image.Image) -> bool:
    """Whether a file that was opened may be kept in a data set for TFDS's readers."""
    return (
        image.format in (*_JPEG, "PNG")
        and image.mode in ("RGB", "L")
        and not image.has_transparency_data
    )


def read_pixels(
    file: IO[bytes],
    *,
    least: tuple[int, int] | None = None,
    background: str = "white",
) -> Pixels:
    """Decodes an image file: upright, opaque, gray or RGB with 8 bits per channel.

    EXIF's orientation is applied. 16 bits are scaled to 8, as are floats in [0, 1].
    Palettes, CMYK and the like become RGB, CIELAB of the white point D50 sRGB; color
    profiles are ignored. Of several frames the first is taken.

    Args:
      file: In a format that `image_files.open_image` opens.
      least: Height and width of the result, at least. A larger JPEG is decoded at a
        half, a quarter or an eighth of its size, in much less time.
      background: Color of transparent parts, `white` or `black`.

    Raises:
      BrokenImage: It cannot be decoded, is in another format, has more than
        `MAX_PIXELS`, or pixels of unknown range.
    """
    with broken_images():
        return flatten(_load(file, least), background)


def flatten(image: Image.Image, background: str = "white") -> Pixels:
    """Converts an upright image in memory as `read_pixels` does one of a file.

    Args:
      image: Of any mode.
      background: Color of transparent parts, `white` or `black`.

    Raises:
      BrokenImage: It has pixels of unknown range.
    """
    notes: list[str] = []
    with broken_images():
        if image.mode in _WIDE:
            image = _from_wide(image, background, notes)
        elif image.has_transparency_data:
            image = _without_transparency(image, background, notes)
        if image.mode == "LAB":  # which Pillow converts by profiles alone
            image = _from_lab(image)
        mode = "L" if image.mode in ("1", "L") else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
    return Pixels(image, tuple(notes))


def count_frames(file: IO[bytes]) -> int:
    """Returns how many frames or pages an image file has; 1 if it cannot be said."""
    file.seek(0)
    with contextlib.suppress(Exception), open_image(file) as image:
        return getattr(image, "n_frames", 1)
    return 1


@contextlib.contextmanager
def broken_images() -> Iterator[None]:
    """Turns whatever Pillow raises on an image file into `BrokenImage`."""
    try:
        yield
    except (BrokenImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("larger than Pillow opens") from error
    except UnidentifiedImageError as error:  # whose text has an address in memory
        formats = ", ".join(FORMATS)
        raise BrokenImage(
            f"cannot identify image file; its format must be one of {formats}",
            "is not a picture that Pillow can read; save it in one of the formats "
            f"{formats}",
        ) from error
    except Exception as error:  # on damaged bytes Pillow's readers raise any kind
        text = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise BrokenImage(text or type(error).__name__) from error


def check_size(image: Image.Image) -> None:
    """Refuses an image of too many pixels, before they are decoded.

    Raises:
      BrokenImage: It has more than `MAX_PIXELS`.
    """
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(f"{image.width}×{image.height}")


def _too_large(size: str) -> BrokenImage:
    limit = f"{MAX_PIXELS:,} pixels"
    return BrokenImage(
        f"{size} is more than {limit}", f"is {size}; make it smaller than {limit}"
    )


def _load(file: IO[bytes], least: tuple[int, int] | None) -> Image.Image:
    """Decodes a file upright, not much larger than it is wanted."""
    with open_image(file) as image:
        check_size(image)
        is_jpeg, tile = image.format in _JPEG, getattr(image, "tile", None)
        orientation = _orientation(image) if is_jpeg else 1
        # Those that a data set stores in another format are decoded whole, here too.
        if least and is_jpeg and is_stored_as_is(image):
            height, width = least if orientation < 5 else least[::-1]
            image.draft(None, (width, height))
        image.load()
        if not is_jpeg:  # others may have it at their end; TIFF is upright by now
            orientation = _orientation(image)
    if image.format == "PNG" and "transparency" in image.info:
        raw_mode, key = tile[0][3] if tile else None, image.info["transparency"]
        image.info["transparency"] = _as_decoded(key, image.mode, raw_mode)
    return image.transpose(_TURNS[orientation]) if orientation > 1 else image


def upright(image: Image.Image) -> Image.Image:
    """Turns an image in memory as EXIF's orientation, which it still has, says."""
    image.load()  # which turns TIFF
    orientation = _orientation(image)
    return image.transpose(_TURNS[orientation]) if orientation > 1 else image


def _orientation(image: Image.Image) -> int:
    """Returns EXIF's orientation, 1 to 8."""
    if image.format in _JPEG and "exif" not in image.info and "xmp" not in image.info:
        return 1  # without the time that it takes to look further
    with contextlib.suppress(Exception):  # damaged metadata breaks no image
        found = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        return found if found in _TURNS else 1
    return 1


def _as_decoded(key: Any, mode: str, raw_mode: Any) -> Any:
    """Returns PNG's transparent color in the range of the decoded pixels."""
    if mode == "1":
        return 255 if key else 0
    if raw_mode == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key * _KEY_FACTORS[raw_mode] if raw_mode in _KEY_FACTORS else key


def _without_transparency(
    image: Image.Image, background: str, notes: list[str]
) -> Image.Image:
    """Lays an image on a color."""
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    flat, least_alpha = Image.new("RGB", image.size), 255
    for box in _strips(image.size):
        layers = image.crop(box).convert("RGBA")
        under = Image.new("RGBA", layers.size, background)
        flat.paste(Image.alpha_composite(under, layers).convert("RGB"), box)
        least_alpha = min(least_alpha, int(np.asarray(layers)[..., 3].min()))
    if least_alpha < 255:
        notes.append(f"its transparent parts became {background}")
    return flat


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields boxes that cut an image into strips of so many rows as are converted."""
    width, height = size
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _from_wide(image: Image.Image, background: str, notes: list[str]) -> Image.Image:
    """Scales 16 bits, or floats in [0, 1], to 8 bits; Pillow would clip them."""
    narrow, found_key = Image.new("L", image.size), False
    brightest: float = 0
    white, key = 1 if image.mode == "F" else 65_535, image.info.get("transparency")
    inverted = getattr(image, "tag_v2", {}).get(_INTERPRETATION) == _WHITE_IS_ZERO
    for box in _strips(image.size):
        values = np.asarray(image.crop(box))
        if not ((values >= 0) & (values <= white)).all():  # nor is NaN
            reason = "32-bit pixels of unknown range; save it with 8 or 16 bits"
            raise BrokenImage(reason, f"has {reason}")
        scaled = np.round(values * (255 / white)).astype(np.uint8)
        if inverted:
            values, scaled = white - values, 255 - scaled
        brightest = max(brightest, values.max().item())
        if key is not None and (clear := values == key).any():
            found_key = True
            scaled = np.where(clear, np.uint8(255 * (background == "white")), scaled)
        narrow.paste(Image.fromarray(scaled), box)
    if found_key:
        notes.append(f"its transparent parts became {background}")
    if brightest < white / 16:  # 12 bits in 16, or 8
        notes.append(f"its brightest pixel is {brightest:,} of {white:,}: nearly black")
    return narrow


def _from_lab(image: Image.Image) -> Image.Image:
    """Converts CIELAB of the white point D50, as Photoshop saves it, to sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted
