"""Seals: the SHA-256 of each file of a checkpoint, written beside them.

Orbax restores a flipped byte as a wrong number and takes an emptied folder for the
newest checkpoint; a seal tells.
"""

import hashlib
import json
from pathlib import Path

from alexnet_jax.atomic import atomic_write
from alexnet_jax.errors import InputError

SEAL = "seal.json"


def step_folders(folder: Path) -> dict[int, Path]:
    """Returns the checkpoints in a folder, which may be missing, by step."""
    if not folder.is_dir():
        return {}
    found = {int(p.name): p for p in folder.iterdir() if p.name.isdigit()}
    return dict(sorted(found.items()))


def seal(folder: Path, seconds: float) -> None:
    """Writes down the SHA-256 of each file of a checkpoint.

    Args:
      folder: The finished checkpoint's.
      seconds: What its writing took.
    """
    files = {str(path.relative_to(folder)): _sha256(path) for path in files_of(folder)}
    with atomic_write(folder / SEAL) as part:
        part.write_text(json.dumps({"seconds": seconds, "sha256": files}, indent=1))


def files_of(folder: Path) -> list[Path]:
    """Returns the files below a folder, sorted."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_fault(folder: Path) -> str | None:
    """Says what is wrong with a checkpoint; None if each byte is as it was written."""
    if not any(folder.iterdir()):
        return "its folder is empty"
    if not (folder / SEAL).exists():
        return f"{SEAL} is missing, as after a kill while it was written"
    try:
        expected = json.loads((folder / SEAL).read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        return f"{SEAL} is damaged"
    for name, digest in expected.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _sha256(folder / name) != digest:
            return f"{name} is damaged"
    return None


def quarantine_damaged(folder: Path) -> None:
    """Moves damaged checkpoints to `damaged/` beside `folder`, with a warning for each.

    Raises:
      InputError: None is intact; nothing was moved.
    """
    faults = {step: find_fault(path) for step, path in step_folders(folder).items()}
    damaged = {step: fault for step, fault in faults.items() if fault is not None}
    if not damaged:
        return
    listed = "; ".join(f"step {step}: {fault}" for step, fault in damaged.items())
    if len(damaged) == len(faults):
        raise InputError(
            f"checkpoint: none in {folder} is intact ({listed}); nothing was changed; "
            "start afresh in another --workdir, or bring the files back"
        )
    aside = folder.parent / "damaged"
    aside.mkdir(exist_ok=True)
    for step, fault in damaged.items():
        place, number = aside / str(step), 1
        while place.exists():
            number += 1
            place = aside / f"{step}-{number}"
        (folder / str(step)).rename(place)
        print(f"warning   checkpoint of step {step}: {fault}; moved to {place}")
