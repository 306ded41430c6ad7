"""Maps that need a derivative of the network: the gradient's size, and Grad-CAM."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import LayerRow
from alexnet_jax.models import Classifier
from alexnet_jax.models.layer_names import select
from alexnet_jax.preprocessing.pipeline import Pipeline
from alexnet_jax.step import make_forward

# Kinds of layers that keep the shape of maps and are no nonlinearity.
_OTHERS = {"conv", "batch_norm", "lrn", "map_norm", "dropout", "mask_dropout"}
_OTHERS |= {"adaptive_avg_pool"}


def make_saliency(
    model: Classifier, preprocess: Pipeline, dtype: str
) -> Callable[..., jax.Array]:
    """Returns `saliency(params, model_state, image, label) -> map`.

    The image is `(1, h, w, C) uint8`, the label `() int32`; the map `(h, w) float32` is
    the largest absolute derivative, over the channels, of the label's logit by a pixel
    of the image, in logits per gray level (of 255).

    Args:
      model: The network.
      preprocess: Makes its input of stored images.
      dtype: As in `make_train_step`.

    Source: Simonyan, Vedaldi and Zisserman 2014, §3.1.
    """
    forward = make_forward(model, preprocess, dtype=dtype)

    def saliency(
        params: Any, model_state: dict, image: jax.Array, label: jax.Array
    ) -> jax.Array:
        def logit(scaled: jax.Array) -> jax.Array:
            return forward(params, model_state, scaled)[0, label]

        slope = jax.grad(logit)(image.astype(jnp.float32) / 255.0) / 255.0
        return jnp.abs(slope[0]).max(axis=-1)

    return saliency


def make_grad_cam(
    model: Classifier,
    preprocess: Pipeline,
    dtype: str,
    place: int,
    shape: tuple[int, ...],
) -> Callable[..., jax.Array]:
    """Returns `grad_cam(params, model_state, image, label) -> map`.

    Image and label are as `make_saliency`'s. The map `(h, w) float32` is ReLU of the
    sum of a layer's maps, each weighted by the mean derivative of the label's logit by
    its units; it is that layer's resolution, brought to the image's pixels bilinearly.
    What the network does not see of the image is 0.

    Args:
      model: The network.
      preprocess: Makes its input of stored images.
      dtype: As in `make_train_step`.
      place: Of the layer, from 0 on.
      shape: Of its output for one image, `(1, h', w', C')`.

    Source: Selvaraju et al. 2017, §3.
    """
    network = model.clone(training=False)

    def grad_cam(
        params: Any, model_state: dict, image: jax.Array, label: jax.Array
    ) -> jax.Array:
        cast = jax.tree.map(lambda array: array.astype(dtype), params)
        variables = {"params": cast, **model_state}

        def logit(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
            def trace(model: Classifier, x: jax.Array) -> list[jax.Array]:
                return [y for _, y in model.layer_outputs(x, {place: shift})]

            seen = preprocess(image).astype(dtype)
            outputs: Any = network.apply(variables, seen, method=trace)
            return outputs[-1].astype(jnp.float32)[0, label], outputs[place][0]

        slope, maps = jax.grad(logit, has_aux=True)(jnp.zeros(shape, jnp.float32))
        weights = slope[0].mean(axis=(0, 1))
        total = jnp.tensordot(maps.astype(jnp.float32), weights, 1, precision="highest")
        return _to_image(jax.nn.relu(total), preprocess, image.shape[1:3])

    return grad_cam


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


def find_layer(rows: Sequence[LayerRow], name: str | None = None) -> int | None:
    """Returns the place of the layer whose maps Grad-CAM weights.

    Args:
      rows: The network's layers.
      name: Of the layer. If it is not given, the last convolution's nonlinearity; where
        its maps are single numbers, the convolution itself, or that before it. None is
        returned if all are.

    Raises:
      InputError: There is no such layer, or it has no maps; the nearest are named.
    """
    with_maps = [row.name for row in rows if len(row.output_shape) == 4]
    if name is not None:
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
        return [row.name for row in rows].index(found.pop())
    for place in reversed(range(len(rows))):
        if rows[place].kind == "conv":
            for one in (_nonlinearity(rows, place), place):
                if max(rows[one].output_shape[1:-1]) > 1:
                    return one
    return None


def _nonlinearity(rows: Sequence[LayerRow], conv: int) -> int:
    """Returns the place of a convolution's nonlinearity, or its own without one."""
    for place in range(conv + 1, len(rows)):
        before, row = rows[place - 1], rows[place]
        if len(row.output_shape) != 4 or row.kind == "conv":
            break
        keeps = row.output_shape == before.output_shape
        if keeps and not row.params and row.kind not in _OTHERS:
            return place
    return conv
