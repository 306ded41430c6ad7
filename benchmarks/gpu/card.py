"""What machine this is, and its ceilings: copies, products of matrices, the bus."""

import importlib.metadata
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PACKAGES = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch"]
_PACKAGES += ["triton", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "grain"]
_QUERY = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"


def measure(small: bool = False) -> Iterator[dict[str, Any]]:
    """Yields the machine, then each ceiling.

    Args:
      small: Tries everything in little, on a CPU too.

    Raises:
      SystemExit: JAX sees no GPU, and `small` is False.
    """
    device = jax.devices()[0]
    versions = {name: _version(name) for name in _PACKAGES}
    words = f"{device.device_kind}, {os.cpu_count()} cores, jax {jax.__version__}"
    yield {
        "device": device.device_kind,
        "platform": device.platform,
        "driver": _driver(),
        "cores": os.cpu_count(),
        "versions": {name: one for name, one in versions.items() if one},
        "words": words,
    }
    if device.platform != "gpu" and not small:
        raise SystemExit("JAX sees no GPU; --small tries the suite on a CPU")
    count = 2**20 if small else 2**30
    big = jnp.zeros((count,), jnp.bfloat16)
    rate = 2 * big.nbytes / _seconds(jax.jit(lambda x: x + 1), big) / 1e12
    yield {"copy_tb_per_s": rate, "words": f"memory moves {rate:.3g} TB/s"}
    del big
    size = 256 if small else 8192
    for dtype, precision in (
        ("bfloat16", "default"),
        ("float32", "default"),
        ("float32", "highest"),
    ):
        a, b = (
            jax.random.normal(jax.random.key(seed), (size, size), jnp.dtype(dtype))
            for seed in (0, 1)
        )
        with jax.default_matmul_precision(precision):
            tflops = 2 * size**3 / _seconds(jax.jit(jnp.matmul), a, b) / 1e12
        what = f"products of {size}×{size} {dtype} matrices, {precision} precision"
        yield {
            "matrix_tflops": tflops,
            "dtype": dtype,
            "precision": precision,
            "words": f"{what}: {tflops:.4g} TFLOP/s",
        }
    yield _road(10**5 if small else 10**8)


def _road(count: int) -> dict[str, Any]:
    """Returns what the way to the card and back costs."""
    batch, many = np.zeros((128, 28, 28, 1), np.uint8), np.ones(count, np.float32)
    on_device = jnp.ones(count, jnp.float32)
    again = jax.jit(lambda x: x + 1)  # no array is copied to the host twice
    tree, touch = (
        [jnp.zeros(8, jnp.float32)] * 40,
        jax.jit(lambda leaves: [x + 1 for x in leaves]),
    )
    found = {
        "batch_us": 1e6 * _seconds(jax.device_put, batch),
        "to_device_gb_s": many.nbytes / _seconds(jax.device_put, many) / 1e9,
        "to_host_gb_s": many.nbytes
        / _seconds(lambda x: np.asarray(again(x)), on_device)
        / 1e9,
        "call_us": 1e6 * _seconds(touch, tree),
    }
    return found | {
        "words": f"a batch of 128×28×28 bytes reaches the card in "
        f"{found['batch_us']:.0f} µs, a call of 40 arrays takes {found['call_us']:.0f} "
        f"µs; {found['to_device_gb_s']:.3g} GB/s to the card, "
        f"{found['to_host_gb_s']:.3g} back"
    }


def _seconds(function: Callable, *args: Any, inner: int = 10) -> float:
    """Returns the median seconds of a call, of several without a wait between."""
    jax.block_until_ready(function(*args))  # compiles
    found = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(inner):
            result = function(*args)
        jax.block_until_ready(result)
        found.append((time.perf_counter() - start) / inner)
    return statistics.median(found)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str:
    """Returns what `nvidia-smi` says of the card."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout or done.stderr).strip()[:300]
