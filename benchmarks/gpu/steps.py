"""Steps of all sides on the same device, in turns."""

import multiprocessing
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.errors import RunError
from benchmarks.compared import SIZES
from benchmarks.gpu.part import read
from benchmarks.sides import Side, take_turns

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
    """Yields a row for each side as it is ready, and at the end of each in turns.

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
    flops, ready, steps = _flops(model, mode), {}, 0
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
        names = [name for name in ready if name in (*group, "ours")]
        try:
            turns = take_turns([ready[name] for name in names], repeats, steps)
        except RunError as error:  # one of them died
            yield work | {"error": str(error)}
            continue
        times = dict(zip(names, turns, strict=True))
        for name in names:
            if name in group:
                row = work | {"side": name, "steps": steps}
                row |= _speed(batch_size, times[name], times.get("ours"), flops, rate)
                yield row | {"words": _sentence(row)}
    if not ready:
        raise RunError(f"no side ran {model} in {dtype} at batch {batch_size}")
    for name, side in ready.items():  # a profiler may fail: so it comes last
        row = work | {"side": name}
        try:
            row["kernels"] = side.kernels()
            row["host_gb"], row["device_gb"] = side.close()
        except RunError as error:
            row["error"] = str(error)
        yield row | ({} if "error" in row else {"words": _footprint(row)})


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
    pairs = [theirs / our for theirs, our in zip(times, ours, strict=True)]
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


def _footprint(row: dict[str, Any]) -> str:
    device, kernels = row["device_gb"], row["kernels"]
    text = f"{_what(row)}: {row['side']} holds {row['host_gb']:.2f} GB of the host"
    text += "" if device is None else f", {device:.2f} GB of the card"
    return text + ("" if kernels is None else f"; {kernels:.0f} kernels a step")
