"""A report's sections about a network: a heading, HTML, and a figure for a file."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.data import Split
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.explanation.patches import create_patches
from alexnet_jax.inspection.tables import shape_text
from alexnet_jax.metrics import CALIBRATION_BINS, confusion
from alexnet_jax.reporting.calibration import calibration, draw_calibration, verdict
from alexnet_jax.reporting.classes import classes_html, confusion_html
from alexnet_jax.reporting.explanations import draw_explanations, heading_of
from alexnet_jax.reporting.figures import (
    as_pixels,
    draw_confusion,
    draw_examples,
    draw_features,
    draw_filters,
    filter_shades,
    map_colors,
    strongest_maps,
)
from alexnet_jax.reporting.files import image_png
from alexnet_jax.reporting.html import (
    block,
    figure,
    image,
    name,
    paragraph,
    text,
)
from alexnet_jax.reporting.maps import explanation_html
from alexnet_jax.reporting.themes import in_both
from alexnet_jax.terminal.text import counted, printable
from alexnet_jax.trained import TrainedModel, probabilities

_SHOWN = 24  # most confident errors, and predictions
# Each takes the time of a hundred predictions.
_EXPLAINED = 3
_MAX_SIDE = 256  # of an image on the page, in pixels
_SMALL = 64  # images up to this side are shown pixel by pixel


class Section(NamedTuple):
    """A part of a report.

    A page is read on screens of any width, so its images hold no words: these are HTML.
    A file's figure has to hold them.

    Attributes:
      title: The heading.
      name: The name of its PNG file, without the ending.
      html: What the page shows.
      draw: Draws the figure of the file; None if there is none.
    """

    title: str
    name: str
    html: str
    draw: Callable[[], Figure] | None = None


def filter_sections(network: TrainedModel) -> Iterator[Section]:
    """Yields the section of the first convolution's filters, which needs no data."""
    params = network.weights["params"]
    names = [row.name for row in network.layer_rows if row.kind == "conv"]
    first = next((name for name in names if "kernel" in params.get(name, ())), None)
    if first is None:
        return  # all weights are dense, or each place has its own
    kernel = params[first]["kernel"]
    *size, count = kernel.shape
    towers = network.model.towers
    each = f" ({count // towers} in each of the {towers} towers)" if towers > 1 else ""
    largest = np.abs(kernel if size[-1] == 3 else kernel.mean(axis=2)).max()
    filters = f"{count} filters of {shape_text(size)} weights{each}"
    strips = []
    for tower, shades in enumerate(filter_shades(kernel, towers)):
        last = (tower + 1) * len(shades) - 1
        which = f"tower {tower + 1}: filters {tower * len(shades)} to {last}"
        said = f"<p>{text(which)}</p>" if towers > 1 else ""
        alt = f"The {filters} of the first convolution" + f", {which}" * (towers > 1)
        png = image_png(as_pixels(shades))
        strips.append(f"<div>{said}{image(png, f'{alt}.', kind='pixels')}</div>")
    caption = (
        f"{first} at step {network.step:,}: {filters}, on one scale: mid-gray is 0, "
        f"black −{largest:.3g}, white +{largest:.3g}."
    )
    yield Section(
        "First-layer filters",
        "filters",
        figure(block("strips", strips), caption),
        lambda: draw_filters(kernel, towers),
    )


@dataclasses.dataclass(eq=False)
class _Predicted:
    """Test images with what a network predicts for them.

    Attributes:
      image: `(N, h, w, C) uint8`.
      label: `(N,) int32`.
      logits: `(N, K) float32`.
      names: Of the K classes.
      of: Which images they are, and by what they were classified.
    """

    image: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    names: list[str]
    of: str

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, `(N,) float64`."""
        return probabilities(self.logits).max(axis=1)

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The predicted class, `(N,) int64`."""
        return self.logits.argmax(axis=1)

    @functools.cached_property
    def is_correct(self) -> np.ndarray:
        """Whether that is the true one, `(N,) bool`."""
        return self.predicted == self.label


