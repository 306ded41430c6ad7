"""Times steps on a GPU beside PyTorch's, eager and compiled; if asked, whole runs too.

  .venv/bin/python -m benchmarks.gpu --output=OUT
  .venv/bin/python -m benchmarks.gpu --output=OUT --manual-dir=DIR --seeds=0,1,2,3,4

All sides have the card to themselves in turns, in bfloat16; PyTorch in channels_last
with its fused SGD. Every speed is also given as a share of what the card reaches in
products of 8192×8192 matrices, measured in the same run. Writes `OUT/gpu.json`, and the
runs of `fashion.py:seed003` to `OUT/runs`.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_jax import cli
from benchmarks.sides import SIZES, Side, take_turns

SIDES = ("ours", "torch", "torch.compile")
CONFIG = "experiments/fashion.py:seed003"


def _matrix_tflops(results: Any) -> None:
    """Puts the rate of large products of bfloat16 matrices, in TFLOP/s."""
    import jax
    import jax.numpy as jnp

    size, products = 8192, 50
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.bfloat16)
    b = a / size**0.5  # so that powers stay finite

    @jax.jit
    def power(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, products, lambda _, x: x @ b, x)

    rates = []
    for _ in range(5):
        jax.block_until_ready(power(a))  # the first time to compile
        start = time.perf_counter()
        jax.block_until_ready(power(a))
        rates.append(products * 2 * size**3 / (time.perf_counter() - start) / 1e12)
    results.put(
        (statistics.median(rates), jax.devices()[0].device_kind, jax.__version__)
    )


def _step_flops(model: str) -> float:
    """Returns multiplications and additions of a training step, an image."""
    from alexnet_jax.inspection.layers import describe
    from alexnet_jax.models import create_model

    layers = describe(create_model(model), (1, SIZES[model], SIZES[model], 1))
    return 3 * 2.0 * sum(layer.macs for layer in layers)


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row for each batch size and side."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_matrix_tflops, args=(results,))
    process.start()
    matrix, card, version = results.get()
    process.join()
    print(f"{card}, jax {version}: {matrix:.0f} TFLOP/s in products of matrices")
    flops, rows = _step_flops(options.model), []
    for batch_size in map(int, options.batch_sizes.split(",")):
        work = {
            "model": options.model,
            "mode": "train",
            "batch_size": batch_size,
            "dtype": "bfloat16",
        }
        sides = [Side(context, name, **work) for name in SIDES]
        steps = max(20, 20 * 2048 // batch_size)
        seconds = take_turns(sides, options.repeats, steps)
        for name, side, times in zip(SIDES, sides, seconds, strict=True):
            side.close()
            speed = batch_size / statistics.median(times)
            tflops = speed * flops / 1e12
            rows.append(
                {
                    "model": options.model,
                    "dtype": "bfloat16",
                    "mode": "train",
                    "side": name,
                    "batch_size": batch_size,
                    "images_per_s": speed,
                    "tflops": tflops,
                    "matrix_tflops": matrix,
                    "share_of_matrix": tflops / matrix,
                    "compile_s": side.compile_s,
                }
            )
            print(
                f"{name:14} batch {batch_size:5}  {speed:,.0f} images/s  "
                f"{tflops:.0f} TFLOP/s, {tflops / matrix:.0%} of the matrix rate",
                flush=True,
            )
    return rows


def train(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains `CONFIG` once a seed; returns its last rows, with the seconds it took.

    `time_s` is without compilation and with every evaluation and checkpoint.
    """
    workdir = options.output / "runs"
    command = [sys.executable, "-m", "alexnet_jax.main", f"--config={CONFIG}"]
    command += [f"--config.data.manual_dir={options.manual_dir}"]
    command += ["--config.dtype=bfloat16", "--config.log.tensorboard=False"]
    command += [f"--workdir={workdir}", f"--seeds={options.seeds}"]
    subprocess.run(command, check=True)
    rows = []
    for seed in options.seeds.split(","):
        lines = (workdir / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()
        rows.append({"seed": int(seed)} | json.loads(lines[-1]))
    return rows


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line a measurement and writes them all."""
    parser = cli.Parser("benchmarks.gpu", __doc__)
    add = parser.add_argument
    add(
        "--model",
        default="alexnet_d2l",
        choices=tuple(SIZES),
        help="the network (default: alexnet_d2l)",
    )
    add(
        "--batch-sizes",
        default="128,512,2048",
        help="images per step (default: 128,512,2048)",
    )
    add("--repeats", type=int, default=5, help="measurements of each (default: 5)")
    add("--manual-dir", help="train, too, on the Fashion-MNIST files there")
    add("--seeds", default="0,1,2,3,4", help="of these runs (default: 0,1,2,3,4)")
    add("--output", type=Path, required=True, help="folder of the results")
    options = parser.parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    # PyTorch's processes live on the same card.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    found: dict[str, Any] = {"steps": compare(options)}
    if options.manual_dir:
        found["runs"] = train(options)
    (options.output / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
