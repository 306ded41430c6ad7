"""Picture files of any kind, converted to images like those of a data set."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from alexnet_jax.data.image_files import FORMATS, MAX_PIXELS, open_file, open_image
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError

_MAX_PIXELS = MAX_PIXELS
_STRIP = 4_000_000  # pixels that are converted at a time, beside the picture
_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
# A picture's border and middle, as fractions of its height and width.
_CORNER, _MIDDLE = 1 / 14, 1 / 4


class Picture(NamedTuple):
    """A picture as the input of a network.

    Attributes:
      image: `(h, w, C) uint8`.
      notes: What was changed in it, or is unusual, and may change the prediction.
    """

    image: np.ndarray
    notes: tuple[str, ...]


def list_files(paths: list[Path]) -> list[Path]:
    """Returns the files, and those below the folders in order, without hidden ones.

    Raises:
      InputError: There are none, or a folder cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):
            found += sorted(_walk(path))
        else:
            found.append(path)
    if not found:
        raise InputError(f"IMAGE: {', '.join(map(str, paths))} contains no files")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(
            f"IMAGE: {error.filename} cannot be read ({error.strerror})"
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield path


def has_dark_background(mean_image: np.ndarray) -> bool:
    """Whether a data set shows bright objects on black, as Fashion-MNIST does.

    Args:
      mean_image: `(h, w, C)`, 0 to 255.
    """
    corners, middle = _corners_and_middle(mean_image)
    return corners < 64 and corners < middle / 2


def _corners_and_middle(image: np.ndarray) -> tuple[float, float]:
    """Returns the median of the four corners' means, and the middle's mean."""
    height, width = image.shape[:2]
    h, w = max(1, round(height * _CORNER)), max(1, round(width * _CORNER))
    corners = [
        image[rows, columns].mean()
        for rows in (slice(h), slice(-h, None))
        for columns in (slice(w), slice(-w, None))
    ]
    h, w = int(height * _MIDDLE), int(width * _MIDDLE)
    return float(np.median(corners)), float(image[h : height - h, w : width - w].mean())


def read_picture(path: Path, spec: DataSpec, invert: bool = False) -> Picture:
    """Reads a picture file as an image like those of a data set.

    The picture is rotated by its EXIF orientation, converted to gray or color, and
    resized to the data's height and width. If the data shows objects on black, as
    Fashion-MNIST does, the whole picture is kept: it is padded to the data's aspect
    ratio with the color of its border, and transparent parts become black. Otherwise
    its center is cropped, as for ImageNet's photographs, and transparent parts become
    white.

    Args:
      path: A regular file in one of `image_files.FORMATS`.
      spec: The data set.
      invert: Whether to invert light and dark.

    Raises:
      InputError: The path is no regular file; the file is not a picture, is damaged or
        too large, or has pixels of unknown range.
    """
    dark = has_dark_background(spec.statistics.mean_image)
    height, width, channels = spec.image_shape
    with _named_errors(path):
        picture, notes = _open(path, black=dark, least=(4 * width, 4 * height))
        if picture.mode == "LAB":  # which Pillow converts by profiles alone
            picture = _from_lab(picture)
        mode = "L" if channels == 1 else "RGB"
        if picture.mode != mode:
            picture = picture.convert(mode)
        if dark:
            picture = _pad(picture, (width, height))
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    image = np.asarray(picture).reshape(height, width, -1)
    if invert:
        image = 255 - image
    if dark:
        corners, middle = _corners_and_middle(image)
        # So are 18 of Fashion-MNIST's 60,000 training images, and all inverted ones.
        if corners > min(middle, 127):
            notes.append(
                "its background is brighter than its object, while the training images "
                "show bright objects on black: the prediction is unreliable; try "
                + ("without --invert" if invert else "--invert")
            )
    return Picture(image, tuple(notes))


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turns whatever Pillow raises on a file into a line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path, "larger than Pillow opens")) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: is not a picture that Pillow can read; save it in one of the "
            f"formats {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # on damaged bytes Pillow's readers raise any kind
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read ({' '.join(reason.split())})"
        ) from error


