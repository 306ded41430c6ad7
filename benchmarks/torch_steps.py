"""Steps of PyTorch, the peer: at its best where there is a GPU.

cuDNN's algorithms chosen by measuring, TF32 for products and convolutions in float32
(XLA's default as well), channels_last, the fused optimizer.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.compared import SIZES, Step
from benchmarks.torch_networks import torch_network

WAYS = ("", "compile", "graph")


def torch_step(
    model: str, mode: str, batch_size: int, dtype: str, how: str = ""
) -> Step:
    """Returns PyTorch's step, on a GPU if there is one.

    Args:
      model: A network of `SIZES`.
      mode: `train` or `eval`.
      batch_size: Images.
      dtype: `float32` or `bfloat16`, by autocast.
      how: "" runs eagerly; `compile` is `torch.compile` with `max-autotune`, which uses
        CUDA graphs; `graph` puts the whole eager step into one CUDA graph.

    Raises:
      ValueError: `how` is none of these.
      RuntimeError: A CUDA graph is asked for without a GPU.
    """
    if how not in WAYS:
        raise ValueError(f"how must be one of {WAYS}; got {how!r}")
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
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

    def forward() -> torch.Tensor:
        # A graph may not hold what autocast keeps of one call for the next.
        with torch.autocast(
            device,
            torch.bfloat16,
            enabled=dtype == "bfloat16",
            cache_enabled=how != "graph",
        ):
            return torch.nn.functional.cross_entropy(network(image), label)

    if how == "compile":
        forward = torch.compile(forward, mode="max-autotune")

    def run() -> None:
        if mode == "train":
            optimizer.zero_grad()
            forward().backward()
            optimizer.step()
        else:
            with torch.inference_mode():
                forward()

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    start = time.perf_counter()
    if how == "graph":
        run = _capture(run)
    run()
    wait()
    compile_s = time.perf_counter() - start
    return Step(run, wait, compile_s, _device_gb, lambda steps: _kernels(run, steps))


def _capture(run: Callable[[], None]) -> Callable[[], None]:
    """Returns the replay of a step; it wants a GPU."""
    if not torch.cuda.is_available():
        raise RuntimeError("a CUDA graph wants a GPU")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # what is allocated and chosen once
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _device_gb() -> float | None:
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 1e9


def _kernels(run: Callable[[], None], steps: int) -> float | None:
    """Returns how many kernels a step runs on the GPU; None on a CPU, or if unseen."""
    if not torch.cuda.is_available():
        return None
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(steps):
            run()
        torch.cuda.synchronize()
    events = profile.events() or []
    on_gpu = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    return len(on_gpu) / steps or None
