"""Image files: what is opened at all, and how."""

import importlib
import importlib.util
import logging
import os
import stat
import warnings
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from alexnet_jax.atomic import open_regular

# Those that Pillow decodes itself and people keep pictures in, with their suffixes. Of
# the others, EPS starts Ghostscript. JPEG stands for MPO too.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
}
_MISSING = {
    name
    for name, module in (("AVIF", "PIL._avif"), ("HEIF", "pillow_heif"))
    if importlib.util.find_spec(module) is None
}
# What can be opened here.
FORMATS = tuple(name for name in _SUFFIXES if name not in {"HEIF", *_MISSING})
SUFFIXES = tuple(
    suffix
    for name, suffixes in _SUFFIXES.items()
    if name not in _MISSING
    for suffix in suffixes
)
# Of pictures that cannot; a folder's listing names them, and leaves others out.
OTHER_SUFFIXES = (
    *(suffix for name in sorted(_MISSING) for suffix in _SUFFIXES[name]),
    *(".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".jxr", ".jls", ".svg", ".svgz", ".eps"),
    *(".psd", ".psb", ".xcf", ".kra", ".ai", ".pdf", ".tga", ".ico", ".cur", ".icns"),
    *(".pcx", ".dds", ".exr", ".hdr", ".qoi", ".xbm", ".xpm", ".sgi", ".rgb", ".dib"),
    # Of cameras.
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf"),
    *(".raf", ".rw2", ".pef", ".srw", ".raw", ".x3f", ".3fr", ".erf", ".kdc", ".mrw"),
    # Of measurements.
    *(".dcm", ".fits", ".fit", ".nii"),
)

HEIF_REMEDY = "pip install 'alexnet_jax[heif]'"
_HEIF_BRANDS = b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()

# Folders that archives and network drives leave behind.
_LITTER = frozenset(("__MACOSX", "@eaDir"))

MAX_PIXELS = 100_000_000  # of an image; Pillow's own limit is higher
MAX_BYTES = 1 << 30  # of a file

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What it logs of a damaged file, it also raises.
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def is_hidden(name: str) -> bool:
    """Whether a file or folder, by its name, is none that a user put there."""
    return name.startswith(".") or name in _LITTER


def open_image(file: IO[bytes]) -> Image.Image:
    """Opens an image of one of `FORMATS`, or of HEIF; nothing is decoded yet.

    Args:
      file: The image, at its beginning; not closed with it.

    Raises:
      OSError: It is in none of the formats, or HEIF's reader is not installed; other
        errors are Pillow's.
    """
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        start = file.read(12)
        if start[:4] in (b"II*\0", b"MM\0*"):
            raise OSError(
                "it is a TIFF of a kind that is not read, such as with 64-bit floats; "
                "save it with 8 or 16 bits"
            ) from None
        if start[4:8] != b"ftyp" or start[8:] not in _HEIF_BRANDS:
            raise
    if "HEIF" in _MISSING:
        raise OSError(f"it is HEIC, which pillow-heif reads: {HEIF_REMEDY}")
    importlib.import_module("pillow_heif").register_heif_opener()
    file.seek(0)
    return Image.open(file, formats=("HEIF",))


def open_file(path: Path | str) -> IO[bytes]:
    """Opens a regular file to read; never waits, as for a FIFO's writer.

    Raises:
      OSError: It cannot be opened, is no regular file, or is larger than `MAX_BYTES`.
    """
    stat_file(path)  # to open a device may already do something
    return open_regular(Path(path))


def stat_file(path: Path | str) -> os.stat_result:
    """Returns size and times of a regular file.

    Raises:
      OSError: As of `open_file`.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"it is {_kind(found.st_mode)}, not a regular file")
    if found.st_size > MAX_BYTES:
        raise OSError(f"it has {found.st_size:,} bytes, more than {MAX_BYTES:,}")
    return found


def as_utf8(name: Path | str) -> str:
    """Returns a file's name in UTF-8, with backslashes where it is in another code."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
