"""The folder of an export: what may be replaced in it, and all of it at once."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.atomic import atomic_files, read_regular, remove_unfinished
from alexnet_jax.errors import InputError, RunError

CARD = "README.md"
MARK = (
    "<!-- Written by python -m alexnet_jax.export, which replaces it; without this "
    "line it does not. -->"
)
MODEL_FILES = {
    "safetensors": ("model.safetensors",),
    "torch": ("model.pth", "network.py"),
    "onnx": ("model.onnx",),
    "stablehlo": ("model.stablehlo",),
}
OTHER_FILES = (CARD, "config.json", "preprocessing.json", "mean_image.npy")


def check_place(folder: Path, form: str) -> None:
    """Checks that a folder has nothing in it that an export would spoil.

    Args:
      folder: Absolute; it may be missing.
      form: A key of `MODEL_FILES`.

    Raises:
      InputError: It is no folder, holds files of these names that no export wrote, or
        another format's.
    """
    if not folder.is_dir():
        if folder.exists() or folder.is_symlink():
            raise InputError(
                f"--to: {folder} is no folder; choose another one, or remove it"
            )
        return
    names = {path.name for path in folder.iterdir()}
    ours = names & {*MODEL_FILES[form], *OTHER_FILES}
    if ours and not _is_export(folder):
        raise InputError(
            f"--to: {folder} holds {', '.join(sorted(ours))}, which no export wrote; "
            "choose another folder"
        )
    for other, files in MODEL_FILES.items():
        if other != form and names & {*files}:
            raise InputError(
                f"--to: {folder} holds {', '.join(sorted(names & {*files}))} of an "
                f"export as {other}; choose a folder for each format"
            )


def _is_export(folder: Path) -> bool:
    try:
        return MARK.encode() in read_regular(folder / CARD)
    except OSError:
        return False


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
                remove_unfinished(folder, prefix="files.")
            remove_unfinished(folder.parent, prefix=f"{folder.name}.")
            with atomic_files(folder) as part:
                yield part
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
