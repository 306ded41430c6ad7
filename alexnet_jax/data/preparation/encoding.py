"""Images that a builder yields, encoded by Pillow: TFDS does so with TensorFlow."""

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.data.decoding import flatten, read_pixels, upright


def encode_with_pillow(features: tfds.features.FeaturesDict) -> None:
    """Lets a builder yield arrays without TensorFlow, and checks their sizes.

    Args:
      features: The builder's, whose images are changed in place.
    """
    for feature in features.values():
        if type(feature) is tfds.features.Image and feature.np_dtype == np.uint8:
            encode = feature.encode_example
            feature.encode_example = functools.partial(_encode, feature, encode)


def _encode(
    feature: tfds.features.Image, encode: Callable[[Any], bytes], image: Any
) -> bytes:
    """Returns an image file; of an array or a Pillow image, one without transparency.

    Args:
      feature: Its feature.
      encode: What TFDS does with it.
      image: An array `(h, w, C) uint8`, a Pillow image, the bytes of a file, a path or
        an open file.

    Raises:
      ValueError: It is broken, or of another shape or dtype than its feature.
    """
    height, width, channels = feature.shape
    if isinstance(image, np.ndarray):
        image = _from_array(image, channels)
    if isinstance(image, Image.Image):
        # As if it were read from its file.
        image, buffer = flatten(upright(image)).image, io.BytesIO()
        image.save(buffer, feature.encoding_format or "png")
        content, found = buffer.getvalue(), image.size
    else:
        content = encode(image)
        if height is None and width is None:
            return content  # a broken one is seen when it is read
        found = read_pixels(io.BytesIO(content)).image.size
    for side, wanted in zip(found, (width, height), strict=True):
        if wanted not in (None, side):
            raise ValueError(
                f"an image of height {found[1]} and width {found[0]}, where the "
                f"features say {feature.shape}"
            )
    return content


def _from_array(array: np.ndarray, channels: int | None) -> Image.Image:
    shape = (*array.shape, 1) if array.ndim == 2 else array.shape
    if array.dtype != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"an image of shape {array.shape} and dtype {array.dtype}; an array must "
            "be (h, w, C) uint8"
        )
    if channels not in (None, shape[-1]):
        raise ValueError(
            f"an image of {shape[-1]} channels, where the features say {channels}"
        )
    return Image.fromarray(array.reshape(shape[:2]) if shape[-1] == 1 else array)
