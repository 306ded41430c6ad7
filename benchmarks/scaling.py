"""Times a training step in every layout of the devices, and lists what they send.

  .venv/bin/python -m benchmarks.scaling
  .venv/bin/python -m benchmarks.scaling --batch-size=128 --dtype=bfloat16

Without a GPU, CPU devices stand for GPUs. They share the machine's cores: collectives
and memory are real, but times say nothing about speed. The first three rows run one
device through jit, pmap and shard_map, which shows the cost of the wrapping itself.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from alexnet_jax import cli
from alexnet_jax.config import default_config
from alexnet_jax.inspection.collectives import bytes_by_device, collectives
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.parallel import DataParallel, Parallel, create_parallel
from alexnet_jax.parallel.mesh import MeshParallel
from alexnet_jax.preprocessing.pipeline import scale_and_resize
from alexnet_jax.step import create_state, make_train_step
from benchmarks.arguments import add_counts

LAYOUTS = ((2, 1), (4, 1), (8, 1), (1, 2), (2, 2), (4, 2))


class PmapOverOne(DataParallel):
    """`jax.pmap` over a single device, which a run would hand to `jax.jit`."""

    axis_name = "data"  # type: ignore[assignment]


def layouts(name: str, batch_size: int) -> dict[str, Parallel]:
    """Returns every layout that the devices here allow."""
    first = jax.devices()[:1]
    found: dict[str, Parallel] = {
        "1 (jit)": DataParallel(first),
        "1 (pmap)": PmapOverOne(first),
        "1 (shard_map)": MeshParallel(
            Mesh(np.asarray(first).reshape(1, 1), ("data", "model"))
        ),
    }
    for data, model in LAYOUTS:
        has_room = data * model <= len(jax.devices()) and batch_size % data == 0
        if has_room and model in (1, MODELS[name].towers):
            kind = "pmap" if model == 1 else "shard_map"
            found[f"{data} × {model} ({kind})"] = create_parallel(
                data, model, batch_size, name
            )
    return found


def measure(parallel: Parallel, options: argparse.Namespace) -> dict[str, Any]:
    """Returns a layout's median step time, its collectives and memory."""
    model = create_model(options.model, num_classes=10, training=True)
    size, batch_size = options.image_size, options.batch_size
    optim = default_config().optim
    optim.momentum = 0.9
    tx = create_optimizer(optim, create_schedule(optim, 0.01, 1, 1))
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (batch_size, size, size, 1), np.uint8)
    step = make_train_step(
        parallel.local_model(model),
        tx,
        partial(scale_and_resize, size=size),
        dtype=options.dtype,
        steps_per_epoch=10**9,
        log_every_steps=10**9,
        axis_name=parallel.axis_name,
    )
    key = parallel.replicate(jax.random.key(1))
    batch = parallel.shard_batch(
        {
            "image": image,
            "label": generator.integers(0, 10, batch_size).astype(np.int32),
            "mask": np.ones(batch_size, bool),
        }
    )
    batch = jax.tree.map(jax.numpy.asarray, batch)
    state = parallel.put(create_state(model, tx, (1, size, size, 1), key))
    wrapped: Any = parallel.compile_train(step, donate=True)
    compiled = wrapped.lower(state, batch, key).compile()
    memory = bytes_by_device(state)
    seconds = []
    for repeat in range(options.repeats + 1):
        start = time.perf_counter()
        state, _ = compiled(state, batch, key)
        jax.block_until_ready(state)
        if repeat:  # the first one warms up
            seconds.append(time.perf_counter() - start)
    found = collectives(compiled.as_text())
    return {
        "devices": len(memory),
        "step_s": statistics.median(seconds),
        "images_per_s": batch_size / statistics.median(seconds),
        "collectives": len(found),
        "sent_bytes_a_device": sum(one.sent_bytes for one in found),
        "state_bytes_a_device": max(memory.values()),
    }


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line, or with --json an object, a layout."""
    parser = cli.Parser("benchmarks.scaling", __doc__)
    add = parser.add_argument
    add(
        "--model",
        default="alexnet_2012",
        choices=MODELS,
        metavar="NAME",
        help="the network (default: alexnet_2012)",
    )
    add_counts(
        parser,
        {
            "--batch-size": (32, "images over all devices"),
            "--image-size": (224, "pixels a side"),
            "--repeats": (3, "steps to time"),
        },
    )
    add(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16"),
        help="of the computation (default: float32)",
    )
    add("--json", action="store_true", help="print a list of objects")
    options = parser.parse_args(argv)
    if jax.config.jax_platforms in (None, "", "cpu"):  # ignored where there is a GPU
        jax.config.update("jax_num_cpu_devices", 8)
    device = jax.devices()[0]
    rows = []
    if not options.json:
        note = "; CPU devices share the cores" if device.platform == "cpu" else ""
        print(
            f"{options.model}, batch {options.batch_size} over all devices, "
            f"{options.image_size}×{options.image_size}, {options.dtype}, "
            f"{len(jax.devices())} × {device.device_kind}{note}"
        )
        print("data × model     devices   step, s  images/s  sent, MB  state, MB")
    for label, parallel in layouts(options.model, options.batch_size).items():
        row = measure(parallel, options)
        rows.append({"layout": label} | row)
        if not options.json:
            print(
                f"{label:18} {row['devices']:5} {row['step_s']:9.3f} "
                f"{row['images_per_s']:9.1f} {row['sent_bytes_a_device'] / 1e6:9.1f} "
                f"{row['state_bytes_a_device'] / 1e6:10.1f}",
                flush=True,
            )
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
