"""Times the training step beside PyTorch's, for the same network on the same machine.

  make bench
  .venv/bin/python -m benchmarks.step --models=alexnet_d2l --batch-size=128

Each side runs in a process of its own, with all cores, while the other one waits; they
take turns, so that a change in the machine's mood meets both. PyTorch runs eagerly, in
float32 and channels_last, with its own SGD. Both sides start from upsampled images on
the device: reading and upsampling are not part of the comparison.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

SIZES = {
    "alexnet_d2l": 224,
    "alexnet_paper": 224,
    "alexnet_torchvision": 224,
    "alexnet_half": 224,
    "lenet5": 28,
}
MODELS = tuple(SIZES)


def jax_step(model: str, batch_size: int) -> Callable[[], None]:
    """Returns a training step of ours, compiled."""
    import jax
    import numpy as np

    from alexnet_jax.augment import make_prepare
    from alexnet_jax.config import default_config
    from alexnet_jax.models import create_model
    from alexnet_jax.optim import create_optimizer, create_schedule
    from alexnet_jax.step import create_state, make_train_step

    size = SIZES[model]
    config = default_config().optim
    config.momentum = 0.9
    tx = create_optimizer(config, create_schedule(config, 0.01, 1, 1))
    network = create_model(model)
    state = create_state(network, tx, (1, size, size, 1), jax.random.key(0))
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (batch_size, size, size, 1), np.uint8)
    step = make_train_step(
        network,
        tx,
        make_prepare("unit", image, size),
        steps_per_epoch=10**9,
        log_every_steps=10**9,
    )
    batch = {
        "image": image,
        "label": generator.integers(0, 10, batch_size).astype(np.int32),
        "mask": np.ones(batch_size, bool),
    }
    batch = jax.device_put(batch)
    key = jax.random.key(1)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch, key).compile()

    def run() -> None:
        nonlocal state
        state = compiled(state, batch, key)
        jax.block_until_ready(state)

    return run


def torch_step(model: str, batch_size: int) -> Callable[[], None]:
    """Returns a training step of PyTorch's."""
    import torch

    from benchmarks.torch_networks import torch_network

    torch.manual_seed(0)
    size = SIZES[model]
    network = torch_network(model, size).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    image = torch.rand(batch_size, 1, size, size)
    image = image.to(memory_format=torch.channels_last)
    label = torch.randint(0, 10, (batch_size,))

    def run() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(image), label).backward()
        optimizer.step()

    return run


def serve(side: str, model: str, batch_size: int, pipe: Connection) -> None:
    """Answers each number of steps with the seconds that they took."""
    build = {"ours": jax_step, "torch": torch_step}[side]
    run = build(model, batch_size)
    run()  # warm
    pipe.send("ready")
    while steps := pipe.recv():
        start = time.perf_counter()
        for _ in range(steps):
            run()
        pipe.send(time.perf_counter() - start)


def measure(model: str, batch_size: int, repeats: int, steps: int) -> dict[str, Any]:
    """Times both sides in turns.

    Returns:
      Images per second of each (medians) and the ratio, ours to PyTorch's: of the
      medians, and the least and greatest of the pairs.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for side in ("ours", "torch"):  # one after the other, so that neither disturbs
        pipes[side], theirs = context.Pipe()
        context.Process(
            target=serve, args=(side, model, batch_size, theirs), daemon=True
        ).start()
        pipes[side].recv()
    seconds: dict[str, list[float]] = {side: [] for side in pipes}
    for _ in range(repeats):
        for side, pipe in pipes.items():
            pipe.send(steps)
            seconds[side].append(pipe.recv() / steps)
    for pipe in pipes.values():
        pipe.send(0)
    speed = {s: batch_size / statistics.median(v) for s, v in seconds.items()}
    pairs = [t / o for o, t in zip(seconds["ours"], seconds["torch"], strict=True)]
    return {
        "model": model,
        "dtype": "float32",
        "mode": "train",
        "batch_size": batch_size,
        "images_per_s": speed["ours"],
        "torch_images_per_s": speed["torch"],
        "ratio": speed["ours"] / speed["torch"],
        "ratio_min": min(pairs),
        "ratio_max": max(pairs),
    }


def main() -> None:
    """Prints a line, or with --json an object, a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {MODELS}")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="a repeat")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    models = options.models.split(",")
    if unknown := set(models) - set(MODELS):
        parser.error(f"--models must be of {MODELS}; got {sorted(unknown)}")
    rows = []
    for model in models:
        rows.append(measure(model, options.batch_size, options.repeats, options.steps))
        if not options.json:
            row = rows[-1]
            print(
                f"{model:14} batch {row['batch_size']}  ours {row['images_per_s']:,.1f}"
                f"  PyTorch {row['torch_images_per_s']:,.1f} images/s  ratio "
                f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}"
                f" of {options.repeats})",
                flush=True,
            )
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