def _predict(network: TrainedModel, split: Split, examples: int) -> _Predicted:
    found = list(network.predict_split(split, examples))
    label = np.concatenate([one.label for one in found])
    logits = np.concatenate([one.logits for one in found])
    number = f"{len(label):,}"
    if len(label) == examples < split.num_examples:
        number = f"first {number} of {split.num_examples:,}"
    elif len(label) < split.num_examples:  # the others are broken
        number = f"{number} readable ones of {split.num_examples:,}"
    return _Predicted(
        np.concatenate([one.image for one in found]),
        label,
        logits,
        [printable(network.class_name(one)) for one in range(logits.shape[1])],
        f"of the {number} test images, by the checkpoint of step {network.step:,}",
    )


def prediction_sections(
    network: TrainedModel, split: Split, examples: int
) -> Iterator[Section]:
    """Yields confusion matrix, classes, calibration, errors, explanations, features.

    Args:
      network: The trained model.
      split: A split of its data set.
      examples: Number of examples to predict, from the first on.

    Raises:
      InputError: All images are broken.
    """
    made = _predict(network, split, examples)
    is_correct, names = made.is_correct, made.names
    matrix = confusion(made.logits, made.label)
    said = f"{counted(int(is_correct.sum()), 'correct prediction')} {made.of}."
    yield Section(
        "Confusion matrix",
        "confusion",
        confusion_html(matrix, names, said),
        lambda: draw_confusion(matrix, names),
    )
    yield Section("Classes", "classes", classes_html(matrix, names, made.of))
    yield _calibration_section(made)
    wrong = np.flatnonzero(~is_correct)
    confident = wrong[np.argsort(-made.confidence[wrong], kind="stable")][:_SHOWN]
    if len(confident):
        yield Section(
            "Most confident errors",
            "mistakes",
            paragraph(f"The {len(confident)} most confident errors {made.of}.")
            + _gallery(made, confident),
            lambda: _examples_figure(made, confident),
        )
    shown = np.arange(min(_SHOWN, len(made.label)))
    yield Section(
        "Predictions",
        "predictions",
        paragraph(
            f"The first {len(shown)} test images, {is_correct[shown].sum()} of them "
            "classified correctly."
        )
        + _gallery(made, shown),
        lambda: _examples_figure(made, shown),
    )
    # Errors first: why they were made is what a reader asks.
    explained = [*confident[: _EXPLAINED - 1], *shown]
    chosen = [*dict.fromkeys(map(int, explained))][:_EXPLAINED]
    yield _explanation_section(
        network,
        [(made.image[i], names[made.label[i]]) for i in chosen],
        f"The most confident errors {made.of}, before the first images."
        if len(confident)
        else f"The first {len(chosen)} {made.of}.",
    )
    kinds = ("conv", "local")
    convolutions = [row.name for row in network.layer_rows if row.kind in kinds]
    if convolutions:
        yield _feature_section(network, made, convolutions)


def _calibration_section(made: _Predicted) -> Section:
    found = calibration(made.logits, made.label)
    light, dark = in_both(lambda: draw_calibration(found))
    said = verdict(found)
    alt = (
        f"Reliability diagram: accuracy by confidence, in {CALIBRATION_BINS} bins, and "
        f"the number of predictions in each. {said}."
    )
    caption = (
        "Accuracy of predictions by their confidence, the probability of the predicted "
        f"class, in {CALIBRATION_BINS} bins of equal width (Guo et al. 2017), and how "
        f"many predictions are in each; {made.of}."
    )
    words = (
        f"Expected calibration error {100 * found.error:.2f} %; {said}. The error is "
        "the mean distance of confidence and accuracy over the bins, weighted by their "
        "predictions."
    )
    return Section(
        "Calibration",
        "calibration",
        paragraph(words) + figure(image(light, alt, dark), caption, "narrow"),
        lambda: draw_calibration(found),
    )


def _examples_figure(made: _Predicted, indices: np.ndarray) -> Figure:
    texts = [
        (
            made.names[made.predicted[i]],
            f"{100 * made.confidence[i]:.0f} %",
            made.names[made.label[i]],
        )
        for i in indices
    ]
    return draw_examples(made.image[indices], texts, made.is_correct[indices])


