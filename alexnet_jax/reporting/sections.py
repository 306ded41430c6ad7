"""The pictures that a report shows of a network, each with its words."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.data import Split
from alexnet_jax.inspection.tables import shape_text
from alexnet_jax.metrics import confusion
from alexnet_jax.reporting.figures import (
    draw_confusion,
    draw_examples,
    draw_features,
    draw_filters,
)
from alexnet_jax.trained import TrainedModel, probabilities

_SHOWN = 24  # mistakes, and predictions


class Drawn(NamedTuple):
    """A figure with its words.

    Attributes:
      title: The heading above it.
      name: Of its PNG file, without the ending.
      figure: The figure itself.
      alt: What it shows, for those who do not see it.
      caption: What stands below it.
    """

    title: str
    name: str
    figure: Figure
    alt: str
    caption: str


def draw_network(network: TrainedModel) -> Iterator[Drawn]:
    """Yields what can be drawn of a network without its data: the first filters."""
    kernel = network.weights["params"]["conv1"]["kernel"]
    *size, count = kernel.shape
    towers = network.model.towers
    beside = f", {count // towers} of each of its {towers} towers" if towers > 1 else ""
    largest = np.abs(kernel if size[-1] == 3 else kernel.mean(axis=2)).max()
    yield Drawn(
        "The first filters",
        "filters",
        draw_filters(kernel, towers),
        f"The {count} filters of the first convolution, of {shape_text(size)} weights"
        f"{beside}.",
        f"conv1 at step {network.step:,}: {count} filters of {shape_text(size)} weights"
        f"{beside}. All have one scale: mid-grey is 0, black is −{largest:.3g}, white "
        f"+{largest:.3g}.",
    )


def draw_answers(network: TrainedModel, split: Split, examples: int) -> Iterator[Drawn]:
    """Yields what a network answers: confusions, mistakes, predictions, feature maps.

    Args:
      network: An opened checkpoint.
      split: Of its data set.
      examples: So many are asked about, from the first on.
    """
    answers = list(network.predict_split(split, examples))
    image = np.concatenate([one.image for one in answers])
    label = np.concatenate([one.label for one in answers])
    logits = np.concatenate([one.logits for one in answers])
    chance = probabilities(logits)
    predicted = logits.argmax(axis=1)
    is_right = predicted == label
    asked = f"{len(label):,}"
    if len(label) < split.num_examples:
        asked = f"first {asked} of {split.num_examples:,}"
    of = f"of the {asked} test images, checkpoint of step {network.step:,}"
    names = [network.class_name(place) for place in range(logits.shape[1])]

    matrix = confusion(logits, label)
    yield Drawn(
        "What is taken for what",
        "confusion",
        draw_confusion(matrix, names),
        f"Confusion matrix of {len(names)} classes: {is_right.sum():,} of "
        f"{len(label):,} on the diagonal.",
        f"{is_right.sum():,} right answers {of}; colours are shares of the row.",
    )

    def examples_of(places: np.ndarray) -> Figure:
        texts = [
            (names[predicted[i]], f"{100 * chance[i].max():.0f} %", names[label[i]])
            for i in places
        ]
        return draw_examples(image[places], texts, is_right[places])

    wrong = np.flatnonzero(~is_right)
    surest = wrong[np.argsort(-chance[wrong].max(axis=1), kind="stable")][:_SHOWN]
    if len(surest):
        listed = "; ".join(
            f"{names[label[i]]} taken for {names[predicted[i]]}" for i in surest[:5]
        )
        yield Drawn(
            "The surest mistakes",
            "mistakes",
            examples_of(surest),
            f"The {len(surest)} surest mistakes: {listed} and so on.",
            f"P: predicted, with its probability; T: true. The surest {of}.",
        )
    shown = np.arange(min(_SHOWN, len(label)))
    yield Drawn(
        "Predictions",
        "predictions",
        examples_of(shown),
        f"The first {len(shown)} test images with what was predicted; "
        f"{is_right[shown].sum()} are right.",
        f"P: predicted, with its probability; T: true. The first {len(shown)} test "
        "images, right answers in green, wrong ones in red.",
    )
    found = network.features(image[:1], "conv*")
    maps = {name: layer[0] for name, layer in found.items()}
    yield Drawn(
        "What the layers see",
        "features",
        draw_features(image[0], maps),
        f"Feature maps of the first test image, {names[label[0]]}, in "
        f"{', '.join(maps)}.",
        f"What each convolution makes of the first test image ({names[label[0]]}), "
        "before its nonlinearity: the ten maps that vary most. White is 0, red "
        "positive, blue negative; a layer's maps have one scale.",
    )
