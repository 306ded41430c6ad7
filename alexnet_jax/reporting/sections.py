"""A report's sections about a network: a figure with its heading and caption each."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.data import Split
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.explanation.patches import create_patches
from alexnet_jax.inspection.tables import shape_text
from alexnet_jax.metrics import confusion
from alexnet_jax.reporting.explanations import draw_explanations, heading_of
from alexnet_jax.reporting.figures import (
    draw_confusion,
    draw_examples,
    draw_features,
    draw_filters,
)
from alexnet_jax.terminal.text import printable
from alexnet_jax.trained import TrainedModel, probabilities

_SHOWN = 24  # most confident errors, and predictions
# Each takes the time of a hundred predictions.
_EXPLAINED = 3


class Section(NamedTuple):
    """A figure with its texts.

    Attributes:
      title: The heading.
      name: The name of its PNG file, without the ending.
      figure: The figure.
      alt: The alternative text.
      caption: The text below it.
    """

    title: str
    name: str
    figure: Figure
    alt: str
    caption: str


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
    yield Section(
        "First-layer filters",
        "filters",
        draw_filters(kernel, towers),
        f"The {filters} of the first convolution.",
        f"{first} at step {network.step:,}: {filters}, on one scale: mid-gray is 0, "
        f"black −{largest:.3g}, white +{largest:.3g}.",
    )


def prediction_sections(
    network: TrainedModel, split: Split, examples: int
) -> Iterator[Section]:
    """Yields confusion matrix, confident errors, predictions, explanations, features.

    Args:
      network: The trained model.
      split: A split of its data set.
      examples: Number of examples to predict, from the first on.

    Raises:
      InputError: All images are broken.
    """
    found = list(network.predict_split(split, examples))
    image = np.concatenate([one.image for one in found])
    label = np.concatenate([one.label for one in found])
    logits = np.concatenate([one.logits for one in found])
    probability = probabilities(logits).max(axis=1)
    predicted = logits.argmax(axis=1)
    is_correct = predicted == label
    number = f"{len(label):,}"
    if len(label) == examples < split.num_examples:
        number = f"first {number} of {split.num_examples:,}"
    elif len(label) < split.num_examples:  # the others are broken
        number = f"{number} readable ones of {split.num_examples:,}"
    of = f"of the {number} test images, by the checkpoint of step {network.step:,}"
    names = [printable(network.class_name(one)) for one in range(logits.shape[1])]

    def examples_figure(indices: np.ndarray) -> Figure:
        texts = [
            (names[predicted[i]], f"{100 * probability[i]:.0f} %", names[label[i]])
            for i in indices
        ]
        return draw_examples(image[indices], texts, is_correct[indices])

    yield Section(
        "Confusion matrix",
        "confusion",
        draw_confusion(confusion(logits, label), names),
        f"Confusion matrix of {len(names)} classes: {is_correct.sum():,} of "
        f"{len(label):,} on the diagonal.",
        f"{is_correct.sum():,} correct predictions {of}. Colors show fractions of each "
        "row.",
    )
    wrong = np.flatnonzero(~is_correct)
    confident = wrong[np.argsort(-probability[wrong], kind="stable")][:_SHOWN]
    if len(confident):
        confused = "; ".join(
            f"{names[label[i]]} confused with {names[predicted[i]]}"
            for i in confident[:5]
        )
        yield Section(
            "Most confident errors",
            "mistakes",
            examples_figure(confident),
            f"The {len(confident)} most confident errors: {confused}, ...",
            f"P: predicted class with its probability; T: true class. The most "
            f"confident errors {of}.",
        )
    shown = np.arange(min(_SHOWN, len(label)))
    yield Section(
        "Predictions",
        "predictions",
        examples_figure(shown),
        f"The first {len(shown)} test images with their predictions, "
        f"{is_correct[shown].sum()} of them correct.",
        f"P: predicted class with its probability; T: true class. The first "
        f"{len(shown)} test images; correct predictions are green, wrong ones red.",
    )
    # Errors first: why they were made is what a reader asks.
    explained = [*confident[: _EXPLAINED - 1], *shown]
    chosen = [*dict.fromkeys(map(int, explained))][:_EXPLAINED]
    yield _explanation_section(
        network,
        [(image[i], names[label[i]]) for i in chosen],
        f"The most confident errors {of}, before the first images."
        if len(confident)
        else f"The first {len(chosen)} {of}.",
    )
    kinds = ("conv", "local")
    convolutions = [row.name for row in network.layer_rows if row.kind in kinds]
    if not convolutions:
        return
    features = network.features(image[:1], convolutions)
    maps = {name: layer[0] for name, layer in features.items()}
    yield Section(
        "Feature maps",
        "features",
        draw_features(image[0], maps),
        f"Feature maps of the first test image, {names[label[0]]}, in "
        f"{', '.join(maps)}.",
        f"Output of each convolution for the first test image ({names[label[0]]}), "
        "before the nonlinearity: the ten maps that vary most. White is 0, red "
        "positive, blue negative; each layer has its own scale.",
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
    found = [network.explain(image) for image, _ in images]
    titles = [
        (f"P: {predicted}", chance, f"T: {name}")
        for (predicted, chance), (_, name) in zip(
            (heading_of(network, one) for one in found), images, strict=True
        )
    ]
    window = "×".join(map(str, create_patches(images[0][0].shape[:2])[0][2:]))
    return Section(
        "Explanations",
        "explanations",
        draw_explanations(found, titles),
        f"Occlusion map, gradient and Grad-CAM of {len(found)} images: "
        f"{'; '.join(', '.join(title) for title in titles)}.",
        "What speaks for the predicted class (P; T is the true one): its probability "
        f"while a {window} patch of the training images' mean color covers a place, in "
        "the frame the lowest; the largest derivative of its logit by a pixel's "
        f"channels; Grad-CAM of the last convolution. {which}{_notes_of(found)}",
    )


def _notes_of(found: Sequence[Explanation]) -> str:
    """Returns a sentence for each note; of one that is not of all, with its rows."""
    said = ""
    for note in dict.fromkeys(note for one in found for note in one.notes):
        rows = [str(i) for i, one in enumerate(found, 1) if note in one.notes]
        if len(rows) < len(found):
            note = f"row{'s' * (len(rows) > 1)} {' and '.join(rows)}: {note}"
        said += f" {note[0].upper()}{note[1:]}."
    return said
