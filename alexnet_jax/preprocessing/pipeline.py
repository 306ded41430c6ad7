"""Preprocessing on the device, inside the jitted step.

Stored bytes → canvas → crop → mirror → minus the mean → color → scale. A new
augmentation is a stage of `Pipeline.augmented`, drawn by a key of its own.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import default_config, side_pair
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError
from alexnet_jax.models import Classifier
from alexnet_jax.preprocessing import crops
from alexnet_jax.preprocessing.normalize import Scale, create_scale

# (B, h, w, C) uint8, or floating in [0, 1] -> (B, *size, C) float32
Preprocess = Callable[[jax.Array], jax.Array]
# The same at random: image, typed key (), index of the first image in the global batch
# () int32, epochs done () int32.
Augment = Callable[[jax.Array, jax.Array, jax.Array | int, jax.Array | int], jax.Array]
# Image -> what makes the view of an index () int32 < crops.NUM_VIEWS of it.
Views = Callable[[jax.Array], Callable[[jax.Array], jax.Array]]


def scale_and_resize(image: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """Scales bytes to [0, 1] and resizes bilinearly; floats are taken as scaled.

    The host hands over the small images; an upsampled 224×224 batch exists on the
    device only. Resizing follows TensorFlow and PyTorch (`align_corners=False`), with
    antialiasing where it shrinks.

    Args:
      image: `(B, h, w, C) uint8`, or floating in [0, 1].
      size: Height and width to come out, in pixels; of a square, its side.

    Returns:
      `(B, *size, C) float32` in [0, 1].
    """
    scaled, sides = _scaled(image), side_pair(size)
    if image.shape[1:3] == sides:
        return scaled
    shape = image.shape[0], *sides, image.shape[-1]
    return jax.image.resize(scaled, shape, "bilinear")


def _scaled(image: jax.Array) -> jax.Array:
    scaled = image.astype(jnp.float32)
    return scaled / 255.0 if image.dtype == jnp.uint8 else scaled


@dataclass(frozen=True, eq=False)  # hashable, as jax.jit wants it
class Pipeline:
    """Makes a network's input of stored images, in float32.

    Called with images, it returns what evaluation sees: the canvas's center.

    Attributes:
      size: Height and width that the network sees.
      canvas: Height and width of what is cropped from; `size` if nothing is.
      settings: `config.augment`.
      scale: What pixels become.
      colors: `(C, C) float32`: a column for each principal component of the colors,
        as long as its deviation, in [0, 1]; None without color noise.
    """

    size: tuple[int, int]
    canvas: tuple[int, int]
    settings: ConfigDict
    scale: Scale
    colors: np.ndarray | None

    def __call__(self, image: jax.Array) -> jax.Array:
        """Returns the central view: `(B, h, w, C)` → `(B, *size, C) float32`."""
        return self._finish(self._center(self._source(image)))

    def views(self, image: jax.Array) -> Callable[[jax.Array], jax.Array]:
        """Returns what makes the ten views; see `crops.fixed_views`."""
        source = self._source(image)
        offsets, mirrored = crops.fixed_views(self._margin)

        def view(index: jax.Array) -> jax.Array:
            cut = jax.vmap(crops.cut, (0, None, None))
            seen = cut(source, jnp.asarray(offsets)[index], self.size)
            flip = jax.vmap(crops.mirror, (0, None))
            return self._finish(flip(seen, jnp.asarray(mirrored)[index]))

        return view

    def augmented(
        self,
        image: jax.Array,
        key: jax.Array,
        first: jax.Array | int,
        epoch: jax.Array | int = 0,
    ) -> jax.Array:
        """Returns what training sees.

        Draws depend on the key and on an image's index in the global batch, not on the
        devices that share it.

        Args:
          image: `(B, h, w, C) uint8`, or floating in [0, 1].
          key: Typed PRNG key of the step, `()`.
          first: Index of the first image in the global batch.
          epoch: Epochs done; after `color_epochs` of them colors do not change.

        Returns:
          `(B, *size, C) float32`.
        """
        indices = first + jnp.arange(len(image), dtype=jnp.int32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))
        crop_key, mirror_key, color_key = jax.random.split(key, 3)
        chunks = indices // self.settings.shared
        seen = self._crop(image, keys(crop_key, chunks))
        if self.settings.mirror:
            half = jnp.float32(0.5)
            flags = jax.vmap(jax.random.bernoulli, (0, None))(
                keys(mirror_key, chunks), half
            )
            seen = jax.vmap(crops.mirror)(seen, flags)
        color: jax.Array | float = self.settings.color
        if self.settings.color_epochs is not None:
            color = jnp.where(epoch < self.settings.color_epochs, color, 0.0)
        shift = self._draw_colors(keys(color_key, indices), color)
        return self._finish(seen, shift, color)

    def check_channels(self, channels: int) -> None:
        """Checks that images have the channels that the statistics have.

        Raises:
          InputError: They have others.
        """
        for field, figures in (
            ("data.scale", self.scale.mean),
            ("augment.color", self.colors),
        ):
            if figures is not None and figures.shape[-1] != channels:
                raise InputError(
                    f"{field} has statistics of {figures.shape[-1]} channels; the "
                    f"images have {channels}: choose another {field}"
                )

    def _crop(self, image: jax.Array, keys: jax.Array) -> jax.Array:
        if self.settings.crop == "random_resized":
            # From the stored image, not from the canvas: pixels are made once.
            image = _scaled(self._source(image, to_canvas=False))
            height, width = image.shape[1:3]
            boxes = jax.vmap(crops.draw_box, (0, None, None))(keys, height, width)
            return jax.vmap(crops.resample, (0, 0, None))(image, boxes, self.size)
        source = self._source(image)
        if self.settings.crop == "none":
            return self._center(source)
        offsets = jax.vmap(crops.draw_offset, (0, None))(keys, self._margin)
        return jax.vmap(crops.cut, (0, 0, None))(source, offsets, self.size)

    def _source(self, image: jax.Array, *, to_canvas: bool = True) -> jax.Array:
        """Returns what is cropped from; bytes, as long as nothing is computed."""
        if to_canvas and image.shape[1:3] != self.canvas:
            image = scale_and_resize(image, self.canvas)
        if self.scale.moves and self.scale.mean is not None:
            image = _scaled(image) - self._mean(image.shape[1:3])
        return image

    def _mean(self, size: Sequence[int]) -> jax.Array:
        return scale_and_resize(jnp.asarray(self.scale.mean), size)  # a constant

    @property
    def _margin(self) -> tuple[int, int]:
        """By how much the canvas is higher and wider than what is cut from it."""
        return self.canvas[0] - self.size[0], self.canvas[1] - self.size[1]

    def _center(self, source: jax.Array) -> jax.Array:
        rows, columns = (
            slice(margin // 2, margin // 2 + side)
            for margin, side in zip(self._margin, self.size, strict=True)
        )
        return source[:, rows, columns]

    def _draw_colors(
        self, keys: jax.Array, color: jax.Array | float
    ) -> jax.Array | None:
        """Draws `(B, 1, 1, C)` to add to images in [0, 1]: one draw an image."""
        if self.colors is None:
            return None
        count = self.colors.shape[-1]
        draw = functools.partial(jax.random.normal, shape=(count,), dtype=jnp.float32)
        alpha = jax.vmap(draw)(keys)
        shift = jnp.matmul(alpha, self.colors.T, precision="highest")
        return (color * shift)[:, None, None, :]

    def _finish(
        self,
        seen: jax.Array,
        shift: jax.Array | None = None,
        color: jax.Array | float = 0.0,
    ) -> jax.Array:
        """Scales images of the network's size, in 2012's order.

        Source: cuda-convnet2, `convdata.py`: first the mean is subtracted, then color
        is added; then all is divided, so that training images vary no more than test
        images. "At this point the data already has 0 mean": on another scale there is
        no division.
        """
        seen = _scaled(seen)
        if self.scale.mean is not None and not self.scale.moves:
            seen = seen - self._center(self._mean(self.canvas))
        if shift is not None:
            seen = seen + shift
            if self.scale.centered:
                seen = seen / (1.0 + color)
        seen = seen * self.scale.factor
        return seen[..., ::-1] if self.scale.reversed else seen


def create_pipeline(
    scale: str,
    statistics: Callable[[], Statistics],
    size: int | Sequence[int],
    augment: ConfigDict | None = None,
) -> Pipeline:
    """Creates what makes a network's input of stored images.

    Args:
      scale: A key of `normalize.SCALES`.
      statistics: Returns the training set's statistics, where they are needed.
      size: Height and width that the network sees, in pixels; of a square, its side.
      augment: `config.augment`; None for its defaults.

    Raises:
      InputError: `scale` is unknown.
    """
    settings = default_config().augment if augment is None else augment
    statistics = functools.cache(statistics)  # measured once
    colors = None
    made = create_scale(scale, statistics)
    if settings.color:
        found = statistics()
        colors = found.color_directions * found.color_deviations[None] / 255.0
        colors = colors.astype(np.float32)
    canvas = size if settings.canvas is None else settings.canvas
    return Pipeline(side_pair(size), side_pair(canvas), settings, made, colors)


def make_preprocessing(
    config: ConfigDict, model: Classifier, statistics: Callable[[], Statistics]
) -> Pipeline:
    """Creates the preprocessing that a run's config asks for.

    Args:
      config: A validated config; `data.scale` 'author' is the network's own scale.
      model: The network.
      statistics: Returns the training set's statistics, where they are needed.

    Raises:
      InputError: `data.scale` is unknown.
    """
    scale = config.data.scale
    if scale == "author":
        scale = model.author_scale
    return create_pipeline(scale, statistics, config.data.image_size, config.augment)
