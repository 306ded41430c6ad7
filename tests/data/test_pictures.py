"""Picture files of every kind."""

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.config import default_config
from alexnet_jax.data import DataSpec, create_data
from alexnet_jax.data.pictures import has_dark_background, read_picture
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError


def make_spec(shape, dark):
    """A data set of bright squares on black, or of evenly gray images."""
    height, width, _ = shape
    image = np.full((2, *shape), 0 if dark else 120, np.uint8)
    rows, columns = (slice(n // 4, n - n // 4) for n in (height, width))
    image[:, rows, columns] = 130
    return DataSpec("made up 1.0.0", ("a", "b"), shape, lambda: measure([image]))


GREY, COLOR = make_spec((28, 28, 1), dark=True), make_spec((28, 28, 3), dark=False)


def save(path, array, **how):
    Image.fromarray(array).save(path, **how)
    return path


@pytest.fixture
def shirt():
    """A bright thing on black, `(28, 28)`."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 8:20] = np.arange(100, 220, 10, np.uint8)
    return image


def test_of_real_images_all_and_only_inverted_ones_are_noticed(data_dir, tmp_path):
    data = default_config().data
    data.name, data.data_dir = "digits", str(data_dir)
    digits = create_data(data, batch_size=9, eval_batch_size=9, seed=0)
    assert has_dark_background(digits.spec.statistics.mean_image)
    path = tmp_path / "a.png"
    for image in digits.test.image[:40, ..., 0]:
        assert not read_picture(save(path, image), digits.spec).notes
        assert read_picture(save(path, 255 - image), digits.spec).notes


def test_a_photograph_of_clothes_keeps_its_whole_height(shirt, tmp_path):
    """Dark on light, upright, in colour and large: as people photograph."""
    large = np.kron(255 - shirt, np.ones((10, 10), np.uint8))
    tall = np.pad(large, ((60, 60), (0, 0)), constant_values=255)
    path = save(tmp_path / "a.jpg", np.stack([tall] * 3, -1), quality=95)
    image, notes = read_picture(path, GREY)
    assert image.shape == (28, 28, 1) and len(notes) == 1
    image, notes = read_picture(path, GREY, invert=True)
    assert notes == () and image[[0, -1]].max() < 8 and image[:, [0, -1]].max() < 8
    rows = np.flatnonzero(image[:, 14, 0] > 60)
    assert len(rows) == round(20 * 28 / 40)  # shrunk, not cut


def test_a_photograph_for_photographs_is_cut_to_its_centre(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = (200, 100, 50)
    image, notes = read_picture(save(tmp_path / "a.png", wide), COLOR)
    assert notes == () and image.shape == (28, 28, 3)
    assert (np.abs(image[:, 2:-2].astype(int) - (200, 100, 50)) < 3).all()


def test_grey_and_colour_become_each_other(shirt, tmp_path):
    path = save(tmp_path / "grey.png", shirt)
    image, _ = read_picture(path, COLOR)
    assert (image == shirt[..., None]).all()
    red = np.zeros((28, 28, 3), np.uint8)
    red[8:20, 8:20] = (255, 0, 0)
    image, _ = read_picture(save(tmp_path / "red.png", red), GREY)
    assert image[14, 14, 0] == 76  # 0.299 of 255, ITU-R 601


def test_orientation_is_respected(shirt, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned by 90° clockwise
    picture = Image.fromarray(np.rot90(shirt))
    picture.save(tmp_path / "a.png", exif=exif)
    image, _ = read_picture(tmp_path / "a.png", GREY)
    np.testing.assert_array_equal(image[..., 0], shirt)


def test_sixteen_bits_are_not_cut_off(shirt, tmp_path):
    for name in ("a.png", "a.tiff"):
        path = save(tmp_path / name, shirt.astype(np.uint16) * 257)
        image, notes = read_picture(path, GREY)
        np.testing.assert_array_equal(image[..., 0], shirt)
        assert notes == ()
    path = save(tmp_path / "faint.png", shirt.astype(np.uint16))
    assert "its brightest pixel is 210 of 65,535" in read_picture(path, GREY).notes[0]
    for wide in (shirt.astype(np.int32) * 10**6, shirt.astype(np.float32)):
        with pytest.raises(InputError, match="32-bit pixels of unknown range"):
            read_picture(save(tmp_path / "a.tiff", wide), GREY)


def test_transparency_takes_the_colour_of_the_datas_ground(shirt, tmp_path):
    alpha = np.where(shirt > 0, 255, 0).astype(np.uint8)
    under = np.where(shirt > 0, shirt, 90).astype(np.uint8)
    path = save(tmp_path / "a.png", np.stack([under] * 3 + [alpha], -1))
    image, notes = read_picture(path, GREY)
    np.testing.assert_array_equal(image[..., 0], shirt)
    assert notes == ("its transparent parts became black",)
    image, notes = read_picture(path, COLOR)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert notes == ("its transparent parts became white",)
    opaque = np.stack([shirt, np.full_like(shirt, 255)], -1)
    assert read_picture(save(tmp_path / "a.png", opaque), GREY).notes == ()


def test_palettes_and_one_bit(shirt, tmp_path):
    Image.fromarray(shirt).convert("P").save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_picture(tmp_path / "a.png", GREY).image[..., 0], shirt
    )
    path = save(tmp_path / "b.png", shirt > 0)
    image, _ = read_picture(path, GREY)
    np.testing.assert_array_equal(image[..., 0], np.where(shirt > 0, 255, 0))


def test_of_an_animation_the_first_frame_is_taken_and_said(shirt, tmp_path):
    frames = [Image.fromarray(image) for image in (shirt, shirt[:, ::-1], shirt.T)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image, notes = read_picture(tmp_path / "a.gif", GREY)
    np.testing.assert_array_equal(image[..., 0], shirt)
    assert notes == ("it has 3 frames; the first is used",)


def test_what_is_no_picture(shirt, tmp_path, monkeypatch):
    def refused(name, line):
        with pytest.raises(InputError, match=line) as error:
            read_picture(tmp_path / name, GREY)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)

    (tmp_path / "text.png").write_text("no picture")
    refused("text.png", "is not a picture that Pillow can read")
    (tmp_path / "empty.png").touch()
    (tmp_path / "wide.tif").write_bytes(b"II*\0" + 99 * b"\0")
    refused("wide.tif", "it is a TIFF of a kind that is not read, such as with 64-bit")
    refused("empty.png", "is not a picture that Pillow can read")
    refused("gone.png", "cannot be read .No such file or directory")
    whole = save(tmp_path / "cut.jpg", np.kron(shirt, np.ones((9, 9), np.uint8)))
    whole.write_bytes(whole.read_bytes()[:800])
    refused("cut.jpg", "cannot be read .*truncated")
    monkeypatch.setattr("alexnet_jax.data.decoding.MAX_PIXELS", 28 * 28 - 1)
    save(tmp_path / "large.png", shirt)
    refused("large.png", "is 28×28; make it smaller than 783 pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    refused("large.png", "is larger than Pillow opens; make it smaller than 783")
