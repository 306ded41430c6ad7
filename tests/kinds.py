"""Image files of every kind that people have, each with the pixels that it shows."""

import io
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps

from alexnet_jax.data.image_files import FORMATS

WIDTH, HEIGHT = 44, 30
TURNS = range(1, 9)


def smooth(size=(WIDTH, HEIGHT)):
    """Returns `(h, w, 3) uint8` without any symmetry."""
    colors = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC))


COLOR = smooth()
GRAY = np.asarray(Image.fromarray(COLOR).convert("L"))
ALPHA = np.where(np.indices(GRAY.shape)[1] < 20, 0, 255).astype(np.uint8)
HALF = np.where(ALPHA == 0, 128, 255).astype(np.uint8)


def on(image, alpha=ALPHA, background=255):
    """Lays an image on a color."""
    weight = alpha.reshape(*alpha.shape, *[1] * (image.ndim - 2)) / 255
    return np.round(image * weight + background * (1 - weight)).astype(np.uint8)


def save(image, kind, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        file, kind, **options
    )
    return file.getvalue()


def png(width, height, bits, color_type, samples, *chunks):
    """Returns a PNG of samples that Pillow does not write: 16-bit colors, few bits."""
    data = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = (b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def turned(array, orientation):
    """Returns the pixels that are upright after EXIF's orientation is applied."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    image = Image.fromarray(array)
    image.getexif()[0x0112] = inverse
    return np.asarray(ImageOps.exif_transpose(image))


def _modes():
    """Yields kinds of PNG, GIF and BMP: name, content, pixels."""
    yield "rgb.png", save(COLOR, "PNG"), COLOR
    yield "gray.png", save(GRAY, "PNG"), GRAY
    yield "one_bit.png", save(GRAY > 99, "PNG"), np.where(GRAY > 99, 255, 0)
    palette = Image.fromarray(COLOR).quantize(32)
    flat = np.asarray(palette.convert("RGB"))
    yield "palette.png", save(palette, "PNG"), flat
    index = np.asarray(palette)
    key = int(index[0, 0])
    clear = on(flat, np.where(index == key, 0, 255).astype(np.uint8))
    yield "palette_key.png", save(palette, "PNG", transparency=key), clear
    levels = bytes([128] * 32)
    mixed = on(flat, np.full(GRAY.shape, 128, np.uint8))
    yield "palette_alpha.png", save(palette, "PNG", transparency=levels), mixed
    yield "palette.gif", save(palette, "GIF"), flat
    yield "key.gif", save(palette, "GIF", transparency=key), clear
    others = [Image.new("P", palette.size) for _ in range(2)]
    moving = save(palette, "GIF", save_all=True, append_images=others)
    yield "moving.gif", moving, flat
    yield "rgb.bmp", save(COLOR, "BMP"), COLOR
    yield "palette.bmp", save(palette, "BMP"), flat


def _transparent():
    for name, alpha in (("clear", ALPHA), ("half", HALF)):
        rgba = np.dstack([COLOR, alpha])
        yield f"{name}.png", save(rgba, "PNG"), on(COLOR, alpha)
        yield f"{name}_gray.png", save(np.dstack([GRAY, alpha]), "PNG"), on(GRAY, alpha)
        webp = save(rgba, "WEBP", lossless=True, exact=True)
        yield f"{name}.webp", webp, on(COLOR, alpha)
        yield f"{name}.tif", save(rgba, "TIFF"), on(COLOR, alpha)
    key = tuple(COLOR[3, 3].tolist())
    where = (key == COLOR).all(-1)
    yield (
        "key.png",
        save(COLOR, "PNG", transparency=key),
        np.where(where[..., None], 255, COLOR),
    )
    yield (
        "key_gray.png",
        save(GRAY, "PNG", transparency=int(GRAY[3, 3])),
        np.where(GRAY[3, 3] == GRAY, 255, GRAY),
    )


def _deep():
    """Yields kinds of more or fewer bits than eight."""
    wide = GRAY.astype(np.uint16) * 257
    yield "deep.png", save(wide, "PNG"), GRAY
    yield "deep.tif", save(wide, "TIFF"), GRAY
    yield "deep_big_endian.tif", save(Image.fromarray(wide.astype(">u2")), "TIFF"), GRAY
    yield "int.tif", save(wide.astype(np.int32), "TIFF"), GRAY
    yield "float.tif", save(GRAY.astype(np.float32) / 255, "TIFF"), GRAY
    key = int(wide[3, 3])
    keyed = np.where(wide == key, 255, GRAY)
    chunk = b"tRNS", struct.pack(">H", key)
    content = png(WIDTH, HEIGHT, 16, 0, wide.astype(">u2"), chunk)
    yield "deep_key.png", content, keyed
    deep = COLOR.astype(">u2") * 257
    yield "deep_rgb.png", png(WIDTH, HEIGHT, 16, 2, deep), COLOR
    where = (COLOR[3, 3] == COLOR).all(-1)[..., None]
    chunk = b"tRNS", deep[3, 3].tobytes()
    content = png(WIDTH, HEIGHT, 16, 2, deep, chunk)
    yield "deep_rgb_key.png", content, np.where(where, 255, COLOR)
    deep = np.dstack([COLOR, ALPHA]).astype(">u2") * 257
    yield "deep_alpha.png", png(WIDTH, HEIGHT, 16, 6, deep), on(COLOR)
    four = GRAY >> 4
    packed = (four[:, ::2] << 4) | four[:, 1::2]
    yield "four_bits.png", png(WIDTH, HEIGHT, 4, 0, packed), four * 17
    chunk = b"tRNS", struct.pack(">H", four[3, 3])
    content = png(WIDTH, HEIGHT, 4, 0, packed, chunk)
    yield "four_bits_key.png", content, np.where(four == four[3, 3], 255, four * 17)
    yield "gray.pgm", save(GRAY, "PPM"), GRAY
    yield "deep.pgm", b"P5 44 30 65535\n" + wide.astype(">u2").tobytes(), GRAY
    yield "rgb.ppm", save(COLOR, "PPM"), COLOR
    rows = (GRAY.astype("<f4") / 255)[::-1]
    yield "float.pfm", b"Pf\n44 30\n-1.0\n" + rows.tobytes(), GRAY
    negative = {"tiffinfo": {262: 0}}  # Pillow turns 8 bits over to write them
    yield "negative.tif", save(GRAY, "TIFF", **negative), GRAY
    yield "deep_negative.tif", save(wide, "TIFF", **negative), 255 - GRAY


def _turned():
    for orientation in TURNS:
        stored = turned(COLOR, orientation)
        tags = exif(orientation)
        yield f"turned_{orientation}.png", save(stored, "PNG", exif=tags), COLOR
        tiff = save(stored, "TIFF", tiffinfo={274: orientation})
        yield f"turned_{orientation}.tif", tiff, COLOR
        webp = save(stored, "WEBP", lossless=True, exif=tags)
        yield f"turned_{orientation}.webp", webp, COLOR
        content = save(stored, "JPEG", quality=95, exif=tags)
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        back = {6: 8, 8: 6}.get(orientation, orientation)
        yield f"turned_{orientation}.jpg", content, turned(pixels, back)


def _photographs():
    """Yields kinds of JPEG and its like: what Pillow decodes is what they show."""

    def shown(name, content):
        return name, content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    cmyk = Image.fromarray(COLOR).convert("CMYK")
    yield shown("rgb.jpg", save(COLOR, "JPEG"))
    yield shown("gray.jpg", save(GRAY, "JPEG"))
    yield shown("progressive.jpg", save(COLOR, "JPEG", progressive=True))
    yield shown("cmyk.jpg", save(cmyk, "JPEG"))
    yield shown("cmyk.tif", save(cmyk, "TIFF"))
    ycbcr = Image.fromarray(COLOR).convert("YCbCr")
    if int(PIL.__version__.partition(".")[0]) >= 13:  # others read none
        yield shown("ycbcr.tif", save(ycbcr, "TIFF"))
    yield shown("lossy.webp", save(COLOR, "WEBP"))
    more = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}
    both = save(Image.fromarray(COLOR), "MPO", **more)
    yield shown("two.jpg", both)
    more["append_images"] = [Image.new("RGB", (8, 8))]
    pages = save(Image.fromarray(COLOR), "TIFF", **more)
    yield shown("pages.tif", pages)
    lab = Image.new("LAB", (WIDTH, HEIGHT), (137, 208, 195))
    yield "lab.tif", save(lab, "TIFF"), None
    if "AVIF" in FORMATS:
        yield "rgb.avif", save(COLOR, "AVIF", quality=90), None
        yield "half.avif", save(np.dstack([COLOR, HALF]), "AVIF"), None
        yield "turned.avif", save(COLOR, "AVIF", exif=exif(6)), None
    # Large ones, of which a JPEG's decoder makes smaller ones.
    large = smooth((900, 700))
    yield "large.jpg", save(large, "JPEG"), None
    yield "large_turned.jpg", save(large, "JPEG", exif=exif(6)), None
    yield "large_gray.jpg", save(Image.fromarray(large).convert("L"), "JPEG"), None
    yield "large_cmyk.jpg", save(Image.fromarray(large).convert("CMYK"), "JPEG"), None
    yield "large.png", save(large, "PNG"), None
    yield "narrow.png", save(smooth((2_000, 3)), "PNG"), None


KINDS = {
    name: (content, pixels)
    for group in (_modes, _transparent, _deep, _turned, _photographs)
    for name, content, pixels in group()
}
