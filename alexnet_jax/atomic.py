"""Files that are complete at every moment."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Replaces a file by another that is written first; keeps it after an error.

    Args:
      path: The file.

    Yields:
      A path beside it, to be written within the context.

    Raises:
      OSError: The file cannot be written.
    """
    # Named by process: several may write the same file at once.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # no such file, if all went well
            part.unlink()
