"""What is opened as a picture at all, and how much memory it may take."""

import contextlib
import io
import os
import resource
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from alexnet_jax.atomic import atomic_folder, atomic_write
from alexnet_jax.data import DataSpec
from alexnet_jax.data.decoding import BrokenImage
from alexnet_jax.data.image_files import FORMATS, open_file
from alexnet_jax.data.pictures import list_files, read_picture
from alexnet_jax.data.preparation.jpeg import as_jpeg, as_stored, decode, shrink
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError


def make_spec(shape, dark):
    height, width, _ = shape
    image = np.full((2, *shape), 0 if dark else 120, np.uint8)
    rows, columns = (slice(n // 4, n - n // 4) for n in (height, width))
    image[:, rows, columns] = 130
    return DataSpec("made up 1.0.0", ("a", "b"), shape, lambda: measure([image]))


SPECS = {
    "gray on black": make_spec((28, 28, 1), dark=True),
    "color on black": make_spec((64, 64, 3), dark=True),
    "photographs": make_spec((256, 256, 3), dark=False),
}
# Of an image file's content.
READERS = {
    "crop": lambda content: decode(content, 256, "crop"),
    "warp": lambda content: decode(content, 256, "warp"),
    "shrink": lambda content: shrink(content, 256, 85),
    "as_stored": as_stored,
    "as_jpeg": as_jpeg,
}


def bomb(width, height, kind=0, bits=8):
    """Returns a PNG of one color: of a row after another, a few hundred bytes."""
    channels = {0: 1, 2: 3, 6: 4}[kind]
    row = b"\0" * (1 + -(-width * channels * bits // 8))
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class TestNarrow:
    SIZES = ((4_000, 1), (1, 4_000), (100_000, 1), (1, 100_000), (3, 60_000))

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("spec", SPECS)
    def test_pictures(self, spec, size, tmp_path):
        path = tmp_path / "narrow.png"
        path.write_bytes(bomb(*size, kind=2))
        before = peak_mb()
        image, _ = read_picture(path, SPECS[spec])
        assert image.shape == SPECS[spec].image_shape and not image.any()
        assert peak_mb() - before < 500

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("reader", READERS)
    def test_training_images(self, reader, size):
        before = peak_mb()
        READERS[reader](bomb(*size, kind=2))
        assert peak_mb() - before < 300

    @pytest.mark.parametrize("size", [(40, 1100), (1100, 40), (7, 900), (900, 7)])
    def test_the_middle_is_that_of_the_whole(self, size):
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (*size[::-1], 3), np.uint8)
        image, file = Image.fromarray(pixels), io.BytesIO()
        image.save(file, "PNG")
        factor = 32 / min(size)
        target = [round(side * factor) for side in size]
        whole = image.resize(target, Image.Resampling.BICUBIC)
        left, top = (whole.width - 32) // 2, (whole.height - 32) // 2
        expected = np.asarray(whole)[top : top + 32, left : left + 32]
        found = decode(file.getvalue(), 32, "crop")
        assert np.abs(found.astype(int) - expected).max() <= 1
        whole = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
        found = decode(file.getvalue(), 32, "warp")
        assert np.abs(found.astype(int) - whole).max() <= 1

    def test_one_on_black_is_padded_as_ever(self, tmp_path):
        """The short way to the padded picture, which only a narrow one goes."""
        pixels = np.zeros((40, 4_000), np.uint8)
        pixels[:, 1_900:2_100] = 200
        path = tmp_path / "narrow.png"
        Image.fromarray(pixels).save(path)
        expected = read_picture(path, SPECS["gray on black"]).image
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("alexnet_jax.data.pictures.MAX_PIXELS", 4_000 * 3_999)
            found = read_picture(path, SPECS["gray on black"]).image
        assert expected.any() and found.any()
        assert abs(int(found.sum()) - int(expected.sum())) < expected.sum() / 4


class TestBombs:
    @pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 10_000)])
    def test_too_many_pixels(self, size, tmp_path):
        content = bomb(*size, bits=1)
        path = tmp_path / "bomb.png"
        path.write_bytes(content)
        before = peak_mb()
        for spec in SPECS.values():
            with pytest.raises(InputError, match="make it smaller than 100,000,000"):
                read_picture(path, spec)
        for reader in READERS.values():
            with pytest.raises(BrokenImage, match="pixels"):
                reader(content)
        assert peak_mb() - before < 100

    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "BMP"])
    def test_a_header_of_other_formats_that_promises_too_much(self, kind, tmp_path):
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, kind)
        content = bytearray(file.getvalue())
        huge = 16_383 if kind == "WEBP" else 60_000
        width = {
            "GIF": (6, "<HH", 2),
            "BMP": (18, "<ii", 2),
            "WEBP": (26, "<HH", 2),
            "TIFF": (None, "<II", 2),
        }[kind]
        if kind == "TIFF":
            for tag in (256, 257):  # width and height, one value of a long or a short
                place = content.index(struct.pack("<HHI", tag, 4, 1))
                content[place + 8 : place + 12] = struct.pack("<I", huge)
        else:
            place, form, _ = width
            struct.pack_into(form, content, place, huge, huge)
        path = tmp_path / f"bomb.{kind.lower()}"
        path.write_bytes(content)
        before = peak_mb()
        with pytest.raises(InputError) as error:
            read_picture(path, SPECS["photographs"])
        assert "\n" not in str(error.value) and str(path) in str(error.value)
        with pytest.raises(BrokenImage):
            decode(bytes(content), 64, "crop")
        assert peak_mb() - before < 300


