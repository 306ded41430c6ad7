"""Whether our forms of the layers are right on this device: beside XLA's own.

The reference is XLA's form in float32 at the highest precision. A form of ours may be
twice as far from it as XLA's own in the same numbers; or so far that a few units fall
to another side.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alexnet_jax.layers.cpu.switch import plain_forms
from alexnet_jax.models import create_model

NUMBERS = {  # what is computed in: dtype, precision
    "highest": ("float32", "highest"),
    "float32": ("float32", "default"),
    "bfloat16": ("bfloat16", "default"),
}
# What is right in any case, through all layers: a pixel that nearly ties with another,
# or a unit that is nearly zero, may fall to either side. Of `alexnet_d2l` the last bit
# of the images moves gradients by 3e-4, by XLA's forms and at the highest precision.
ROUNDING = {"highest": 1e-2, "float32": 1e-2, "bfloat16": 2e-2}


def measure(models: Sequence[str], batch_size: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each network and kind of numbers.

    Args:
      models: Networks, at 224×224, `lenet5` at 28×28.
      batch_size: Images.
    """
    for name in models:
        wanted = _answer(name, batch_size, "highest", plain=True)
        for numbers in NUMBERS:
            ours = distances(_answer(name, batch_size, numbers, plain=False), wanted)
            xla = (0.0, 0.0)
            if numbers != "highest":  # which is the reference itself
                answer = _answer(name, batch_size, numbers, plain=True)
                xla = distances(answer, wanted)
            bounds = [max(2 * one, ROUNDING[numbers]) for one in xla]
            # What is not a number is within no bound.
            ok = all(one <= most for one, most in zip(ours, bounds, strict=True))
            yield {
                "model": name,
                "numbers": numbers,
                "ours": ours,
                "xla": xla,
                "ok": ok,
                "words": f"{name}, {numbers}: {'right' if ok else 'WRONG'}, off by "
                f"{ours[0]:.1e}, in one array {ours[1]:.1e}; XLA's own form by "
                f"{xla[0]:.1e}, {xla[1]:.1e}",
            }


def _answer(name: str, batch_size: int, numbers: str, *, plain: bool) -> Any:
    """Returns logits and gradients of a network, all float32."""
    dtype, precision = NUMBERS[numbers]
    size = 28 if name == "lenet5" else 224
    network = create_model(name, num_classes=10, training=False)
    shape = batch_size, size, size, 1
    image = jax.random.uniform(jax.random.key(0), shape, jnp.float32)
    label = jnp.arange(batch_size, dtype=jnp.int32) % 10

    def loss_of(params: Any) -> tuple[jax.Array, jax.Array]:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        logits: Any = network.apply({"params": params}, image.astype(jnp.dtype(dtype)))
        logits = logits.astype(jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return losses.mean(), logits

    with contextlib.ExitStack() as stack:
        stack.enter_context(plain_forms(plain))
        stack.enter_context(jax.default_matmul_precision(precision))
        init = jax.jit(network.init)
        params = init(jax.random.key(1), image[:1])["params"]
        grads, logits = jax.jit(jax.grad(loss_of, has_aux=True))(params)
        return jax.device_get((logits, grads))


def distances(got: Any, wanted: Any) -> tuple[float, float]:
    """Returns how far logits and gradients are: all together, and the worst array.

    Relative to norms; of an array that is nearly zero, to a thousandth of the largest.

    Args:
      got: Logits and gradients.
      wanted: The same of the reference.
    """
    errors, norms = (
        np.array([np.linalg.norm(leaf) for leaf in jax.tree.leaves(tree)], np.float64)
        for tree in (jax.tree.map(np.subtract, got, wanted), wanted)
    )
    logits = errors[0] / norms[0]
    gradient = np.linalg.norm(errors[1:]) / np.linalg.norm(norms[1:])
    worst = np.max(errors[1:] / np.maximum(norms[1:], 1e-3 * norms[1:].max()))
    return float(np.maximum(logits, gradient)), float(np.maximum(logits, worst))
