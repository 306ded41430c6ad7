"""Measures the rounding of convolutions on a CPU beside XLA's own forms.

  .venv/bin/python -m benchmarks.accuracy

For each convolution of each network: its outputs and both its gradients in float32, as
the network computes them and by XLA's plain forms (`plain_forms`), against float64. An
error is the largest one, as a share of the largest value. Inputs are those of the
network at its first weights, for images of random pixels. The last row of a network is
its logits, and its gradients by the images and by all parameters. docs/performance.md
has the table.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax import cli
from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.cpu.switch import plain_forms
from alexnet_jax.models import Classifier, create_model
from benchmarks.arguments import add_counts
from benchmarks.compared import SIZES

MODELS = tuple(name for name in SIZES if name != "lenet5")  # which has no quick form
_COLUMNS = "network", "layer", "outputs", "gradient by input", "gradient by weights"


class Errors(NamedTuple):
    """Largest errors, as shares of the largest value.

    Attributes:
      outputs: Of the values.
      by_input: Of the gradient by the input.
      by_weights: Of the gradient by the parameters.
    """

    outputs: float
    by_input: float
    by_weights: float


def _values(function: Callable, weights: Any, x: Any, gradient: Any) -> list[list[Any]]:
    """Returns outputs and both gradients, float64, each a list of arrays."""

    @jax.jit
    def compute(weights: Any, x: Any, gradient: Any) -> Any:
        y, backward = jax.vjp(function, weights, x)
        by_weights, by_input = backward(gradient)
        return y, by_input, by_weights

    made = jax.device_get(compute(weights, x, gradient))
    return [[np.float64(leaf) for leaf in jax.tree.leaves(one)] for one in made]


def measure(function: Callable, weights: Any, x: jax.Array) -> tuple[Errors, Errors]:
    """Measures a function of parameters and an input.

    Args:
      function: `(weights, x)` to an array.
      weights: Its parameters, float32.
      x: Its input, float32.

    Returns:
      The errors of the forms that a network takes, and of XLA's.
    """
    shape = jax.eval_shape(function, weights, x).shape
    gradient = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    ours = _values(function, weights, x, gradient)
    with plain_forms():
        plain = _values(function, weights, x, gradient)
        with jax.enable_x64(True):
            wide = jax.tree.map(np.float64, jax.device_get((weights, x, gradient)))
            exact = _values(function, *wide)

    def errors(found: list[list[Any]]) -> Errors:
        shares = []
        for arrays, true in zip(found, exact, strict=True):
            worst = 0.0
            for one, other in zip(arrays, true, strict=True):
                worst = max(worst, abs(one - other).max() / abs(other).max())
            shares.append(worst)
        return Errors(*shares)

    return errors(ours), errors(plain)


def rows(name: str, batch_size: int) -> Iterator[tuple[str, Errors, Errors]]:
    """Yields the name, our errors and XLA's of each convolution, then of all.

    Args:
      name: The network's.
      batch_size: Images.
    """
    # PyTorch's initialization, so that gradients reach all layers.
    model = create_model(name, training=False, num_classes=10, initializer="torch")
    shape = batch_size, SIZES[name], SIZES[name], model.reference.input_shape[-1]
    x = jnp.asarray(np.random.default_rng(0).random(shape, np.float32))
    weights = jax.jit(model.init)(jax.random.key(0), x)
    layers: list[Conv] = []

    @jax.jit
    def inputs(weights: Any, x: jax.Array) -> list[jax.Array]:
        def trace(model: Classifier, x: jax.Array) -> list[jax.Array]:
            seen = []
            for layer, y in model.layer_outputs(x):
                if isinstance(layer, Conv):
                    layers.append(layer.clone(parent=None))
                    seen.append(x)
                x = y
            return seen

        found: Any = model.apply(weights, x, method=trace)
        return found

    for seen, layer in zip(inputs(weights, x), layers, strict=True):
        own = {"params": weights["params"][str(layer.name)]}
        yield str(layer.name), *measure(layer.apply, own, seen)
    yield "all", *measure(model.apply, weights, x)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = cli.Parser("benchmarks.accuracy", __doc__)
    add = parser.add_argument
    add("--models", default=",".join(MODELS), help=f"a list of {MODELS} (default: all)")
    add_counts(parser, {"--batch-size": (16, "images")})
    options = parser.parse_args(argv)
    models = options.models.split(",")
    if unknown := sorted({*models} - {*MODELS}):
        parser.error(f"--models must be of {MODELS}; got {unknown}")
    print(f"jax {jax.__version__}, {options.batch_size} images; ours, XLA's; in 1e-6\n")
    print(f"| {' | '.join(_COLUMNS)} |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in models:
        for layer, *both in rows(name, options.batch_size):
            cells = (
                f"{a * 1e6:.1f}, {b * 1e6:.1f}" for a, b in zip(*both, strict=True)
            )
            print(f"| `{name}` | {layer} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if not os.environ.get("JAX_PLATFORMS"):  # which JAX has read
        jax.config.update("jax_platforms", "cpu")
    main()
