"""Damage to every file that a run leaves."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from alexnet_jax.run.checksums import CHECKSUMS
from tests.faults.lives import Campaign, two_at_a_time


def truncate(path: Path) -> None:
    """Cuts a file in half."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Flips a bit in a file's middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80  # which no text holds
    path.write_bytes(content)


def empty(path: Path) -> None:
    """Empties a file."""
    path.write_bytes(b"")


def to_folder(path: Path) -> None:
    """Puts a folder in a file's place."""
    path.unlink()
    path.mkdir()


KINDS: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "flipped bit": flip,
    "emptied": empty,
    "deleted": Path.unlink,
    "replaced by a folder": to_folder,
}
LINK = "replaced by a link"  # to a file that is not the run's
_OF_CONTENT = ("truncated", "flipped bit", "emptied")  # no harm to an empty file
_OF_PLACE = ("deleted", "replaced by a folder", LINK)
# They are written anew whatever is in them, without a warning; or, as an archive, have
# bytes that nobody reads.
_REWRITTEN = re.compile(r"\.lock|curves\.png|tensorboard/.*|statistics\.npz")


def empty_folder(path: Path) -> None:
    """Empties a folder."""
    shutil.rmtree(path)
    path.mkdir()


def damage_files(campaign: Campaign, kind: str) -> None:
    """A kind of damage to files of a run but for older checkpoints.

    Of the files in which Orbax keeps a checkpoint's arrays, which have random names and
    differ in nothing that is looked at, one of each folder. Each file whose checksum is
    kept gets one of the three kinds that change content and one of the three others: to
    the checksum these are the same.
    """
    template = campaign.unfinished
    stranger = campaign.folder / f"stranger {kind}"
    stranger.write_text("not the run's")
    newest = Path("checkpoints", "24")
    files: dict[Path, Path] = {}
    for path in sorted(template.rglob("*")):
        name = path.relative_to(template)
        if path.is_file() and (
            name.parts[0] != "checkpoints" or name.is_relative_to(newest)
        ):
            files.setdefault(name.parent if name.parent.name == "d" else name, name)
    alike = _OF_CONTENT if kind in _OF_CONTENT else _OF_PLACE
    summed = [name for name in files.values() if name.is_relative_to(newest)]
    summed.remove(newest / CHECKSUMS)
    others = set(summed) - set(summed[alike.index(kind) :: len(alike)])

    def live(name: Path) -> None:
        workdir = campaign.folder / f"{kind} {name}".replace("/", "-")
        shutil.copytree(template, workdir)
        if kind == LINK:
            (workdir / name).unlink()
            (workdir / name).symlink_to(stranger)
        else:
            KINDS[kind](workdir / name)
        text = campaign.finish(workdir)
        warnings = [line for line in text.splitlines() if line.startswith("warning ")]
        if name.is_relative_to(newest):
            assert "warning   checkpoint of step 24: " in text, (kind, name, text)
            assert "resuming  at step 16 of 30" in text, (kind, name, text)
            assert (workdir / "damaged" / "24").is_dir()
        else:
            assert "resuming  at step 24 of 30" in text, (kind, name, text)
            assert _REWRITTEN.fullmatch(str(name)) or warnings, (kind, name, text)
        campaign.check_whole(workdir, told=text)
        assert stranger.read_text() == "not the run's", name
        shutil.rmtree(workdir)

    names = [
        name
        for name in files.values()
        if name not in others
        and ((template / name).stat().st_size or kind not in _OF_CONTENT)
    ]
    two_at_a_time(live, names)
    row = (f"{kind}: a file", len(names), "went on; ended bit for bit")
    campaign.rows.append(row)


def empty_newest(campaign: Campaign) -> None:
    """The folder of the newest checkpoint is emptied."""
    workdir = campaign.folder / "emptied"
    shutil.copytree(campaign.unfinished, workdir)
    empty_folder(workdir / "checkpoints" / "24")
    text = campaign.finish(workdir)
    assert "warning   checkpoint of step 24: its folder is empty" in text, text
    assert "resuming  at step 16 of 30" in text, text
    campaign.check_whole(workdir)
    shutil.rmtree(workdir)
    row = ("emptied folder: the newest checkpoint", 1, "went on; ended bit for bit")
    campaign.rows.append(row)
