"""What a network's layers are, read and write, before other tools' words for them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import InputError
from alexnet_jax.exporting.kinds import Shape
from alexnet_jax.inspection.layers import describe, first_branch
from alexnet_jax.models import Classifier


class Seen(NamedTuple):
    """A layer of the network.

    Attributes:
      layer: A module or a function.
      name: Its own in the layer table.
      before: Shape of what it reads of one image, channels last.
      after: Shape of what it gives.
      arrays: Its variables by their names in linen: `kernel`, `bias`, `mean`, ...
    """

    layer: Any
    name: str
    before: Shape
    after: Shape
    arrays: Mapping[str, np.ndarray]

    def check_maps(self) -> None:
        """Checks that the layer reads maps.

        Raises:
          InputError: It reads units.
        """
        if len(self.before) != 3:
            raise self.refuse(
                f"it must read maps of height and width; it reads {self.before}"
            )

    def refuse(self, why: str) -> InputError:
        """Returns the error of a layer that cannot be exported."""
        kind = getattr(self.layer, "__name__", type(self.layer).__name__)
        return InputError(f"layer {self.name}, {kind}, cannot be exported: {why}")


def trace(
    network: Classifier, variables: Mapping, input_shape: tuple[int, int, int]
) -> list[Seen]:
    """Returns the layers in order; computes nothing.

    Args:
      network: At test, on one device.
      variables: `params` and, with BatchNorm, `batch_stats`.
      input_shape: Height, width and channels of its images.

    Raises:
      InputError: The images are too small, the network is no chain, or a layer cannot
        be told from another.
    """
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    rows = describe(network, image.shape)
    if branch := first_branch(rows):
        raise InputError(
            f"network {type(network).__name__} cannot be exported: it is no chain of "
            f"layers, layer {branch.name} reads {' and '.join(branch.reads)}; formats "
            "stablehlo and safetensors hold any network"
        )
    layers: list[tuple[Callable, tuple[str, ...], Shape]] = []

    def collect(model: Classifier, x: jax.Array) -> None:
        for layer, output in model.layer_outputs(x):
            layers.append((layer, getattr(layer, "path", ()), output.shape[1:]))

    def apply(variables: Mapping, x: jax.Array) -> None:
        # Mutable, for a BatchNorm that takes the batch's: it is refused by name later.
        network.apply(variables, x, method=collect, mutable=["batch_stats"])

    jax.eval_shape(apply, variables, image)
    found, before = [], tuple(input_shape)
    places: set[tuple[str, ...]] = set()
    for row, (layer, path, after) in zip(rows, layers, strict=True):
        arrays: dict[str, np.ndarray] = {}
        for collection in ("params", "batch_stats"):
            node: Any = variables.get(collection, {})
            for key in path:
                node = node.get(key, {})
            if path:
                arrays |= {key: np.asarray(leaf) for key, leaf in node.items()}
        seen = Seen(layer, row.name, before, after, arrays)
        if path and not row.name.isidentifier():
            raise seen.refuse("its name must be letters, digits and underscores")
        if arrays and path in places:
            twice = seen._replace(name=path[-1])
            raise twice.refuse(
                "it stands in the network twice; give each place its own"
            )
        places.add(path)
        found.append(seen)
        before = after
    return found
