import io
import itertools

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from alexnet_jax.data.decoding import BrokenImage
from alexnet_jax.data.preparation.jpeg import (
    Conversion,
    as_stored,
    decode,
    shrink,
)
from tests.pictures import picture, pixels


@pytest.mark.parametrize("size", [(341, 256), (256, 341), (256, 256)])
def test_a_short_side_of_the_right_length_is_only_cropped(size):
    content = picture(0, size)
    left, top = (size[0] - 256) // 2, (size[1] - 256) // 2
    expected = pixels(content)[top : top + 256, left : left + 256]
    np.testing.assert_array_equal(decode(content, 256, "crop"), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("fit", ["crop", "warp"])
def test_every_image_becomes_a_square(mode, fit):
    image = decode(picture(1, (60, 40), mode), 32, fit)
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8


@pytest.mark.parametrize("size", [(30, 90), (90, 30), (7, 91), (60, 60)])
@pytest.mark.parametrize("wide", [(120, 40), (40, 120), (1000, 3)])
def test_a_crop_is_covered_by_the_image(size, wide):
    """No more is cut off than must be, as much on both sides."""
    content = picture(1, wide, kind="PNG")
    whole = Image.fromarray(pixels(content))
    factor = max(size[0] / whole.height, size[1] / whole.width)
    target = round(whole.width * factor), round(whole.height * factor)
    resized = np.asarray(whole.resize(target, Image.Resampling.BICUBIC))
    top, left = (a - b for a, b in zip(resized.shape[:2], size, strict=True))
    assert min(top, left) == 0
    expected = resized[top // 2 :, left // 2 :][: size[0], : size[1]]
    found = decode(content, size, "crop")
    assert found.shape == (*size, 3)
    if max(target) <= 32 * max(size):
        np.testing.assert_array_equal(found, expected)
    warped = whole.resize(size[::-1], Image.Resampling.BICUBIC)
    error = decode(content, size, "warp").astype(int) - np.asarray(warped)
    assert np.abs(error).max() <= 1  # where the rows are resized in a second pass


def test_warping_shows_all_and_cropping_the_middle():
    # Black, white, black: a third of the width each.
    stripes = np.zeros((40, 120, 3), np.uint8)
    stripes[:, 40:80] = 255
    file = io.BytesIO()
    Image.fromarray(stripes).save(file, "PNG")
    assert decode(file.getvalue(), 30, "crop").mean() > 240
    warped = decode(file.getvalue(), 30, "warp")
    assert warped[:, :8].mean() < 15 and warped[:, -8:].mean() < 15
    assert warped.mean() == pytest.approx(255 / 3, abs=3)


def test_to_decode_a_large_image_at_half_its_size_changes_little(monkeypatch):
    content = picture(2, (1200, 1000))
    image = decode(content, 128, "crop").astype(int)
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *args: None)
    whole = decode(content, 128, "crop").astype(int)
    assert not np.array_equal(image, whole)  # it was
    assert np.abs(image - whole).max() <= 4


def test_shrinking():
    for size, expected in (((400, 300), (341, 256)), ((90, 120), (256, 341))):
        small = Image.open(io.BytesIO(shrink(picture(3, size, "CMYK"), 256, 85)))
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", expected)


def test_what_is_jpeg_or_png_stays_and_all_else_becomes_png():
    for mode, kind in itertools.product(("RGB", "L"), ("JPEG", "PNG")):
        content = picture(4, mode=mode, kind=kind)
        assert as_stored(content) is content
    for mode, kind in (("CMYK", "JPEG"), ("P", "PNG"), ("RGB", "BMP"), ("L", "TIFF")):
        content = picture(4, mode=mode, kind=kind)
        mended = as_stored(content)
        image = Image.open(io.BytesIO(mended))
        assert (image.format, image.mode) == ("PNG", "L" if mode == "L" else "RGB")
        np.testing.assert_array_equal(pixels(mended), pixels(content))


def test_a_truncated_png_is_found_at_once():
    with pytest.raises(BrokenImage, match="truncated"):
        as_stored(picture(4, kind="PNG")[:-200])


@pytest.mark.parametrize("content", [b"", b"no image", picture(5)[:-200]])
def test_broken_images(content):
    for function in (
        lambda: decode(content, 32, "crop"),
        lambda: shrink(content, 9, 9),
    ):
        with pytest.raises(BrokenImage) as error:
            function()
        assert str(error.value) and "\n" not in str(error.value)


def test_a_conversion_estimates_its_size():
    assert Conversion("as it is", bytes).estimate_bytes(10, 5_000) == 5_000
    smaller = Conversion("smaller", bytes, image_bytes=100)
    assert smaller.estimate_bytes(10, 5_000) == 1_000
    assert smaller.estimate_bytes(10, 500) == 500
