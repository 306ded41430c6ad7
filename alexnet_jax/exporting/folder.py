"""The folder of an export: what may be replaced in it, and all of it at once."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.atomic import atomic_files, is_made_by, remove_unfinished
from alexnet_jax.data.spec import DATA_FILE, STATISTICS_FILE
from alexnet_jax.errors import InputError, RunError

CARD = "README.md"
_MAKER = "alexnet_jax.export"
MARK = (
    f"<!-- Written by python -m {_MAKER}, which replaces it; without this "
    "line it does not. -->"
)
MODEL_FILES = {
    "safetensors": ("model.safetensors",),
    "torch": ("model.pth", "network.py"),
    "onnx": ("model.onnx",),
    "stablehlo": ("model.stablehlo",),
}
# Of formats that have no room for them in the model's file.
BESIDE_FILES = {"torch": (DATA_FILE, STATISTICS_FILE)}
OTHER_FILES = (CARD, "config.json", "preprocessing.json", "mean_image.npy")


def check_place(folder: Path, form: str) -> None:
    """Checks that a folder has nothing in it that an export would spoil.

    Args:
      folder: Absolute; it may be missing.
      form: A key of `MODEL_FILES`.

    Raises:
      InputError: It is no folder, is a run's or within its checkpoints, holds files of
        these names that no export wrote, or another format's.
    """
    _refuse_runs(folder)
    if not folder.is_dir():
        if folder.exists() or folder.is_symlink():
            raise InputError(
                f"--to: {folder} is no folder; choose another one, or remove it"
            )
        return
    found = {path.name: path for path in folder.iterdir()}
    names = {*found}
    ours = names & {*MODEL_FILES[form], *BESIDE_FILES.get(form, ()), *OTHER_FILES}
    if ours and not is_made_by(folder / CARD, _MAKER):
        raise InputError(
            f"--to: {folder} holds {', '.join(sorted(ours))}, which no export wrote; "
            "choose another folder"
        )
    folders = [name for name in sorted(ours) if found[name].is_dir()]
    if folders:
        raise InputError(
            f"--to: {folder} holds a folder {folders[0]}, in place of a file of the "
            "export; rename it, or choose another folder"
        )
    for other, files in MODEL_FILES.items():
        if other != form and names & {*files}:
            raise InputError(
                f"--to: {folder} holds {', '.join(sorted(names & {*files}))} of an "
                f"export as {other}; choose a folder for each format"
            )


def _refuse_runs(folder: Path) -> None:
    """Checks that a folder is no run's, nor one that a run keeps for itself.

    Raises:
      InputError: It is.
    """
    place = folder.resolve()
    if place == Path(place.anchor):
        raise InputError(f"--to: {folder} is the root; choose a folder in it")
    for run in (place, *place.parents):
        checkpoints = run / "checkpoints"
        is_within = checkpoints in (place, *place.parents)
        if (run == place or is_within) and _has_checkpoints(checkpoints):
            raise InputError(
                f"--to: {folder} is a run's own; choose another folder, such as "
                f"{run / 'export'}"
            )


def _has_checkpoints(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    is_new = (folder.parent / "config.json").exists()
    return is_new or any(path.name.isdecimal() for path in folder.iterdir())


@contextlib.contextmanager
def export_folder(folder: Path, form: str) -> Iterator[Path]:
    """Makes or replaces an export when all of it is whole and was checked.

    Args:
      folder: Absolute.
      form: A key of `MODEL_FILES`.

    Yields:
      An empty folder, to be filled within the context.

    Raises:
      InputError: As of `check_place`; or the folder cannot be made.
      RunError: The files cannot be written; then nothing was changed.
    """
    check_place(folder, form)
    made = [path for path in folder.parents if not path.exists()]
    try:
        with _named_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.is_dir():
                remove_unfinished(folder, of="files")
            remove_unfinished(folder.parent, of=folder.name)
            with atomic_files(folder) as part:
                yield part
                check_place(folder, form)  # once more, as others may have written
                stale = {*OTHER_FILES} - {path.name for path in part.iterdir()}
            for name in stale:  # of the last export
                (folder / name).unlink(missing_ok=True)
    except BaseException:
        for path in made:  # the innermost first
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


@contextlib.contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # of standard output
            raise
        raise RunError(
            f"--to: {folder} cannot be written ({error.strerror or error}); make room, "
            "or choose another folder"
        ) from error