def _gallery(made: _Predicted, indices: np.ndarray) -> str:
    """Returns images with their predicted and true classes."""
    predicted, confidence, is_correct = made.predicted, made.confidence, made.is_correct
    items = []
    for i in indices:
        guess, truth = made.names[predicted[i]], made.names[made.label[i]]
        chance = f"{100 * confidence[i]:.0f} %"
        alt = f"Test image {i + 1:,}: predicted {guess}, {chance}; true class {truth}."
        kind, sign = ("correct", "✓") if is_correct[i] else ("wrong", "✗")
        truth_line = "" if is_correct[i] else f"<span>true: {name(truth)}</span>"
        items.append(
            f'<li class="{kind}">{_picture(made.image[i], alt)}'
            f"<span><b>{sign} {name(guess)}</b> {chance}</span>{truth_line}</li>"
        )
    return f'<ul class="gallery">{"".join(items)}</ul>'


def _picture(pixels: np.ndarray, alt: str) -> str:
    is_small = max(pixels.shape[:2]) <= _SMALL
    return image(image_png(pixels, _MAX_SIDE), alt, kind="pixels" if is_small else "")


def _feature_section(
    network: TrainedModel, made: _Predicted, layers: Sequence[str]
) -> Section:
    """Returns the section of the first image's feature maps."""
    features = network.features(made.image[:1], layers)
    maps = {layer: found[0] for layer, found in features.items()}
    label = made.names[made.label[0]]
    first = _picture(made.image[0], f"The first test image, {label}.")
    strips = [f'<div class="one"><p>image ({name(label)})</p>{first}</div>']
    for layer, found in maps.items():
        chosen, largest = strongest_maps(found)
        height, width = found.shape[:2]
        listed = ", ".join(map(str, chosen))
        alt = f"The {len(chosen)} maps of {layer} that vary most: {listed}."
        scale = f"±{largest:.3g}" if largest else "0 everywhere"
        png = image_png(as_pixels(map_colors(found)))
        strips.append(
            f"<div><p>{name(layer)}, {height}×{width}: maps {listed}; "
            f"{scale}</p>{image(png, alt, kind='pixels')}</div>"
        )
    caption = (
        f"Output of each convolution for the first test image ({label}), before the "
        "nonlinearity: the ten maps that vary most, row by row. White is 0, red "
        "positive, blue negative; each layer has its own scale."
    )
    return Section(
        "Feature maps",
        "features",
        figure(block("strips", strips), caption),
        lambda: draw_features(made.image[0], maps),
    )


def _explanation_section(
    network: TrainedModel, images: Sequence[tuple[np.ndarray, str]], which: str
) -> Section:
    """Returns the section of a few images' explanations.

    Args:
      network: The trained model.
      images: `(h, w, C) uint8`, and the name of the true class, of each.
      which: A sentence that says which images they are.
    """
    found = [network.explain(pixels) for pixels, _ in images]
    titles, parts = [], []
    for one, (_, label) in zip(found, images, strict=True):
        predicted, chance = heading_of(network, one)
        titles.append((f"P: {predicted}", chance, f"T: {label}"))
        alt = f"predicted {predicted}, {chance}; true class {label}."
        parts.append(
            f"<div><p>predicted <b>{name(predicted)}</b>, {chance}; true: "
            f"{name(label)}</p>{explanation_html(one, alt)}</div>"
        )
    window = shape_text(create_patches(images[0][0].shape[:2])[0][2:])
    caption = (
        "What speaks for the predicted class: its probability while a "
        f"{window} patch of the training images' mean color covers a place, in "
        "the frame the lowest; the largest derivative of its logit by a pixel's "
        f"channels; Grad-CAM of the last convolution. {which}{_notes_of(found)}"
    )
    return Section(
        "Explanations",
        "explanations",
        figure(block("explained", parts), caption),
        lambda: draw_explanations(found, titles),
    )


def _notes_of(found: Sequence[Explanation]) -> str:
    """Returns a sentence for each note; of one that is not of all, with its images."""
    said = ""
    for note in dict.fromkeys(note for one in found for note in one.notes):
        numbers = [str(i) for i, one in enumerate(found, 1) if note in one.notes]
        if len(numbers) < len(found):
            note = f"image{'s' * (len(numbers) > 1)} {' and '.join(numbers)}: {note}"
        said += f" {note[0].upper()}{note[1:]}."
    return said
