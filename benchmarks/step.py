"""Times training and evaluation steps beside PyTorch's, on the same CPU.

  make bench
  .venv/bin/python -m benchmarks.step --models=alexnet_d2l --modes=train

For each network and mode both sides run in processes of their own, with all cores; they
take turns, so that a change in the machine's mood meets both. PyTorch runs eagerly, in
float32 and channels_last, with its own SGD. Both sides start from upsampled images on
the device: reading and upsampling are not part of the comparison.
"""

import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from alexnet_jax import cli
from benchmarks.arguments import add_counts
from benchmarks.compared import SIZES
from benchmarks.sides import Side, take_turns

MODELS = tuple(SIZES)
MODES = ("train", "eval")


def measure(
    model: str, mode: str, batch_size: int, repeats: int, steps: int
) -> dict[str, Any]:
    """Times both sides in turns.

    Returns:
      Images per second of each (medians); the ratio, ours to PyTorch's: of the medians,
      and the least and greatest of the pairs; seconds that our step took to trace and
      compile; the most memory that each process held, in GB.
    """
    context = multiprocessing.get_context("spawn")
    work = {"model": model, "mode": mode, "batch_size": batch_size, "dtype": "float32"}
    ours, torch = (
        Side(context, side, **work) for side in ("ours", "torch")
    )  # one after the other, so that neither disturbs
    seconds = take_turns([ours, torch], repeats, steps)
    speed = [batch_size / statistics.median(times) for times in seconds]
    pairs = [theirs / our for our, theirs in zip(*seconds, strict=True)]
    return {
        "model": model,
        "dtype": "float32",
        "mode": mode,
        "batch_size": batch_size,
        "images_per_s": speed[0],
        "torch_images_per_s": speed[1],
        "ratio": speed[0] / speed[1],
        "ratio_min": min(pairs),
        "ratio_max": max(pairs),
        "compile_s": ours.compile_s,
        "memory_gb": ours.close().host,
        "torch_memory_gb": torch.close().host,
    }


def describe(row: dict[str, Any], repeats: int) -> str:
    """Formats a row for reading."""
    return (
        f"{row['model']:19} {row['mode']:5} batch {row['batch_size']}  ours "
        f"{row['images_per_s']:,.1f}  PyTorch {row['torch_images_per_s']:,.1f} images/s"
        f"  ratio {row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f} "
        f"of {repeats})  compiled in {row['compile_s']:.1f} s  memory "
        f"{row['memory_gb']:.2f}, {row['torch_memory_gb']:.2f} GB"
    )


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line, or with --json an object, for each model and mode."""
    parser = cli.Parser("benchmarks.step", __doc__)
    add = parser.add_argument
    add("--models", default=",".join(MODELS), help=f"a list of {MODELS} (default: all)")
    add("--modes", default=",".join(MODES), help=f"a list of {MODES} (default: both)")
    add_counts(
        parser,
        {
            "--batch-size": (128, "images per step"),
            "--repeats": (5, "measurements of each"),
            "--steps": (2, "steps per measurement"),
        },
    )
    add("--json", action="store_true", help="print a list of objects")
    options = parser.parse_args(argv)
    models, modes = options.models.split(","), options.modes.split(",")
    for flag, given, known in (("models", models, MODELS), ("modes", modes, MODES)):
        if unknown := sorted({*given} - {*known}):
            parser.error(f"--{flag} must be of {known}; got {unknown}")
    rows = []
    for model in models:
        for mode in modes:
            row = measure(
                model, mode, options.batch_size, options.repeats, options.steps
            )
            rows.append(row)
            if not options.json:
                print(describe(row, options.repeats), flush=True)
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    if os.environ.setdefault("JAX_PLATFORMS", "cpu") == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # PyTorch's side, too
    main()
