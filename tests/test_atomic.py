import errno
import os

import pytest

from alexnet_jax import atomic
from alexnet_jax.atomic import (
    atomic_files,
    atomic_folder,
    atomic_write,
    locked,
    move_aside,
    open_append,
    remove_folder,
    remove_unfinished,
    write_file,
)


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
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "gone" / "file", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "folder") as part:
        part.touch()
    with pytest.raises(OSError):
        write_file(tmp_path / "folder", "")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_link_is_replaced_and_never_followed(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    for write in (lambda: write_file(link, "new"), lambda: _written(link)):
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        with pytest.raises(OSError):
            open_append(link)
        write()
        assert not link.is_symlink() and link.read_text() == "new"
    assert victim.read_text() == "mine"


def _written(path):
    with atomic_write(path) as part:
        part.write_text("new")


def test_a_planted_name_is_not_written_through(tmp_path, monkeypatch):
    """Even if a temporary name could be known before."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda size: "0" * 16)
    planted = tmp_path / f"file.{'0' * 16}.tmp"
    for target in (victim, tmp_path / "nothing"):
        for write in (
            lambda: write_file(tmp_path / "file", "x"),
            lambda: _written(tmp_path / "file"),
        ):
            planted.unlink(missing_ok=True)
            planted.symlink_to(target)
            with pytest.raises(FileExistsError):
                write()
    assert victim.read_text() == "mine" and not (tmp_path / "nothing").exists()


def test_the_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_folder_appears_whole(tmp_path):
    with pytest.raises(ValueError), atomic_folder(tmp_path / "8") as part:
        part.mkdir()
        raise ValueError
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / "8") as part:
        part.mkdir()
        (part / "file").touch()
        assert not (tmp_path / "8").exists()
    assert [path.name for path in (tmp_path / "8").iterdir()] == ["file"]
    (tmp_path / "link").symlink_to(tmp_path / "8")
    remove_folder(tmp_path / "link")
    assert (tmp_path / "8" / "file").exists()
    remove_folder(tmp_path / "8")
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_is_removed(tmp_path):
    for name in ("config.json", "config.json.tmp", "a.0123456789abcdef.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "8.0123456789abcdef.tmp" / "8").mkdir(parents=True)
    others = {"8.npz.0123456789abcdef.tmp", "a.b.0123456789abcdef.tmp"}  # at work
    for name in others:
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, of="8")
    remove_unfinished(tmp_path, of="a")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"config.json", "config.json.tmp"} | others
    remove_unfinished(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"config.json", "config.json.tmp"}


def test_what_is_moved_aside_replaces_nothing(tmp_path):
    for number in range(2):
        (tmp_path / "file").write_text(str(number))
        move_aside(tmp_path / "file")
    assert (tmp_path / "file.damaged").read_text() == "0"
    assert (tmp_path / "file.damaged-2").read_text() == "1"


def test_a_lock_keeps_others_out_where_there_are_locks(tmp_path, monkeypatch, capsys):
    with (
        locked(tmp_path / "lock"),
        pytest.raises(BlockingIOError),
        locked(tmp_path / "lock"),
    ):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(OSError), locked(tmp_path / "link"):
        pass
    assert not (tmp_path / "nothing").exists() and capsys.readouterr().out == ""

    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        assert "cannot be locked (No locks available)" in capsys.readouterr().out


@pytest.mark.parametrize("is_new", [True, False])
def test_files_come_to_a_folder_together_or_not_at_all(is_new, tmp_path):
    folder = tmp_path / "a"
    if not is_new:
        folder.mkdir()
        (folder / "mine").write_text("mine")
        (folder / "one").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyError), atomic_files(folder) as part:
        (part / "one").write_text("half")
        raise KeyError
    assert sorted(tmp_path.rglob("*")) == before
    with atomic_files(folder) as part:
        for name in ("one", "two"):
            (part / name).write_text(name)
        assert not (folder / "two").exists()
    wanted = {"one": "one", "two": "two"} | ({} if is_new else {"mine": "mine"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == wanted
    assert {*tmp_path.iterdir()} == {folder}  # no link was written through


def test_a_folder_in_a_files_place_keeps_all_others(tmp_path):
    folder = tmp_path / "a"
    (folder / "two").mkdir(parents=True)
    (folder / "one").write_text("mine")
    with pytest.raises(IsADirectoryError), atomic_files(folder) as part:
        for name in ("one", "two"):
            (part / name).write_text(name)
    assert (folder / "one").read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {"one", "two"}


@pytest.mark.parametrize("is_new", [True, False])
def test_files_at_work_are_not_removed_as_unfinished(is_new, tmp_path):
    folder = tmp_path / "a"
    if not is_new:
        folder.mkdir()
    with atomic_files(folder) as part:
        (part / "one").write_text("one")
        remove_unfinished(part.parent)
        assert (part / "one").exists()
    assert [path.name for path in folder.iterdir()] == ["one"]


def test_files_come_together_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    for text in ("1", "2"):
        with atomic_files(tmp_path / "a") as part:
            (part / "one").write_text(text)
    (tmp_path / "8.0123456789abcdef.tmp").mkdir()
    remove_unfinished(tmp_path)
    assert (tmp_path / "a" / "one").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
