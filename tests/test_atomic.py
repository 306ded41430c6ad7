import pytest

from alexnet_jax.atomic import atomic_write


def test_a_file_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with atomic_write(path) as part:
        part.write_bytes(b"half")
        assert path.read_text() == "old"
        part.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        atomic_write(tmp_path / "gone" / "file") as part,
    ):
        part.touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "folder") as part:
        part.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
