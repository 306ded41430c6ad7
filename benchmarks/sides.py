"""The two sides of a comparison: our steps and PyTorch's, each in its own process."""

import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

SIZES = {  # of the images
    "alexnet_d2l": 224,
    "alexnet_paper": 224,
    "alexnet_torchvision": 224,
    "alexnet_half": 224,
    "lenet5": 28,
}


class Side:
    """A process that runs steps when asked.

    Attributes:
      compile_s: Seconds that the step took to trace and compile; of PyTorch's, the
        first step.
    """

    def __init__(self, context: Any, side: str, **work: Any) -> None:
        """Starts the process and waits until it is warm.

        Args:
          context: Of `multiprocessing`.
          side: `ours`, `torch` or `torch.compile`.
          **work: `model`, `mode`, `batch_size` and `dtype`.
        """
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(side, work, theirs), daemon=True).start()
        theirs.close()
        self.compile_s: float = self._pipe.recv()

    def seconds(self, steps: int) -> float:
        """Returns what so many steps take."""
        self._pipe.send(steps)
        return self._pipe.recv()

    def close(self) -> float:
        """Ends the process; returns the most host memory that it held, in GB."""
        self._pipe.send(0)
        return self._pipe.recv()


def take_turns(
    sides: Sequence[Side], repeats: int, steps: int
) -> tuple[list[float], ...]:
    """Returns seconds a step, by side and repeat."""
    seconds: tuple[list[float], ...] = tuple([] for _ in sides)
    for _ in range(repeats):
        for side, times in zip(sides, seconds, strict=True):
            times.append(side.seconds(steps) / steps)
    return seconds


def _serve(side: str, work: dict[str, Any], pipe: Connection) -> None:
    """Answers each number of steps with the seconds that they took; 0 ends it."""
    if side == "ours":
        run, wait, compile_s = jax_step(**work)
        run()
    else:
        run, wait = torch_step(**work, compiled=side == "torch.compile")
        start = time.perf_counter()
        run()
        wait()
        compile_s = time.perf_counter() - start
    run()  # warm
    wait()
    pipe.send(compile_s)
    while steps := pipe.recv():
        start = time.perf_counter()
        for _ in range(steps):
            run()
        wait()
        pipe.send(time.perf_counter() - start)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def jax_step(
    model: str, mode: str, batch_size: int, dtype: str
) -> tuple[Callable[[], None], Callable[[], None], float]:
    """Returns our step, what waits for it, and the seconds that it took to compile."""
    import jax
    import numpy as np

    from alexnet_jax.config import default_config
    from alexnet_jax.models import create_model
    from alexnet_jax.optim import create_optimizer, create_schedule
    from alexnet_jax.preprocessing.pipeline import scale_and_resize
    from alexnet_jax.step import create_state, make_eval_step, make_train_step

    size = SIZES[model]
    optim = default_config().optim
    optim.momentum = 0.9
    tx = create_optimizer(optim, create_schedule(optim, 0.01, 1, 1))
    network = create_model(model)
    state = create_state(network, tx, (1, size, size, 1), jax.random.key(0))
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (batch_size, size, size, 1), np.uint8)
    batch = {
        "image": image,
        "label": generator.integers(0, 10, batch_size).astype(np.int32),
        "mask": np.ones(batch_size, bool),
    }
    batch, key = jax.device_put(batch), jax.random.key(1)
    prepare = partial(scale_and_resize, size=size)
    start = time.perf_counter()
    if mode == "train":
        step = make_train_step(
            network,
            tx,
            prepare,
            dtype=dtype,
            steps_per_epoch=10**9,
            log_every_steps=10**9,
        )
        traced = jax.jit(step, donate_argnums=0).lower(state, batch, key)
    else:
        test = make_eval_step(network, prepare, dtype=dtype)
        traced = jax.jit(test).lower(state.params, state.model_state, batch)
    compiled = traced.compile()
    compile_s = time.perf_counter() - start
    sums: Any = None

    def run() -> None:
        nonlocal state, sums
        if mode == "train":
            state, _ = compiled(state, batch, key)
        else:
            sums = compiled(state.params, state.model_state, batch)

    return run, lambda: jax.block_until_ready((state, sums)), compile_s


def torch_step(
    model: str, mode: str, batch_size: int, dtype: str, *, compiled: bool = False
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns PyTorch's step, on a GPU if there is one, and what waits for it."""
    import torch

    from benchmarks.torch_networks import torch_network

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = SIZES[model]
    network: Any = torch_network(model, size).to(
        device, memory_format=torch.channels_last
    )
    network.train(mode == "train")
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, fused=device == "cuda" or None
    )
    image = torch.rand(batch_size, 1, size, size, device=device)
    image = image.to(memory_format=torch.channels_last)
    label = torch.randint(0, 10, (batch_size,), device=device)
    autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")

    def forward() -> torch.Tensor:
        with autocast:
            logits = network(image)
            return torch.nn.functional.cross_entropy(logits, label)

    if compiled:
        forward = torch.compile(forward)

    def run() -> None:
        if mode == "train":
            optimizer.zero_grad()
            forward().backward()
            optimizer.step()
        else:
            with torch.inference_mode():
                forward()

    return run, torch.cuda.synchronize if device == "cuda" else lambda: None
