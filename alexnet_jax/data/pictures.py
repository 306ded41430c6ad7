"""Picture files of any kind, made into images as a data set's batches hold them."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError

_MAX_PIXELS = 100_000_000
_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
# A picture's border and middle, as parts of its height and width.
_CORNER, _MIDDLE = 1 / 14, 1 / 4


class Picture(NamedTuple):
    """A picture as a network takes it.

    Attributes:
      image: `(h, w, C) uint8`.
      notes: What was done to it, or is odd about it, that may change the answer.
    """

    image: np.ndarray
    notes: tuple[str, ...]


def list_files(paths: list[Path]) -> list[Path]:
    """Returns the files, and those below the folders in order, hidden ones left out.

    Raises:
      InputError: There is none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [
                one
                for one in sorted(path.rglob("*"))
                if one.is_file()
                and not any(
                    part.startswith(".") for part in one.relative_to(path).parts
                )
            ]
        else:
            found.append(path)
    if not found:
        raise InputError(f"IMAGE: {', '.join(map(str, paths))} holds no file")
    return found


def has_dark_ground(mean_image: np.ndarray) -> bool:
    """Says whether a data set shows bright things on black, as Fashion-MNIST does.

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


def read_picture(path: Path, inputs: DataSpec, invert: bool = False) -> Picture:
    """Reads a picture file as the data set of a run would hold it.

    It is turned as its EXIF orientation says, made grey or coloured, and brought to the
    data's height and width. Where the data shows things on black, as Fashion-MNIST, the
    whole picture is kept: what it lacks of the data's shape is filled with the colour
    of its border, and what is transparent is black. Elsewhere its centre is cut out, as
    from ImageNet's photographs, and what is transparent is white.

    Args:
      path: Any file that Pillow reads.
      inputs: What the network was fed.
      invert: Turn light to dark and dark to light.

    Raises:
      InputError: The file is no picture, is damaged, too large, or holds numbers
        whose range is not known.
    """
    dark = has_dark_ground(inputs.statistics.mean_image)
    height, width, channels = inputs.image_shape
    picture, notes = _open(path, black=dark, least=(4 * width, 4 * height))
    picture = picture.convert("L" if channels == 1 else "RGB")
    if dark:
        picture = _pad(picture, width / height)
    picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    image = np.asarray(picture).reshape(height, width, -1)
    if invert:
        image = 255 - image
    if dark:
        corners, middle = _corners_and_middle(image)
        # Of Fashion-MNIST's 60,000 training images 18, and inverted all of them.
        if corners > min(middle, 127):
            notes.append(
                "its ground is brighter than what it shows, while the network knows "
                "bright things on black: the answer is not to be trusted; "
                + ("leave out --invert" if invert else "try --invert")
            )
    return Picture(image, tuple(notes))


def _open(
    path: Path, black: bool, least: tuple[int, int]
) -> tuple[Image.Image, list[str]]:
    """Opens and decodes a file, upright, with 8 bits and no transparency.

    Args:
      path: The file.
      black: Whether transparent parts become black; else white.
      least: Width and height that are wanted at least, where there is a choice.
    """
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is not the user's concern
            with Image.open(path) as opened:
                size = f"{opened.width}×{opened.height}"
                if opened.width * opened.height > _MAX_PIXELS:
                    raise InputError(_too_large(path, size))
                frames = getattr(opened, "n_frames", 1)
                if frames > 1:
                    notes.append(f"it has {frames} frames; the first was taken")
                # A JPEG's blocks can be decoded at an eighth, in a tenth of the time.
                opened.draft(None, least)
                opened.load()
                picture = ImageOps.exif_transpose(opened)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path, "larger than Pillow opens")) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is no picture that Pillow can read") from error
    except Exception as error:  # on damaged bytes Pillow's readers raise any kind
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read ({' '.join(reason.split())})"
        ) from error
    if picture.mode in (*_16_BIT, "I", "F"):
        return _from_wide(picture, path, notes), notes
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        ground = Image.new("RGBA", layers.size, "black" if black else "white")
        picture = Image.alpha_composite(ground, layers).convert("RGB")
        if np.asarray(layers)[..., 3].min() < 255:
            color = "black" if black else "white"
            notes.append(f"its transparent parts were taken for {color}")
    return picture, notes


def _too_large(path: Path, size: str) -> str:
    return f"{path}: is {size}; make it smaller than {_MAX_PIXELS:,} pixels"


def _from_wide(picture: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """Scales 16 bits to 8; Pillow would cut off what is above 255."""
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"{path}: holds numbers of 32 bits, whose black and white are not known; "
            "save it with 8 or 16 bits"
        )
    if values.max() < 4096:  # 12 bits in 16, or 8
        notes.append(f"its brightest pixel is {values.max():,} of 65,535: nearly black")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def _pad(picture: Image.Image, aspect: float) -> Image.Image:
    """Extends a picture to width / height `aspect` with its border's median colour."""
    width, height = picture.size
    size = max(width, round(height * aspect)), max(height, round(width / aspect))
    if size == picture.size:
        return picture
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    color = np.median(border, axis=0).astype(int).reshape(-1)
    fill = tuple(color.tolist()) if len(color) > 1 else int(color[0])
    return ImageOps.pad(picture, size, color=fill)
