"""Steps of JAX: ours, and a bare one of Flax by XLA's own forms."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alexnet_jax.config import default_config
from alexnet_jax.layers.cpu.switch import plain_forms
from alexnet_jax.models import create_model
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.preprocessing.pipeline import scale_and_resize
from alexnet_jax.step import create_state, make_eval_step, make_train_step
from benchmarks.compared import SIZES, Step


def our_step(model: str, mode: str, batch_size: int, dtype: str) -> Step:
    """Returns our step, compiled; arguments as in `sides.create_step`."""
    size = SIZES[model]
    optim = default_config().optim
    optim.momentum = 0.9
    tx = create_optimizer(optim, create_schedule(optim, 0.01, 1, 1))
    network = create_model(model, num_classes=10, training=True)
    state = create_state(network, tx, (1, size, size, 1), jax.random.key(0))
    batch, key = _batch(batch_size, size), jax.random.key(1)
    batch["mask"] = jnp.ones(batch_size, bool)
    prepare = partial(scale_and_resize, size=size)
    if mode == "eval":
        evaluate = make_eval_step(network, prepare, dtype=dtype)
        return _compile(evaluate, (), (state.params, state.model_state, batch))
    step = make_train_step(
        network,
        tx,
        prepare,
        dtype=dtype,
        steps_per_epoch=10**9,
        log_every_steps=10**9,
    )

    def advance(state: Any, batch: Any, key: jax.Array) -> Any:
        return step(state, batch, key)[0]

    return _compile(advance, state, (batch, key))


def flax_step(model: str, mode: str, batch_size: int, dtype: str) -> Step:
    """Returns the step of Flax's introductions: a gradient, `optax.sgd`, nothing else.

    The network is the same, computed by `nn.Conv`, `nn.max_pool` and `nn.Dense` as they
    are. Arguments as in `sides.create_step`.
    """
    size = SIZES[model]
    network = create_model(model, num_classes=10, training=mode == "train")
    tx = optax.sgd(0.01, 0.9)
    batch, key = _batch(batch_size, size), jax.random.key(1)
    sample = jnp.zeros((1, size, size, 1), jnp.float32)

    def loss_of(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        image = (batch["image"].astype(jnp.float32) / 255).astype(jnp.dtype(dtype))
        logits: Any = network.apply({"params": params}, image, rngs={"dropout": key})
        logits = logits.astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, batch["label"]
        ).mean()

    def advance(state: Any, batch: Any, key: jax.Array) -> Any:
        params, opt_state, step = state
        key = jax.random.fold_in(key, step)
        grads = jax.grad(loss_of)(params, batch, key)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, step + 1

    with plain_forms():
        first = jax.random.key(0)
        params = network.init({"params": first, "dropout": first}, sample)["params"]
        if mode == "eval":
            return _compile(loss_of, (), (params, batch, key))
        state = params, tx.init(params), jnp.zeros((), jnp.int32)
        return _compile(advance, state, (batch, key))


def count_kernels(trace: Path) -> int:
    """Returns how many kernels a profile shows; on a CPU, operations of XLA."""
    return len(device_events(trace))


def device_events(trace: Path) -> list[tuple[str, str, float, float]]:
    """Returns the operation, kernel, start and end in ns of all that the device did.

    Args:
      trace: Folder that `jax.profiler.trace` has written.
    """
    data = jax.profiler.ProfileData.from_file(str(next(trace.rglob("*.xplane.pb"))))
    on_gpu = jax.default_backend() == "gpu"
    found = []
    for plane in data.planes:
        if ("GPU" if on_gpu else "CPU") not in plane.name:
            continue
        for line in plane.lines:
            if on_gpu and "Stream" not in line.name:
                continue
            for event in line.events:
                operation = dict(event.stats).get("hlo_op")
                if on_gpu or operation:
                    end = event.start_ns + event.duration_ns
                    name = str(operation or event.name)
                    found.append((name, event.name, event.start_ns, end))
    return sorted(found, key=lambda event: event[2])


def _batch(batch_size: int, size: int) -> dict[str, jax.Array]:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (batch_size, size, size, 1), np.uint8)
    label = generator.integers(0, 10, batch_size).astype(np.int32)
    return jax.device_put({"image": image, "label": label})


def _compile(function: Callable, state: Any, constant: tuple[Any, ...]) -> Step:
    """Returns the step of `function(state, *constant) -> state`.

    Args:
      function: Of `constant` alone, where the state is `()`.
      state: Its memory is used up.
      constant: Arguments that stay.
    """
    keeps = state == ()
    start = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=() if keeps else 0)
    arguments = constant if keeps else (state, *constant)
    compiled = jitted.lower(*arguments).compile()
    compile_s = time.perf_counter() - start
    result: Any = state

    def run() -> None:
        nonlocal result
        result = compiled(*constant) if keeps else compiled(result, *constant)

    def wait() -> Any:
        return jax.block_until_ready(result)

    def device_gb() -> float | None:
        stats = jax.local_devices()[0].memory_stats() or {}
        peak = stats.get("peak_bytes_in_use")
        return None if peak is None else peak / 1e9

    def kernels(steps: int) -> float | None:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                for _ in range(steps):
                    run()
                wait()
            # None are seen where the driver lets nobody profile.
            return count_kernels(Path(folder)) / steps or None

    return Step(run, wait, compile_s, device_gb, kernels, compiled.as_text() or "")
