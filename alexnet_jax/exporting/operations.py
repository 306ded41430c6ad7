"""Lists what a network's layers do, from its layers and its variables."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from alexnet_jax.errors import InputError
from alexnet_jax.exporting import kinds
from alexnet_jax.exporting.convolutions import conv_settings
from alexnet_jax.exporting.kinds import Operation, Shape
from alexnet_jax.exporting.trace import Seen, trace
from alexnet_jax.layers.conv import Conv, ceil_padding, zeros_before_ceil
from alexnet_jax.layers.dense import Dense, TowerDense, flatten
from alexnet_jax.layers.dropout import MaskDropout
from alexnet_jax.layers.normalization import LocalResponseNorm, MapNorm
from alexnet_jax.layers.pooling import (
    CeilPool,
    adaptive_avg_pool,
    avg_pool,
    avg_pool_3x3,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
)
from alexnet_jax.models import Classifier

_ACTIVATIONS = (
    (nn.relu, "relu"),
    (nn.tanh, "tanh"),
    (nn.sigmoid, "sigmoid"),
    (nn.softmax, "softmax"),
)
# Function: whether it averages, window, and whether the last one may hang over.
_POOLS = (
    (max_pool, (False, 3, False)),
    (max_pool_ceil, (False, 3, True)),
    (max_pool_2x2, (False, 2, True)),
    (avg_pool_3x3, (True, 3, True)),
    (avg_pool, (True, 2, False)),
)


def list_operations(
    model: Classifier, variables: Mapping, input_shape: tuple[int, int, int]
) -> list[Operation]:
    """Lists what a network does at test, layer by layer.

    Args:
      model: Any network whose layers are in `net`; of towers, as one device has it.
      variables: `params` and, with BatchNorm, `batch_stats`, of the whole network.
      input_shape: Height, width and channels of its images.

    Returns:
      Operations, each of which takes what the one before gives; the last gives
      `(num_classes,)`. Arrays are views of the variables' where they can be.

    Raises:
      InputError: A layer is of a kind that other tools have no words for, or the images
        are too small.
    """
    whole: dict[str, Any] = {
        "training": False,
        "tower_axis": None,
        "batch_axis": None,
    }
    network = model.clone(**{k: v for k, v in whole.items() if hasattr(model, k)})
    walk = _Walk()
    for seen in trace(network, variables, input_shape):
        walk.add(seen)
    walk.end()
    return walk.operations


class _Walk:
    """Makes operations of layers one after the other.

    Attributes:
      operations: So far.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        # The maps `(H, W, C)` that were flattened, until a dense layer has read them.
        self._flattened: Shape | None = None
        # Whether units are maps of one pixel, as a dense layer in groups leaves them.
        self._is_pixel = False

    def add(self, seen: Seen) -> None:
        """Appends a layer's operation.

        Raises:
          InputError: There is none.
        """
        layer = seen.layer
        by_type: dict[type, Callable[[Seen], None]] = {
            Conv: self._convolution,
            nn.Conv: self._convolution,
            Dense: self._dense,
            nn.Dense: self._dense,
            TowerDense: self._tower_dense,
            nn.BatchNorm: self._batch_norm,
            LocalResponseNorm: self._response_norm,
            MapNorm: self._map_norm,
            CeilPool: self._ceil_pool,
            nn.Dropout: self._dropout,
            MaskDropout: self._dropout,
        }
        # By type and identity: a class derived from one may compute something else.
        if type(layer) in by_type:
            by_type[type(layer)](seen)
        elif layer is flatten:
            self._flatten(seen)
        elif layer is adaptive_avg_pool:
            self._append(kinds.AdaptivePool, seen)
        elif pool := _find(_POOLS, layer):
            self._pool(seen, *pool)
        elif function := _find(_ACTIVATIONS, layer):
            self._append(kinds.Activation, seen, function=function)
        else:
            raise seen.refuse(
                "other tools have no operation for it that is known here; use "
                "convolutions, dense layers, pools, LRN and dropout of "
                "alexnet_jax.layers, flax.linen's Conv, Dense, BatchNorm and Dropout, "
                "and relu, tanh, sigmoid and softmax"
            )

    def end(self) -> None:
        """Appends what the last layer leaves to be done.

        Raises:
          InputError: The network gives maps, or flattened ones, in place of logits.
        """
        self._leave_pixel()
        last = self.operations[-1] if self.operations else None
        if last is None or len(last.output_shape) != 1 or self._is_reordered:
            raise InputError(
                "the network cannot be exported: it must end in a dense layer, whose "
                "units are the logits"
            )

    @property
    def _is_reordered(self) -> bool:
        """Whether units are in another order here than where channels come first."""
        return self._flattened is not None and math.prod(self._flattened[:-1]) > 1

    def _append(self, kind: type[Operation], seen: Seen, **fields: Any) -> None:
        before, after = _channels_first(seen.before), _channels_first(seen.after)
        if self._is_pixel:
            before, after = ((*shape, 1, 1)[:3] for shape in (before, after))
        self.operations.append(
            kind(name=seen.name, input_shape=before, output_shape=after, **fields)
        )

    def _leave_pixel(self) -> None:
        if self._is_pixel:
            shape = self.operations[-1].output_shape
            self.operations.append(
                kinds.Flatten(name="flatten", input_shape=shape, output_shape=shape[:1])
            )
            self._is_pixel = False

    def _flatten(self, seen: Seen) -> None:
        if self._is_pixel:
            self._leave_pixel()
        elif len(seen.before) > 1:
            self._append(kinds.Flatten, seen)
            self._flattened = seen.before

    def _convolution(self, seen: Seen) -> None:
        layer = seen.layer
        settings = conv_settings(seen)
        self._append(
            kinds.Convolution,
            seen,
            weight=_float32(seen.arrays["kernel"]).transpose(3, 2, 0, 1),
            bias=_bias(seen),
            groups=layer.feature_group_count,
            rounds_up=zeros_before_ceil(layer.padding) is not None,
            **settings,
        )

    def _dense(self, seen: Seen) -> None:
        self._leave_pixel()
        kernel = _float32(seen.arrays["kernel"])
        if len(seen.before) > 1:  # it reads each pixel by itself
            seen.check_maps()
            weight = kernel.T[:, :, None, None]
            self._append(kinds.Convolution, seen, weight=weight, bias=_bias(seen))
            return
        if self._is_reordered:
            rows = kernel.reshape(*self._flattened or (), -1)
            weight = rows.transpose(3, 2, 0, 1).reshape(kernel.shape[::-1])
        else:
            weight = kernel.T
        self._flattened = None
        self._append(kinds.Dense, seen, weight=weight, bias=_bias(seen))

    def _tower_dense(self, seen: Seen) -> None:
        """Appends a convolution with a window of the whole map, in groups."""
        groups = seen.layer.groups
        is_flat = len(seen.before) == 1 and not self._is_pixel
        if is_flat and groups == 1:
            self._dense(seen)
            return
        if is_flat:
            raise seen.refuse("it must read maps, or the units of another TowerDense")
        height, width = seen.before[:-1] or (1, 1)
        kernel = _float32(seen.arrays["kernel"])
        weight = kernel.reshape(height, width, -1, kernel.shape[-1])
        self._is_pixel = True
        self._append(
            kinds.Convolution,
            seen,
            weight=weight.transpose(3, 2, 0, 1),
            bias=_bias(seen),
            groups=groups,
            is_dense=True,
        )

    def _batch_norm(self, seen: Seen) -> None:
        layer = seen.layer
        channels = seen.before[-1]
        if not layer.use_running_average:
            raise seen.refuse(
                "it takes the batch's statistics in tests too; set "
                "use_running_average=not self.training"
            )
        if layer.axis not in (-1, len(seen.before)):
            raise seen.refuse(f"its axis must be the channels', -1; got {layer.axis}")
        arrays = {
            "weight": seen.arrays.get("scale", np.ones(channels, np.float32)),
            "bias": seen.arrays.get("bias", np.zeros(channels, np.float32)),
            "mean": seen.arrays["mean"],
            "variance": seen.arrays["var"],
        }
        if len(seen.before) == 1 and self._is_reordered:
            places = np.arange(channels).reshape(self._flattened or ())
            order = places.transpose(2, 0, 1).reshape(-1)
            arrays = {key: array[order] for key, array in arrays.items()}
        self._append(
            kinds.BatchNorm,
            seen,
            epsilon=layer.epsilon,
            momentum=layer.momentum,
            **{key: _float32(array) for key, array in arrays.items()},
        )

    def _response_norm(self, seen: Seen) -> None:
        seen.check_maps()
        layer = seen.layer
        self._append(
            kinds.ResponseNorm,
            seen,
            size=layer.size,
            alpha=layer.scale * layer.size,
            beta=layer.beta,
            k=layer.constant,
            groups=layer.groups,
        )

    def _map_norm(self, seen: Seen) -> None:
        layer = seen.layer
        seen.check_maps()
        if layer.size % 2 == 0:
            raise seen.refuse(f"its size must be odd; got {layer.size}")
        if layer.k != 1:
            raise seen.refuse(f"its k must be 1; got {layer.k:g}")
        self._append(
            kinds.MapNorm, seen, size=layer.size, alpha=layer.scale, beta=layer.power
        )

    def _dropout(self, seen: Seen) -> None:
        layer = seen.layer
        if getattr(layer, "broadcast_dims", ()):
            raise seen.refuse("it must drop units one by one, without broadcast_dims")
        mask = isinstance(layer, MaskDropout)
        self._append(kinds.Dropout, seen, rate=layer.rate, mask=mask)

    def _ceil_pool(self, seen: Seen) -> None:
        layer = seen.layer
        if layer.start:
            raise seen.refuse(f"its start must be 0; got {layer.start}")
        self._pool(seen, layer.kind == "avg", layer.size, True, layer.stride)

    def _pool(
        self, seen: Seen, average: bool, size: int, rounds_up: bool, stride: int = 2
    ) -> None:
        down, across = (
            ceil_padding(length, size, stride)[1] if rounds_up else 0
            for length in seen.before[:2]
        )
        self._append(
            kinds.Pool,
            seen,
            average=average,
            size=size,
            stride=stride,
            overhang=(down, across),
            rounds_up=rounds_up,
        )


def _find(table: Sequence[tuple[Callable, Any]], layer: Callable) -> Any:
    # By identity: a module that holds variables cannot be hashed.
    return next((value for known, value in table if known is layer), None)


def _channels_first(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1])


def _bias(seen: Seen) -> np.ndarray | None:
    bias = seen.arrays.get("bias")
    return None if bias is None else _float32(bias)


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False)
