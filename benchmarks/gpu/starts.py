"""The whole job from the command to the prompt: a first start, and a second."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import job


def measure(flags: list[str], work: str) -> Iterator[dict[str, Any]]:
    """Yields a row for each start.

    Args:
      flags: Of `alexnet_jax.main`.
      work: Folder of runs.
    """
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # each job has its own
    folder = Path(work, "runs", "starts")
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier suite
    for name in ("first", "second"):
        row = job.measure(flags, folder / name, folder / "caches")
        parts = ", ".join(
            f"{row[f'{key}_s']:.1f} s {text}"
            for key, text in (
                ("steps", "in steps"),
                ("evaluation", "in evaluation"),
                ("rest", "in all else"),
            )
        )
        words = f"{name} start: {row['first_step_after_s']:.1f} s to the first step "
        words += f"({row['compile_s']:.1f} of them compiling), then {parts}"
        yield {"start": name} | row | {"words": words}
