"""Damaged checkpoints are moved aside before a run goes on."""

import shutil
from pathlib import Path

from alexnet_jax.atomic import move_aside, real_folder, remove_unfinished
from alexnet_jax.errors import InputError
from alexnet_jax.run.checksums import (
    find_fault,
    find_missing_arrays,
    has_checksums,
    is_step,
    read_checksums,
    step_folders,
    write_checksums,
)
from alexnet_jax.run.weights import load_arrays


def quarantine_damaged(folder: Path) -> None:
    """Moves damaged checkpoints to `damaged/` beside `folder`, with a warning for each.

    A checkpoint without checksums was never written to its end. One whose checksums
    cannot be read gets new ones, if no other is intact and its arrays can be read.

    Raises:
      InputError: None is intact, though one was written to its end; nothing was moved.
    """
    if not folder.is_dir():
        return
    _remove_unfinished(folder)
    for path in sorted(folder.iterdir()):
        if not is_step(path) and not path.name.startswith("."):
            print(f"warning   {path} is no checkpoint; left alone")
    faults = {step: find_fault(path) for step, path in step_folders(folder).items()}
    damaged = {step: fault for step, fault in faults.items() if fault is not None}
    if damaged and len(damaged) == len(faults):
        rescued = _rescue(folder, damaged)
        damaged = {
            step: fault for step, fault in damaged.items() if step not in rescued
        }
    for step, fault in damaged.items():
        place = set_aside(folder / str(step))
        print(f"warning   checkpoint of step {step}: {fault}; moved to {place}")
    if damaged and len(damaged) == len(faults):
        print("warning   no checkpoint is left: the run starts at step 0")


def set_aside(path: Path) -> Path:
    """Moves what is in `checkpoints/` to `damaged/` beside it; returns its new path."""
    return move_aside(path, real_folder(path.parents[1] / "damaged"))


def _remove_unfinished(folder: Path) -> None:
    remove_unfinished(folder)
    for path in folder.glob("*.orbax-checkpoint-tmp*"):  # of earlier versions
        shutil.rmtree(path, ignore_errors=True)


def _rescue(folder: Path, damaged: dict[int, str]) -> set[int]:
    """Writes new checksums for checkpoints whose arrays can be read; returns the steps.

    Raises:
      InputError: There are none, and one that was written to its end is damaged.
    """
    written = [step for step in damaged if has_checksums(folder / str(step))]
    rescued = set()
    for step in written:
        path = folder / str(step)
        if read_checksums(path) is None and _can_be_read(path):
            write_checksums(path, None)
            rescued.add(step)
            print(
                f"warning   checkpoint of step {step}: {damaged[step]}; its arrays "
                "could be read and got new ones, which show no damage of before"
            )
    if written and not rescued:
        listed = "; ".join(f"step {step}: {fault}" for step, fault in damaged.items())
        raise InputError(
            f"checkpoint: none in {folder} is intact ({listed}); nothing was changed; "
            "restore the files, or choose another --workdir to start over"
        )
    return rescued


def _can_be_read(folder: Path) -> bool:
    try:
        load_arrays(folder)
    except Exception:  # Orbax and TensorStore raise any kind
        return False
    return find_missing_arrays(folder) is None
