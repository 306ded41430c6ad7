"""Whether a run cut short and continued is, bit for bit, the run left alone."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from benchmarks.gpu.runs import train


def measure(
    flags: Sequence[str], steps: int, work: str, deterministic: bool = True
) -> Iterator[dict[str, Any]]:
    """Yields how a second run and a continued one differ from the first.

    Args:
      flags: Of `alexnet_jax.main`.
      steps: Of the runs; one is cut short after the half.
      work: Folder of runs.
      deterministic: Sets `debug.deterministic`.

    Raises:
      RuntimeError: A run failed.
    """
    flags = [*flags, f"--config.debug.deterministic={deterministic}"]
    lengths = {"alone": [steps], "again": [steps], "continued": [steps // 2, steps]}
    stem = Path(work, "runs", f"resume-{deterministic}")
    workdirs = {name: Path(f"{stem}-{name}") for name in lengths}
    for name, workdir in workdirs.items():
        shutil.rmtree(workdir, ignore_errors=True)  # of an earlier suite
        for length in lengths[name]:
            status = train([*flags, f"--config.num_train_steps={length}"], workdir)
            if status:
                raise RuntimeError(f"{name}: the run ended with {status}")
    # Only now: to restore starts JAX here, which would take the card from the runs.
    alone = _state(workdirs.pop("alone"), steps)
    for name, workdir in workdirs.items():
        yield _compare(name, alone, _state(workdir, steps), deterministic)


def _state(workdir: Path, step: int) -> list[np.ndarray]:
    """Returns all arrays of a checkpoint."""
    with ocp.CheckpointManager((workdir / "checkpoints").absolute()) as manager:
        tree = manager.restore(step, args=ocp.args.StandardRestore())
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _compare(
    name: str,
    alone: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    deterministic: bool,
) -> dict[str, Any]:
    pairs = [*zip(alone, other, strict=True)]
    differ = sum(a.tobytes() != b.tobytes() for a, b in pairs)
    far = max(
        float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(a)), 1e-30)
        for a, b in pairs
    )
    how = "with" if deterministic else "without"
    same = "the same bits" if not differ else f"{differ} of {len(pairs)} arrays differ"
    return {
        "run": name,
        "deterministic": deterministic,
        "same_bits": not differ,
        "distance": far,
        "words": f"{how} debug.deterministic, the run {name}: {same}"
        + (f", by {far:.1e} of their norm at most" if differ else ""),
    }
