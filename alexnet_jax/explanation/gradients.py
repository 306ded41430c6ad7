"""Maps that need a derivative of the network: saliency and Grad-CAM."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import LayerRow
from alexnet_jax.models import Classifier
from alexnet_jax.models.layer_names import select
from alexnet_jax.preprocessing.pipeline import Pipeline
from alexnet_jax.step import cast


class LayerAt(NamedTuple):
    """A layer of a network.

    Attributes:
      name: As in the layer table.
      place: From 0 on.
      shape: Of its output for one image, `(1, h, w, C)`.
    """

    name: str
    place: int
    shape: tuple[int, ...]


_CONVOLUTIONS = ("conv", "local")
# Kinds of layers that keep the shape of maps and are no nonlinearity.
_OTHERS = {*_CONVOLUTIONS, "batch_norm", "lrn", "map_norm", "contrast_norm"}
_OTHERS |= {"dropout", "mask_dropout", "adaptive_avg_pool", "blur", "mirror"}
_OTHERS |= {"add", "concatenate", "take_towers", "random_channels"}


class Derivatives(NamedTuple):
    """What one backward pass shows, in the pixels of the stored image.

    Attributes:
      saliency: `(h, w) float32`, the largest absolute derivative, over the channels, of
        a logit by a pixel, in logits per gray level (of 255).
      grad_cam: `(h, w) float32`, ReLU of the sum of a layer's maps, each weighted by
        the mean derivative of the logit by its units; it has that layer's resolution
        and is resized bilinearly. What the network does not see of the image is 0.
    """

    saliency: jax.Array
    grad_cam: jax.Array | None


def make_derivatives(
    model: Classifier, preprocess: Pipeline, dtype: str, layer: LayerAt | None
) -> Callable[..., Derivatives]:
    """Returns `derivatives(params, model_state, image, label) -> Derivatives`.

    The image is `(1, h, w, C) uint8`, the label `() int32`.

    Args:
      model: The network.
      preprocess: Makes its input of stored images.
      dtype: As in `make_train_step`.
      layer: Whose maps Grad-CAM weights; None leaves it out.

    Source: Simonyan, Vedaldi and Zisserman 2014, §3.1; Selvaraju et al. 2017, §3.
    """
    network = model.clone(training=False)

    def outputs_of(variables: Any, x: jax.Array, shift: jax.Array) -> Any:
        """Returns the logits, and the layer's maps, to which the shift is added."""
        if layer is None:
            return network.apply(variables, x), None

        def trace(model: Classifier, x: jax.Array) -> list[jax.Array]:
            return [y for _, y in model.layer_outputs(x, {layer.place: shift})]

        outputs: Any = network.apply(variables, x, method=trace)
        return outputs[-1], outputs[layer.place][0]

    def derivatives(
        params: Any, model_state: dict, image: jax.Array, label: jax.Array
    ) -> Derivatives:
        variables = {"params": cast(params, dtype), **model_state}

        def logit(scaled: jax.Array, shift: jax.Array) -> tuple[jax.Array, Any]:
            seen = preprocess(scaled).astype(dtype)
            logits, maps = outputs_of(variables, seen, shift)
            return logits.astype(jnp.float32)[0, label], maps

        scaled = image.astype(jnp.float32) / 255.0
        shift = jnp.zeros(layer.shape if layer else (), jnp.float32)
        slopes, maps = jax.grad(logit, (0, 1), has_aux=True)(scaled, shift)
        saliency = jnp.abs(slopes[0][0] / 255.0).max(axis=-1)
        if maps is None:
            return Derivatives(saliency, None)
        weights = slopes[1][0].mean(axis=(0, 1))
        total = jnp.tensordot(maps.astype(jnp.float32), weights, 1, precision="highest")
        cam = _to_image(jax.nn.relu(total), preprocess, image.shape[1:3])
        return Derivatives(saliency, cam)

    return derivatives


def _to_image(
    seen: jax.Array, preprocess: Pipeline, sides: tuple[int, ...]
) -> jax.Array:
    """Resizes a map of what the network sees to the pixels of the stored image."""
    edges = [
        (space // 2, space - space // 2)
        for space in (
            whole - part
            for whole, part in zip(preprocess.canvas, preprocess.size, strict=True)
        )
    ]
    view = jax.image.resize(seen, preprocess.size, "bilinear")
    return jax.image.resize(jnp.pad(view, edges), sides, "bilinear")


def find_layer(rows: Sequence[LayerRow], name: str | None = None) -> LayerAt | None:
    """Returns the layer whose maps Grad-CAM weights.

    Args:
      rows: The network's layers.
      name: Of the layer. If it is not given, the nonlinearity of the last convolution,
        with shared weights or not; where its maps are single numbers, the convolution
        itself, or that before it. None is returned if all are.

    Raises:
      InputError: There is no such layer, or it has no maps; the nearest are named.
    """
    with_maps = [row.name for row in rows if len(row.output_shape) == 4]
    if name is not None:
        if not isinstance(name, str):
            raise InputError(f"layer must be a name, such as 'conv1'; got {name!r}")
        for row in rows:
            if row.name == name and name not in with_maps:
                raise InputError(
                    f"layer must have maps; {name!r} has none; the last that has: "
                    f"{', '.join(with_maps[-3:]) or 'there is none'}"
                )
        found = select(with_maps, [name], "layer")
        if len(found) > 1:
            raise InputError(
                f"layer must name one layer; {name!r} names {', '.join(sorted(found))}"
            )
        return _at(rows, [row.name for row in rows].index(found.pop()))
    for place in reversed(range(len(rows))):
        if rows[place].kind in _CONVOLUTIONS:
            for one in (_nonlinearity(rows, place), place):
                if max(rows[one].output_shape[1:-1]) > 1:
                    return _at(rows, one)
    return None


def _at(rows: Sequence[LayerRow], place: int) -> LayerAt:
    return LayerAt(rows[place].name, place, rows[place].output_shape)


def _nonlinearity(rows: Sequence[LayerRow], conv: int) -> int:
    """Returns the place of a convolution's nonlinearity, or its own without one."""
    last = conv  # of those that lead on from it
    for place in range(conv + 1, len(rows)):
        before, row = rows[last], rows[place]
        if before.name not in row.reads:
            continue
        if len(row.output_shape) != 4 or row.kind in _CONVOLUTIONS:
            break
        keeps = row.output_shape == before.output_shape
        if keeps and not row.params and row.kind not in _OTHERS:
            return place
        last = place
    return conv
