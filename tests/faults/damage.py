"""Damage to every file that a run leaves."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

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
_OF_CONTENT = ("truncated", "flipped bit", "emptied")  # no harm to an empty file
# They are written anew whatever is in them, without a warning; or, as an archive, have
# bytes that nobody reads.
_REWRITTEN = re.compile(r"\.lock|curves\.png|tensorboard/.*|statistics\.npz")


def empty_folder(path: Path) -> None:
    """Empties a folder."""
    shutil.rmtree(path)
    path.mkdir()


def damage_files(campaign: Campaign) -> None:
    """Each kind of damage to each file of a run but for older checkpoints."""
    template = campaign.folder / "template"
    campaign.finish(template, "--config.num_train_steps=24")
    stranger = campaign.folder / "stranger.txt"
    stranger.write_text("not the run's")

    def to_link(path: Path) -> None:
        path.unlink()
        path.symlink_to(stranger)

    kinds = KINDS | {"replaced by a link": to_link}
    newest = Path("checkpoints", "24")
    files = [
        path.relative_to(template)
        for path in sorted(template.rglob("*"))
        if path.is_file()
    ]
    files = [
        name
        for name in files
        if name.parts[0] != "checkpoints" or name.is_relative_to(newest)
    ]

    def live(case: tuple[str, Path]) -> None:
        kind, name = case
        workdir = campaign.folder / f"{kind} {name}".replace("/", "-")
        shutil.copytree(template, workdir)
        kinds[kind](workdir / name)
        text = campaign.finish(workdir)
        warnings = [line for line in text.splitlines() if line.startswith("warning ")]
        if name.is_relative_to(newest):
            assert "warning   checkpoint of step 24: " in text, (case, text)
            assert "resuming  at step 16 of 30" in text, (case, text)
            assert (workdir / "damaged" / "24").is_dir()
        else:
            assert "resuming  at step 24 of 30" in text, (case, text)
            assert _REWRITTEN.fullmatch(str(name)) or warnings, (case, text)
        campaign.check_whole(workdir, told=text)
        assert stranger.read_text() == "not the run's", case
        shutil.rmtree(workdir)

    for kind in kinds:
        cases = [
            (kind, name)
            for name in files
            if (template / name).stat().st_size or kind not in _OF_CONTENT
        ]
        two_at_a_time(live, cases)
        row = (f"{kind}: each file", len(cases), "went on; ended bit for bit")
        campaign.rows.append(row)


def empty_newest(campaign: Campaign) -> None:
    """The folder of the newest checkpoint is emptied."""
    workdir = campaign.folder / "emptied"
    campaign.finish(workdir, "--config.num_train_steps=24")
    empty_folder(workdir / "checkpoints" / "24")
    text = campaign.finish(workdir)
    assert "warning   checkpoint of step 24: its folder is empty" in text, text
    assert "resuming  at step 16 of 30" in text, text
    campaign.check_whole(workdir)
    row = ("emptied folder: the newest checkpoint", 1, "went on; ended bit for bit")
    campaign.rows.append(row)
