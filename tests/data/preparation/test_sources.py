from pathlib import Path

import pytest

from alexnet_jax.data import image_folder
from alexnet_jax.data.preparation.sources import Files, ImageFile, Records
from alexnet_jax.errors import InputError
from tests.pictures import write_folder


@pytest.fixture
def files(tmp_path):
    """Twenty files of a byte and more, inside of one."""
    path = tmp_path / "all"
    path.write_bytes(bytes(range(210)))
    listed, offset = [], 0
    for index in range(20):
        listed.append(
            ImageFile(f"{index}.jpg", "ab"[index % 2], str(path), offset, index + 1)
        )
        offset += index + 1
    return listed


def test_files_are_read_in_place(files):
    source = Files.in_order("train", files)
    assert (len(source), source.num_bytes) == (20, 210)
    for name, label, content in source.read():
        index = int(name.removesuffix(".jpg"))
        assert label == "ab"[index % 2] and len(content) == index + 1
        assert content[0] == index * (index + 1) // 2


def test_their_order_depends_on_the_split_and_their_names(files):
    source = Files.in_order("train", files)
    assert Files.in_order("train", reversed(files)) == source
    assert Files.in_order("test", files) != source


def test_parts_make_up_the_whole(files):
    source = Files.in_order("train", files)
    parts = [source.part(0, 7), source.part(7, 20)]
    assert [example for part in parts for example in part.read()] == [*source.read()]
    assert sum(part.num_bytes for part in parts) == 210


def test_digests_differ_for_other_examples(files):
    digest = Files.in_order("train", files).digest()
    # As in version 0.1, whose unfinished preparations are continued.
    assert digest == "3d713f4385ca87da9673620a91705a2ab72355f17cc42dfc6fcfe46e61d2c256"
    assert Files.in_order("train", reversed(files)).digest() == digest
    others = [
        files[1:],
        [files[0]._replace(label="b"), *files[1:]],
        [files[0]._replace(size=9), *files[1:]],
        [files[0]._replace(mtime_ns=0), *files[1:]],
        [files[0]._replace(name="other.jpg"), *files[1:]],
    ]
    assert digest not in {Files.in_order("train", other).digest() for other in others}


def test_a_file_that_is_gone(files):
    source = Files.in_order("train", files)
    Path(files[0].path).unlink()
    with pytest.raises(InputError, match="data.manual_dir: .*all cannot be read .No"):
        list(source.read())


def test_records_that_are_damaged(tmp_path):
    folder = write_folder(tmp_path / "zoo", 3, 1)
    builder = image_folder.load(tmp_path / "data", str(folder), "fail")
    (path,) = Path(builder.data_path).glob("*train.array_record*")
    content = bytearray(path.read_bytes())
    content[1_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="data.data_dir: .* is damaged .*hash mism"):
        list(Records.of(builder, "train").read())


def test_records_are_those_of_a_prepared_copy(tmp_path):
    folder = write_folder(tmp_path / "zoo", 3, 1)
    builder = image_folder.load(tmp_path / "data", str(folder), "fail")
    source = Records.of(builder, "train")
    assert len(source) == 12
    names, labels, contents = zip(*source.read(), strict=True)
    names_in_files = ["cat", "dog", "eel"]
    for name, label, content in zip(names, labels, contents, strict=True):
        assert names_in_files[label] == name.partition("/")[0]
        if name.endswith(("1.jpg", "2.jpg")):  # neither CMYK nor PNG
            assert content == (folder / "train" / name).read_bytes()
    part = source.part(5, 9)
    assert [name for name, *_ in part.read()] == [*names[5:9]]
    assert [name for name, *_ in part.part(1, 3).read()] == [*names[6:8]]
    assert part.num_bytes == source.num_bytes * 4 // 12
