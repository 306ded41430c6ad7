"""Where a step's time goes, in words, kernel by kernel; and XLA's program of it."""

import gzip
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.jax_steps import device_events
from benchmarks.sides import create_step

# The first that matches is a kernel's kind.
KINDS = {
    "convolutions": r"conv(?!ert)|cudnn|xmma|implicit|dgrad|wgrad|fprop",
    "matrix products": r"gemm|nvjet|cublas|cutlass|dot",
    "window searches and scatters": r"scatter|reduce-window|select-and",
    "copies": r"copy|memcpy|memset|transpose",
    "random bits": r"rng|threefry|random",
    "reductions": r"reduce",
    "fusions": r"fusion|loop",
}
_LISTED = 12  # kernels on the terminal


def measure(
    model: str,
    dtype: str,
    batch_size: int,
    folder: str,
    *,
    side: str = "ours",
    steps: int = 20,
) -> Iterator[dict[str, Any]]:
    """Yields the step's time by kinds of kernels, then its longest kernels.

    Args:
      model: A network of `compared.SIZES`.
      dtype: `float32` or `bfloat16`.
      batch_size: Images.
      folder: Takes the list of all kernels and XLA's program.
      side: `ours` or `flax`.
      steps: That are looked at.
    """
    step = create_step(side, model, "train", batch_size, dtype)
    for _ in range(3):
        step.run()
    step.wait()
    with tempfile.TemporaryDirectory() as trace:
        with jax.profiler.trace(trace):
            for _ in range(steps):
                step.run()
            step.wait()
        events = device_events(Path(trace))
    if not events:
        raise RuntimeError("the profile shows nothing of the device")
    spent: dict[tuple[str, str], float] = defaultdict(float)
    for operation, kernel, start, end in events:
        spent[operation, kernel] += (end - start) / 1e6 / steps
    kinds: dict[str, float] = defaultdict(float)
    for names, ms in spent.items():
        kinds[kind_of(*names)] += ms
    wall, busy = (ns / 1e6 / steps for ns in span(events))
    what = f"{side} {model} {dtype} batch {batch_size}"
    yield {
        "model": model,
        "dtype": dtype,
        "batch_size": batch_size,
        "side": side,
        "wall_ms": wall,
        "busy_ms": busy,
        "kernels": len(events) / steps,
        "kinds_ms": dict(kinds),
        "words": f"a step of {what}: "
        + in_words(wall, busy, len(events) / steps, kinds),
    }
    rows = sorted(spent.items(), key=lambda item: -item[1])
    lines = [f"{ms:9.4f} ms  {name[:50]:50} {kernel}" for (name, kernel), ms in rows]
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    stem = f"{side}-{model}-{dtype}-{batch_size}"
    (place / f"profile-{stem}.txt").write_text("\n".join(lines) + "\n")
    with gzip.open(place / f"hlo-{stem}.txt.gz", "wt") as file:
        file.write(step.hlo)
    for (name, kernel), ms in rows[:_LISTED]:
        yield {"operation": name[:80], "kernel": kernel[:120], "ms": ms}


def kind_of(operation: str, kernel: str) -> str:
    """Returns the kind of a kernel, by the names that XLA and cuDNN give it."""
    names = f"{operation} {kernel}".lower()
    found = (kind for kind, pattern in KINDS.items() if re.search(pattern, names))
    return next(found, "all else")


def span(events: Sequence[tuple[str, str, float, float]]) -> tuple[float, float]:
    """Returns the time from first to last, and that in which something ran, in ns."""
    busy, last = 0.0, 0.0
    for *_, start, end in events:
        busy += max(0.0, end - max(start, last))
        last = max(last, end)
    return last - events[0][2], busy


def in_words(wall: float, busy: float, kernels: float, kinds: dict[str, float]) -> str:
    """Returns a step's profile as a sentence.

    Args:
      wall: Milliseconds of a step.
      busy: In which the device did something.
      kernels: How many a step.
      kinds: Milliseconds by kind.
    """
    total = sum(kinds.values())
    parts = [
        f"{ms:.3g} ms ({ms / total:.0%}) in {kind}"
        for kind, ms in sorted(kinds.items(), key=lambda item: -item[1])
    ]
    idle = max(0.0, 1 - busy / wall)
    return f"{wall:.3g} ms, {idle:.0%} of them idle, {kernels:.0f} kernels: " + (
        ", ".join(parts)
    )