class TestFormats:
    def test_those_that_are_documented(self, tmp_path):
        image = Image.new("RGB", (30, 30), "white")
        for kind in FORMATS:
            path = tmp_path / f"a.{kind.lower()}"
            image.save(path, kind)
            assert read_picture(path, SPECS["photographs"]).image.shape[0] == 256
            assert decode(path.read_bytes(), 16, "crop").shape == (16, 16, 3)
            assert as_stored(path.read_bytes())[:2] in (b"\xff\xd8", b"\x89P")
            assert as_jpeg(path.read_bytes())[:2] == b"\xff\xd8"

    @pytest.mark.parametrize("kind", ["EPS", "TGA", "PCX", "ICO", "JPEG2000", "SGI"])
    @pytest.mark.parametrize("name", ["a.jpg", "a.eps"])
    def test_no_others(self, kind, name, tmp_path, monkeypatch):
        path = tmp_path / name
        Image.new("RGB", (32, 32), "white").save(path, kind)
        monkeypatch.setattr("subprocess.check_call", None)  # Ghostscript
        expected = (
            "is not a picture that Pillow can read; save it in one of the formats"
        )
        with pytest.raises(InputError, match=f"{name}: {expected} JPEG, PNG, GIF"):
            read_picture(path, SPECS["photographs"])
        for reader in READERS.values():
            with pytest.raises(BrokenImage, match="cannot identify image file"):
                reader(path.read_bytes())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
class TestNoRegularFile:
    KINDS = ("FIFO", "socket", "device", "folder", "link to a FIFO", "dangling", "loop")

    @staticmethod
    def lay(kind, path, monkeypatch):
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            monkeypatch.chdir(path.parent)
            socket.socket(socket.AF_UNIX).bind(path.name)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        elif kind == "link to a FIFO":
            os.mkfifo(path.with_name("fifo"))
            path.symlink_to("fifo")
        else:
            path.symlink_to("nowhere" if kind == "dangling" else path.name)

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_named_at_once(self, kind, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        self.lay(kind, path, monkeypatch)
        with pytest.raises(InputError) as error:
            read_picture(path, SPECS["photographs"])
        line, word = str(error.value), kind.rpartition(" ")[2]
        reasons = {
            "dangling": "No such file or directory",
            "loop": "Too many levels of symbolic links",
        }
        reason = reasons.get(kind, f"it is a {word}, not a regular file")
        assert line == f"{path}: cannot be read ({reason})"

    @pytest.mark.parametrize("kind", KINDS)
    def test_in_a_folder_it_is_listed(self, kind, tmp_path, monkeypatch):
        """So that it is named; but folders are looked into, and linked ones not."""
        folder = tmp_path / "folder"
        folder.mkdir()
        self.lay(kind, folder / "a.png", monkeypatch)
        (folder / "b.png").touch()
        (folder / ".c.png").touch()
        (folder / "again").symlink_to(".")
        names = {"folder": ["b.png"], "link to a FIFO": ["a.png", "b.png", "fifo"]}
        wanted = names.get(kind, ["a.png", "b.png"])
        assert list_files([folder]) == [folder / name for name in wanted]

    def test_what_a_killed_process_left_is_no_picture(self, tmp_path):
        with (
            contextlib.suppress(KeyError),
            atomic_write(tmp_path / "f.npz") as part,
            atomic_folder(tmp_path / "data") as folder,
        ):
            folder.mkdir()
            (folder / "b.png").touch()
            (tmp_path / "c.tmp").touch()
            assert list_files([tmp_path]) == [tmp_path / "c.tmp"]
            assert list_files([part]) == [part]  # named, it is read
            raise KeyError

    def test_a_file_that_becomes_a_fifo_meanwhile(self, tmp_path, monkeypatch):
        path = tmp_path / "a"
        os.mkfifo(path)
        regular = os.stat(__file__)
        monkeypatch.setattr(os, "stat", lambda name, **_: regular)
        with pytest.raises(OSError, match="is no regular file"):
            open_file(path)

    def test_a_folder_that_cannot_be_listed(self, tmp_path, monkeypatch):
        def refuse(place):
            raise PermissionError(13, "Permission denied", place)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match="IMAGE: .* cannot be read .Permission"):
            list_files([tmp_path])


@pytest.mark.parametrize("name", SPECS)
def test_lab(name, tmp_path):
    """CIELAB, which Pillow converts by profiles alone."""
    Image.new("LAB", (60, 80), (137, 208, 195)).save(tmp_path / "red.tif")
    image = read_picture(tmp_path / "red.tif", SPECS[name]).image
    middle = image[len(image) // 2, image.shape[1] // 2].astype(int)
    if image.shape[-1] == 3:
        assert middle[0] > 200 and middle[1:].max() < 60
    else:
        assert 60 < middle[0] < 100


def test_whatever_pillow_raises_is_a_line(tmp_path, monkeypatch):
    Image.new("RGB", (60, 80)).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageOps, "fit", lambda *_: 1 / 0)
    with pytest.raises(InputError, match="a.png: cannot be read .division by zero"):
        read_picture(tmp_path / "a.png", SPECS["photographs"])
