"""Steps of all sides on the same device, in turns."""

import contextlib
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.errors import RunError
from benchmarks.compared import SIZES
from benchmarks.gpu.part import read
from benchmarks.sides import Side

SIDES = ("ours", "flax", "torch", "torch.graph", "torch.compile")
_SLOW = ("torch.compile",)  # compiles for so long that the others are measured before


def measure(
    model: str,
    dtype: str,
    batch_size: int,
    *,
    mode: str = "train",
    sides: Sequence[str] = SIDES,
    turn_s: float = 0.4,
    repeats: int = 5,
    results: str = "",
) -> Iterator[dict[str, Any]]:
    """Yields a row for each side as it is ready, then its times in turns and memory.

    One that fails later, as another's compilation may take the card's memory, has the
    times that it had until then.

    Args:
      model: A network of `compared.SIZES`.
      dtype: `float32` or `bfloat16`.
      batch_size: Images.
      mode: `train` or `eval`.
      sides: As in `sides.Side`; one that fails is left out.
      turn_s: Seconds of a side's turn, about.
      repeats: Turns of each side.
      results: The suite's results so far, for the card's rate of matrix products.

    Raises:
      RunError: No side runs.
    """
    # The sides live on the same card.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    context = multiprocessing.get_context("spawn")
    work = {"model": model, "mode": mode, "batch_size": batch_size, "dtype": dtype}
    rate = matrix_rate(Path(results), dtype) if results else None
    flops, ready, steps, has_run = _flops(model, mode), {}, 0, False
    for group in (
        [name for name in sides if name not in _SLOW],
        [name for name in sides if name in _SLOW],
    ):
        for name in group:
            try:
                side = Side(context, name, **work)
                steps = steps or max(2, int(turn_s / side.seconds(2) * 2))
            except RunError as error:
                yield work | {"side": name, "error": str(error)}
                continue
            ready[name] = side
            yield work | {"side": name, "compile_s": side.compile_s}
        if not any(name in ready for name in group):
            continue
        has_run = True
        names = [name for name in ready if name in (*group, "ours")]
        times, errors = _take_turns(
            {name: ready[name] for name in names}, repeats, steps
        )
        for name in names:
            if times[name] and name in group:
                row = work | {"side": name, "steps": steps}
                row |= _speed(batch_size, times[name], times.get("ours"), flops, rate)
                yield row | {"words": _sentence(row)}
        for name, error in errors.items():
            del ready[name]
            yield work | {"side": name, "error": error}
        for name in names:
            if name in ready and name in group:
                yield _asked(work | {"side": name}, ready[name], _footprint)
    if not has_run:
        raise RunError(f"no side ran {model} in {dtype} at batch {batch_size}")
    for name, side in ready.items():  # a profiler may end its process: so it comes last
        yield _asked(work | {"side": name}, side, _kernels)
    for side in ready.values():
        with contextlib.suppress(RunError):
            side.close()


def _take_turns(
    sides: Mapping[str, Side], repeats: int, steps: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Returns seconds a step, by side and repeat, and why sides gave no more."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    errors: dict[str, str] = {}
    for _ in range(repeats):
        for name, side in sides.items():
            if name in errors:
                continue
            try:
                times[name].append(side.seconds(steps) / steps)
            except RunError as error:
                errors[name] = str(error)
    return times, errors


def _asked(
    row: dict[str, Any], side: Side, ask: Callable[[dict[str, Any], Side], str]
) -> dict[str, Any]:
    """Returns a row with what a side answers, in numbers and words, or its error."""
    try:
        words = ask(row, side)
    except RunError as error:
        return row | {"error": str(error)}
    return row | {"words": words}


def matrix_rate(results: Path, dtype: str) -> float | None:
    """Returns the TFLOP/s of matrix products that `card` has measured, if it has."""
    for row in read(results):
        if row.get("precision") == "default" and row.get("dtype") == dtype:
            return row["matrix_tflops"]
    return None


def _flops(model: str, mode: str) -> float:
    """Returns multiplications and additions of a step, an image: by definition."""
    from alexnet_jax.inspection.layers import describe
    from alexnet_jax.models import create_model

    layers = describe(
        create_model(model, num_classes=10, training=True),
        (1, SIZES[model], SIZES[model], 1),
    )
    passes = 3 if mode == "train" else 1
    return passes * 2.0 * sum(layer.macs for layer in layers)


def _speed(
    batch_size: int,
    times: list[float],
    ours: list[float] | None,
    flops: float,
    rate: float | None,
) -> dict[str, Any]:
    step_s = statistics.median(times)
    tflops = flops * batch_size / step_s / 1e12
    found: dict[str, Any] = {
        "ms": 1e3 * step_s,
        "ms_least": 1e3 * min(times),
        "ms_most": 1e3 * max(times),
        "images_per_s": batch_size / step_s,
        "tflops": tflops,
        "share_of_matrix": tflops / rate if rate else None,
    }
    if not ours:
        return found
    # Of one that failed there are fewer.
    pairs = [theirs / our for theirs, our in zip(times, ours, strict=False)]
    found["ours_is_faster_by"] = statistics.median(pairs)
    return found | {"ours_is_faster_by_range": [min(pairs), max(pairs)]}


def _what(row: dict[str, Any]) -> str:
    mode = "" if row["mode"] == "train" else ", evaluation"
    return f"{row['model']} {row['dtype']} batch {row['batch_size']}{mode}"


def _sentence(row: dict[str, Any]) -> str:
    text = f"{_what(row)}: {row['side']} {row['images_per_s']:,.0f} images/s, "
    text += f"{row['ms']:.3g} ms a step, {row['tflops']:.3g} TFLOP/s"
    if row["share_of_matrix"]:
        text += f", {row['share_of_matrix']:.0%} of the matrix rate"
    if row["side"] == "ours" or "ours_is_faster_by" not in row:
        return text
    low, high = row["ours_is_faster_by_range"]
    return f"{text}; ours is {row['ours_is_faster_by']:.2f} × as fast" + (
        f" ({low:.2f} to {high:.2f})"
    )


def _footprint(row: dict[str, Any], side: Side) -> str:
    row["host_gb"], row["device_gb"] = host, device = side.memory()
    text = f"{_what(row)}: {row['side']} holds {host:.2f} GB of the host"
    return text + ("" if device is None else f", {device:.2f} GB of the card")


def _kernels(row: dict[str, Any], side: Side) -> str:
    row["kernels"] = kernels = side.kernels()
    said = "kernels unseen" if kernels is None else f"{kernels:.0f} kernels a step"
    return f"{_what(row)}: {row['side']}, {said}"
