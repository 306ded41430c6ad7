"""Picture files of any kind, converted to images like those of a data set."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from alexnet_jax.atomic import is_unfinished
from alexnet_jax.data.decoding import (
    BrokenImage,
    broken_images,
    count_frames,
    read_pixels,
)
from alexnet_jax.data.image_files import MAX_PIXELS, is_hidden, open_file
from alexnet_jax.data.preparation.jpeg import decode_file
from alexnet_jax.data.preparation.workers import count_cores
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError

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


def list_files(paths: list[Path], key: str = "IMAGE") -> list[Path]:
    """Returns the files, and what is below the folders, in order.

    Of a folder also what cannot be read, such as a link to nowhere or a FIFO, so that
    it is named. Left out are hidden files and folders, what a killed process of ours
    left half written, and linked folders, which may be a loop.

    Args:
      paths: Files and folders.
      key: What an error calls them.

    Raises:
      InputError: There are none, or a folder cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):
            found += sorted(_walk(path, key))
        else:
            found.append(path)
    if not found:
        raise InputError(f"{key}: {', '.join(map(str, paths))} contains no files")
    return found


def _walk(folder: Path, key: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(
            f"{key}: {error.filename} cannot be read ({error.strerror})"
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = filter(_is_shown, folders)
        yield from (Path(place, name) for name in filter(_is_shown, names))


def _is_shown(name: str) -> bool:
    return not is_hidden(name) and not is_unfinished(name)


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


def read_picture(
    path: Path,
    spec: DataSpec,
    invert: bool = False,
    fit: str = "crop",
    way: str = "bicubic",
) -> Picture:
    """Reads a picture file as an image like those of a data set.

    A picture for a data set of files takes the way of its training images to the letter
    (`jpeg.decode`). For a data set of images of one size it is decoded in the same way
    and resized to them. If these show objects on black, as Fashion-MNIST does, the
    whole picture is kept: it is padded to the data's aspect ratio with the color of its
    border, and transparent parts become black. Otherwise its center is cropped, and
    transparent parts become white.

    Args:
      path: A regular file in one of `image_files.FORMATS`.
      spec: The data set.
      invert: Whether to invert light and dark.
      fit: `config.data.fit`, of a data set of files.
      way: `config.data.resize`, likewise.

    Raises:
      InputError: The path is no regular file; the file is not a picture, is damaged or
        too large, or has pixels of unknown range.
    """
    size, channels = spec.image_shape[:2], spec.image_shape[-1]
    with _named_errors(path), open_file(path) as file:
        if spec.streamed:
            image, notes = decode_file(file, size, fit, channels, way)
        else:
            image, notes = _fit(file, spec)
        if (frames := count_frames(file)) > 1:
            notes = (f"it has {frames} frames; the first is used", *notes)
    if invert:
        image = 255 - image
    if not spec.streamed and has_dark_background(spec.statistics.mean_image):
        corners, middle = _corners_and_middle(image)
        # So are 18 of Fashion-MNIST's 60,000 training images, and all inverted ones.
        if corners > min(middle, 127):
            reason = (
                "its background is brighter than its object, while the training images "
                "show bright objects on black: the prediction is unreliable; try "
                + ("without --invert" if invert else "--invert")
            )
            notes = (*notes, reason)
    return Picture(image, notes)


def read_pictures(
    paths: Sequence[Path],
    spec: DataSpec,
    invert: bool = False,
    fit: str = "crop",
    way: str = "bicubic",
    *,
    ahead: int = 64,
) -> Iterator[tuple[Path, Picture | InputError]]:
    """Yields what `read_picture` makes of files, or raises on them; in order.

    Threads decode, which Pillow lets run beside each other and beside the device.

    Args:
      paths: The files.
      spec: As in `read_picture`.
      invert: As in `read_picture`.
      fit: As in `read_picture`.
      way: As in `read_picture`.
      ahead: How many pictures are held in memory, at most.
    """

    def read(path: Path) -> Picture | InputError:
        try:
            return read_picture(path, spec, invert, fit, way)
        except InputError as error:
            return error

    rest = iter(paths)
    pool = ThreadPoolExecutor(count_cores())
    try:
        waiting: deque[tuple[Path, Future]] = deque()
        for path in islice(rest, ahead):
            waiting.append((path, pool.submit(read, path)))
        while waiting:
            path, found = waiting.popleft()
            yield path, found.result()
            for later in islice(rest, 1):
                waiting.append((later, pool.submit(read, later)))
    finally:
        pool.shutdown(cancel_futures=True)


def _fit(file: IO[bytes], spec: DataSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decodes a file to the size of a data set's images, which all have one."""
    dark = has_dark_background(spec.statistics.mean_image)
    height, width, channels = spec.image_shape
    picture, notes = read_pixels(
        file,
        least=(4 * height, 4 * width),
        background="black" if dark else "white",
    )
    mode = "L" if channels == 1 else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if dark:
        picture = _pad(picture, (width, height))
    picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(height, width, channels), notes


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turns whatever is raised on a file into a line."""
    try:
        with broken_images():
            yield
    except BrokenImage as error:
        raise InputError(f"{path}: {error.line}") from error
    except MemoryError as error:  # the other files may be smaller
        raise InputError(f"{path}: cannot be read (too little memory)") from error


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
    if size[0] * size[1] > MAX_PIXELS:
        exact = width * shape[0] / size[0], height * shape[1] / size[1]
        kept = max(1, round(exact[0])), max(1, round(exact[1]))
        picture, size = picture.resize(kept, Image.Resampling.BICUBIC), shape
        # Less than a pixel is a pixel of less.
        empty = Image.new(picture.mode, kept, fill)
        picture = Image.blend(empty, picture, min(1.0, *exact))
    return ImageOps.pad(picture, size, color=fill)
