"""The outputs of layers: which of them, and the compiled function that gives them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import LayerRow
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.models.layer_names import select
from alexnet_jax.step import cast
from alexnet_jax.transfer.settings import patterns_of

# Of the height and width of maps. Means and maxima are 1 / (h w) of the memory.
POOLS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "none": lambda maps: maps,
    "mean": lambda maps: maps.mean(axis=(1, 2)),
    "max": lambda maps: maps.max(axis=(1, 2)),
}
_DROPOUT = ("dropout", "mask_dropout")


def choose_layers(
    names: Sequence[str], layers: str | Sequence[str], key: str = "layers"
) -> list[str]:
    """Returns the layers that names or patterns choose, in the network's order.

    Args:
      names: All that there are.
      layers: Names and patterns of them, such as `relu*`; a string may hold several,
        with commas between them.
      key: What an error calls them.

    Raises:
      InputError: One fits no layer, with the nearest names; there is none; or they
        are no texts.
    """
    several = isinstance(layers, Iterable) and not isinstance(layers, str | bytes)
    texts = [*layers] if several else [layers]
    for text in texts:
        if not isinstance(text, str):
            raise InputError(
                f"{key} must be a name or pattern, or several, such as {names[-1]!r}; "
                f"got {type(text).__name__}"
            )
    patterns = patterns_of(texts)
    if not patterns:
        raise InputError(f"{key} must name a layer, such as {names[-1]!r}; got none")
    chosen = select(names, patterns, key)
    return [name for name in names if name in chosen]


def default_layer(rows: Sequence[LayerRow]) -> str:
    """Returns what the last layer with weights classifies: `relu7` of an AlexNet.

    Dropout, which does nothing here, is passed over.

    Args:
      rows: The network's layers.
    """
    last = max((i for i, row in enumerate(rows) if row.params), default=len(rows) - 1)
    by_name = {row.name: row for row in rows}
    read = by_name.get(rows[last].reads[0])
    while read and read.kind in _DROPOUT:
        read = by_name.get(read.reads[0])
    return (read or rows[last]).name


def check_pool(pool: str) -> None:
    """Checks the name of a pooling.

    Raises:
      InputError: It is no key of `POOLS`.
    """
    if not isinstance(pool, str) or pool not in POOLS:
        got = repr(pool) if isinstance(pool, str) else type(pool).__name__
        raise InputError(f"pool must be one of {(*POOLS,)}; got {got}")


def make_outputs(
    model: Classifier,
    preprocess: Callable[[jax.Array], jax.Array],
    dtype: str = "float32",
) -> Callable[..., list[jax.Array]]:
    """Returns the compiled function of layers' outputs.

    Args:
      model: The network, `training=False`.
      preprocess: Makes of stored images what the network takes.
      dtype: What layers compute in, as in `step.make_forward`.

    Returns:
      A function of `params`, `model_state`, `image`, which is `(B, h, w, C) uint8`,
      `wanted`, the places of the layers in the network, and `pool`, a key of `POOLS`.
      It gives each layer's output, maps pooled: `(B, ...) float32`.
    """

    def outputs(
        params: Any,
        model_state: Any,
        image: jax.Array,
        wanted: tuple[int, ...],
        pool: str = "none",
    ) -> list[jax.Array]:
        def trace(model: Any, x: jax.Array) -> list[jax.Array]:
            made = [output for _, output in model.layer_outputs(x)]
            return [made[index] for index in wanted]

        variables = {"params": cast(params, dtype), **model_state}
        x = preprocess(image).astype(dtype)
        made: Any = model.apply(variables, x, method=trace)
        found = [one.astype(jnp.float32) for one in made]
        return [POOLS[pool](one) if one.ndim == 4 else one for one in found]

    return jax.jit(outputs, static_argnames=("wanted", "pool"))