def _from_lab(picture: Image.Image) -> Image.Image:
    """Converts CIELAB of the white point D50, as Photoshop saves it, to sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def _open(
    path: Path, black: bool, least: tuple[int, int]
) -> tuple[Image.Image, list[str]]:
    """Opens and decodes a file, upright, with 8 bits and no transparency.

    Args:
      path: The file.
      black: Whether transparent parts become black; otherwise white.
      least: Width and height of the result, at least, where there is a choice.
    """
    notes: list[str] = []
    with warnings.catch_warnings():
        # Unusual metadata is not the user's concern.
        warnings.simplefilter("ignore")
        with open_file(path) as file, open_image(file) as opened:
            size = f"{opened.width}×{opened.height}"
            if opened.width * opened.height > _MAX_PIXELS:
                raise InputError(_too_large(path, size))
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                notes.append(f"it has {frames} frames; the first is used")
            # A JPEG's blocks can be decoded at an eighth, in a tenth of the time.
            opened.draft(None, least)
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)  # no second copy
            picture: Image.Image = opened
    if picture.mode in (*_16_BIT, "I", "F"):
        return _from_wide(picture, path, notes), notes
    if picture.has_transparency_data:
        color = "black" if black else "white"
        flat, least_alpha = Image.new("RGB", picture.size), 255
        for box in _strips(picture.size):
            layers = picture.crop(box).convert("RGBA")
            background = Image.new("RGBA", layers.size, color)
            flat.paste(Image.alpha_composite(background, layers).convert("RGB"), box)
            least_alpha = min(least_alpha, int(np.asarray(layers)[..., 3].min()))
        picture = flat
        if least_alpha < 255:
            notes.append(f"its transparent parts became {color}")
    return picture, notes


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields boxes that cut a picture into strips of so many rows as are converted."""
    width, height = size
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _too_large(path: Path, size: str) -> str:
    return f"{path}: is {size}; make it smaller than {_MAX_PIXELS:,} pixels"


def _from_wide(picture: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """Scales 16 bits to 8; Pillow would clip values above 255."""
    narrow, brightest = Image.new("L", picture.size), 0
    for box in _strips(picture.size):
        values = np.asarray(picture.crop(box))
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise InputError(
                f"{path}: has 32-bit pixels of unknown range; save it with 8 or 16 bits"
            )
        brightest = max(brightest, int(values.max()))
        narrow.paste(Image.fromarray(np.round(values / 257).astype(np.uint8)), box)
    if brightest < 4096:  # 12 bits in 16, or 8
        notes.append(f"its brightest pixel is {brightest:,} of 65,535: nearly black")
    return narrow


def _pad(picture: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """Extends a picture to an aspect ratio with its border's median color.

    Args:
      picture: Gray or RGB.
      shape: Width and height that the picture is resized to afterwards. One that would
        be padded beyond all limits, since it is so narrow, is resized here.
    """
    aspect = shape[0] / shape[1]
    width, height = picture.size
    size = max(width, round(height * aspect)), max(height, round(width / aspect))
    if size == picture.size:
        return picture
    edges = [
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    ]
    pixels = [np.asarray(picture.crop(box)) for box in edges]
    border = np.concatenate([edge.reshape(-1, *edge.shape[2:]) for edge in pixels])
    color = np.median(border, axis=0).astype(int).reshape(-1)
    fill = tuple(color.tolist()) if len(color) > 1 else int(color[0])
    if size[0] * size[1] > _MAX_PIXELS:
        exact = width * shape[0] / size[0], height * shape[1] / size[1]
        kept = max(1, round(exact[0])), max(1, round(exact[1]))
        picture, size = picture.resize(kept, Image.Resampling.BICUBIC), shape
        # Less than a pixel is a pixel of less.
        empty = Image.new(picture.mode, kept, fill)
        picture = Image.blend(empty, picture, min(1.0, *exact))
    return ImageOps.pad(picture, size, color=fill)
