"""Images resized as torchvision and OpenCV do it."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data.preparation.jpeg import decode
from alexnet_jax.data.preparation.resizing import resize
from tests.pictures import picture, pixels

# Width and height: odd and even margins, portraits, one long side, smaller than 256.
SIZES = [
    *((341, 256), (256, 343), (344, 258), (500, 375), (375, 500), (401, 307)),
    *((259, 800), (90, 121), (1, 1), (3, 2), (257, 257), (700, 30), (31, 900)),
]


def central_224(image):
    """torchvision's `Resize(256)` and `CenterCrop(224)`, as their source has them."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new_short, new_long = 256, int(256 * long / short)
    size = (new_short, new_long) if width <= height else (new_long, new_short)
    if size != (width, height):
        image = image.resize(size, Image.Resampling.BILINEAR)
    width, height = image.size
    top, left = int(round((height - 224) / 2.0)), int(round((width - 224) / 2.0))
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_bilinear_is_torchvisions_to_the_byte(size, mode):
    content = picture(1, size, mode)
    wanted = central_224(Image.open(io.BytesIO(content)).convert("RGB"))
    found = decode(content, 256, "crop", way="bilinear")[16:240, 16:240]
    np.testing.assert_array_equal(found, wanted)


def test_bilinear_is_torchvisions_for_every_margin():
    for kind in range(2):
        for side in range(256, 300):
            image = Image.fromarray(np.arange(256 * side).astype(np.uint8))
            size = ((side, 256), (256, side))[kind]
            image = Image.frombytes("L", size, image.tobytes())
            found = resize(image, (256, 256), "crop", "bilinear")[16:240, 16:240]
            np.testing.assert_array_equal(found, central_224(image))


@pytest.mark.parametrize("size", [(9_000, 10), (10, 9_003)])
def test_bilinear_of_a_narrow_image_is_torchvisions_but_for_rounding(size):
    content = picture(1, size, kind="PNG")
    wanted = central_224(Image.fromarray(pixels(content))).astype(int)
    found = decode(content, 256, "crop", way="bilinear")[16:240, 16:240]
    assert np.abs(found - wanted).max() <= 1


def test_bilinear_covers_a_rectangle():
    for size in ((30, 90), (90, 30), (64, 64)):
        for wide in ((120, 40), (40, 121), (77, 77)):
            image = Image.fromarray(pixels(picture(1, wide)))
            factor = max(size[0] / image.height, size[1] / image.width)
            covering = int(image.width * factor + 1e-9), int(image.height * factor)
            whole = np.asarray(image.resize(covering, Image.Resampling.BILINEAR))
            top, left = (round((whole.shape[axis] - size[axis]) / 2) for axis in (0, 1))
            np.testing.assert_array_equal(
                resize(image, size, "crop", "bilinear"),
                whole[top:, left:][: size[0], : size[1]],
            )


def test_a_large_jpeg_is_decoded_whole():
    content = picture(2, (1200, 1000))
    whole = Image.fromarray(pixels(content))
    warped = whole.resize((64, 64), Image.Resampling.BILINEAR)
    found = decode(content, 64, "warp", way="bilinear")
    np.testing.assert_array_equal(found, np.asarray(warped))
    np.testing.assert_array_equal(
        decode(content, 64, "warp", way="opencv"),
        resize(whole, (64, 64), "warp", "opencv"),
    )


def formula(height, width):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(((37 * y * y + 91 * x + 13 * x * y) % 256).astype(np.uint8))


# What `cv2.resize` of OpenCV 5.0.0 makes of the formula's images.
OF_17_BY_23 = [
    *([159, 94, 187, 105, 66, 124], [143, 111, 62, 141, 194, 111]),
    *([84, 64, 43, 44, 66, 88], [134, 108, 159, 95, 30, 120]),
    [162, 62, 167, 33, 121, 226],
]
OF_4_BY_3 = [
    *([0, 5, 40, 74, 108, 142, 176, 182], [13, 19, 55, 91, 127, 162, 198, 204]),
    *([34, 41, 79, 118, 157, 195, 234, 240], [93, 91, 85, 78, 96, 137, 179, 186]),
    *([143, 135, 90, 46, 42, 79, 116, 123], [102, 104, 117, 130, 129, 114, 99, 97]),
    [77, 85, 134, 182, 183, 136, 89, 81],
]


@pytest.mark.parametrize(
    ("size", "wanted"), [((17, 23), OF_17_BY_23), ((4, 3), OF_4_BY_3)]
)
def test_opencvs_numbers(size, wanted):
    wanted = np.array(wanted)
    found = resize(formula(*size), wanted.shape, "warp", "opencv")
    np.testing.assert_array_equal(found, wanted)


def four_neighbors(image, height, width):
    """Bilinear between pixels' centers, without antialiasing, in floats."""
    pixels = np.asarray(image).astype(float)
    axes = []
    for old, new in zip(pixels.shape, (height, width), strict=False):
        place = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        low = np.floor(place).astype(int)
        axes.append((low, np.minimum(low + 1, old - 1), place - low))
    (top, bottom, y), (left, right, x) = axes
    y, x = (y[:, None, None], x[:, None])
    upper, lower = (
        pixels[rows][:, left] * (1 - x) + pixels[rows][:, right] * x
        for rows in (top, bottom)
    )
    return upper * (1 - y) + lower * y


@pytest.mark.parametrize("size", SIZES)
def test_opencv_takes_four_neighbors(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(noise)
    found = resize(image, (256, 256), "warp", "opencv")
    error = found - four_neighbors(image, 256, 256)
    assert np.abs(error).max() < 1 and abs(error.mean()) < 0.2  # it drops bits
    covered = resize(image, (60, 32), "crop", "opencv")
    factor = max(60 / image.height, 32 / image.width)
    height, width = round(image.height * factor), round(image.width * factor)
    whole = resize(image, (height, width), "warp", "opencv")
    top, left = (height - 60) // 2, (width - 32) // 2
    np.testing.assert_array_equal(covered, whole[top:, left:][:60, :32])


@pytest.mark.parametrize("size", SIZES)
def test_opencv_itself(size):
    cv2 = pytest.importorskip("cv2")
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = resize(Image.fromarray(noise), (256, 256), "warp", "opencv")
    wanted = cv2.resize(noise, (256, 256), interpolation=cv2.INTER_LINEAR)
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_a_row_of_pixels_takes_no_memory():
    for size in ((1_000_000, 1), (1, 1_000_000)):
        image = Image.new("L", size, 7)
        for way in ("bicubic", "bilinear", "opencv"):
            for fit in ("crop", "warp"):
                assert (resize(image, (32, 40), fit, way) == 7).all()
