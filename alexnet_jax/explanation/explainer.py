"""An image's explanation: its three maps, and what is to be said of them."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import jax
import numpy as np

from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError
from alexnet_jax.explanation.gradients import (
    Derivatives,
    LayerAt,
    find_layer,
    make_derivatives,
)
from alexnet_jax.explanation.notes import (
    FLAT,
    derivative_notes,
    log_odds,
    occlusion_notes,
)
from alexnet_jax.explanation.patches import Patch, average, cover, create_patches
from alexnet_jax.inspection.layers import LayerRow, describe
from alexnet_jax.models import Classifier
from alexnet_jax.preprocessing.pipeline import Pipeline
from alexnet_jax.terminal.bar import spinner, track


class Explanation(NamedTuple):
    """What speaks for a class in an image, in the pixels of the image.

    All is of the center view, also where predictions are averaged over ten.

    Attributes:
      image: `(h, w, C) uint8`.
      label: The class that is explained.
      probability: Of the class, in [0, 1].
      occlusion: `(h, w) float64`, the class's probability while a patch of the training
        images' mean color covers a pixel; the mean over the patches that do. Low is
        evidence for the class.
      patch: The patch that leaves the lowest probability; None if none lowers it.
      covered: The lowest probability.
      flat: Whether every patch leaves the probability as it is.
      gradient: `(h, w) float32`, how much the class's logit changes at most with a
        gray level (of 255) of a channel of a pixel: absolute, at least 0.
      grad_cam: `(h, w) float32`, at least 0, in logits: where the maps of `layer`
        speak for the class. None without such a layer.
      layer: The layer of `grad_cam`, or None.
      view: Top, left, height and width of what the network sees of the image.
      notes: What is unusual, a line each.
    """

    image: np.ndarray
    label: int
    probability: float
    occlusion: np.ndarray
    patch: Patch | None
    covered: float
    flat: bool
    gradient: np.ndarray
    grad_cam: np.ndarray | None
    layer: str | None
    view: tuple[float, float, float, float]
    notes: tuple[str, ...]


class Explainer:
    """Explains a trained network's answers; what it compiles, it keeps.

    Attributes:
      notes: What is said of every explanation.
    """

    def __init__(
        self,
        model: Classifier,
        preprocess: Pipeline,
        spec: DataSpec,
        variables: dict[str, Any],
        probabilities: Callable[[np.ndarray], np.ndarray],
        *,
        dtype: str,
        batch_size: int,
        notes: Sequence[str] = (),
    ) -> None:
        """Takes the parts of a trained model.

        Args:
          model: The network.
          preprocess: Makes its input of stored images.
          spec: What it was trained on.
          variables: `params` and `model_state`.
          probabilities: Maps `(N, h, w, C) uint8` to `(N, K) float64`.
          dtype: As `config.dtype`.
          batch_size: The images that `probabilities` is given at once.
          notes: What is said of every explanation.
        """
        self._model, self._preprocess, self._spec = model, preprocess, spec
        self._variables, self._probabilities = variables, probabilities
        self._dtype, self._batch_size, self.notes = dtype, batch_size, tuple(notes)
        self._color = np.rint(spec.statistics.mean).astype(np.uint8).reshape(-1)
        self._compiled: dict[LayerAt | None, Callable[..., Derivatives]] = {}

    def explain(
        self,
        image: np.ndarray,
        label: int | None = None,
        *,
        layer: str | None = None,
        window: int | None = None,
        stride: int | None = None,
    ) -> Explanation:
        """Explains why an image is, or is not, of a class.

        Args:
          image: `(h, w, C) uint8`.
          label: The class; the most probable one if not given.
          layer: As in `find_layer`.
          window: As in `create_patches`.
          stride: Likewise.

        Raises:
          InputError: The image has another shape or dtype; or as of `find_layer` and
            `create_patches`; or a derivative is not finite.
        """
        image = self._spec.as_image(image)
        sides = image.shape[:2]
        patches = create_patches(sides, window, stride)
        chosen = find_layer(self._rows, layer)  # before anything is computed
        label, probability, values = self._occlude(image, patches, label)
        inputs = {**self._variables, "image": image[None], "label": np.int32(label)}
        with spinner("compiling"):
            made = jax.device_get(self._derivatives(chosen)(**inputs))
        gradient, cam, name = made.saliency, made.grad_cam, chosen and chosen.name
        for one in made:
            if one is not None and not np.isfinite(one).all():
                raise InputError(
                    "the derivative of the logit is not finite for this image; there "
                    "is no explanation"
                )
        changes = log_odds(values) - log_odds(probability)
        is_flat = bool((np.abs(changes) < FLAT).all())
        lowest = int(np.argmin(values))
        return Explanation(
            image=image,
            label=label,
            probability=probability,
            occlusion=average(sides, patches, values),
            patch=patches[lowest] if changes[lowest] <= -FLAT else None,
            covered=float(values[lowest]),
            flat=is_flat,
            gradient=gradient,
            grad_cam=cam,
            layer=name,
            view=self._view(sides),
            notes=(
                *self.notes,
                *occlusion_notes(probability, changes, patches[0]),
                *derivative_notes(gradient, cam, name),
            ),
        )

    def _occlude(
        self, image: np.ndarray, patches: Sequence[Patch], label: int | None
    ) -> tuple[int, float, np.ndarray]:
        """Returns the class, its probability, and that under each patch, `(N,)`.

        No more covered images are made at once than a batch holds.
        """
        all_of_it = [Patch(0, 0, 0, 0), *patches]  # the first covers nothing
        count, size = len(all_of_it), min(self._batch_size, len(all_of_it))
        # The last batch is filled up, so that nothing is compiled again.
        batches = (
            [all_of_it[(start + i) % count] for i in range(size)]
            for start in range(0, count, size)
        )
        made = (self._probabilities(cover(image, one, self._color)) for one in batches)
        with spinner("compiling"):
            first = next(made)
        chosen = int(first[0].argmax()) if label is None else label
        found = track(chain([first], made), -(-count // size), "batches")
        values = np.concatenate([one[:, chosen] for one in found])
        return chosen, float(values[0]), values[1:count]

    def _derivatives(self, layer: LayerAt | None) -> Callable[..., Derivatives]:
        if layer not in self._compiled:
            made = make_derivatives(self._model, self._preprocess, self._dtype, layer)
            self._compiled[layer] = jax.jit(made)
        return self._compiled[layer]

    @cached_property
    def _rows(self) -> list[LayerRow]:
        """The network's layers; none where they do not lie one after the other."""
        shape = (1, *self._preprocess.size, self._spec.image_shape[-1])
        net = getattr(self._model.bind({}), "net", None)
        return describe(self._model, shape) if hasattr(net, "layers") else []

    def _view(self, sides: Sequence[int]) -> tuple[float, float, float, float]:
        starts, lengths = [], []
        sizes = zip(sides, self._preprocess.canvas, self._preprocess.size, strict=True)
        for side, canvas, size in sizes:
            starts.append((canvas - size) // 2 * side / canvas)
            lengths.append(size * side / canvas)
        return starts[0], starts[1], lengths[0], lengths[1]
