"""Representational similarity: which layers find the same images alike.

  python examples/rsa.py RUN [RUN] [--examples=500] [--output=rsa.png]

The layers of a network are compared with each other, or with those of a second
one, by what they answer to the same test images:

  CKA  linear centered kernel alignment, from 0 to 1: 1 where two layers differ
       by a rotation and a scale alone. Where there are more units than images
       it is high for any two layers; which pairs are higher than others still
       counts.
  RDM  representational dissimilarity matrix: for each pair of images 1 -
       Pearson's correlation of the units' answers; two RDMs are compared by
       Spearman's.

Source: Kornblith et al. 2019, "Similarity of Neural Network Representations
Revisited"; Kriegeskorte et al. 2008, "Representational similarity analysis".
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from scipy.stats import spearmanr

from alexnet_jax import cli, load
from alexnet_jax.atomic import atomic_write
from alexnet_jax.errors import InputError
from alexnet_jax.extraction.outputs import choose_layers
from alexnet_jax.terminal.paths import check_output, expand_home
from alexnet_jax.trained import TrainedModel

_ENDINGS = (".png", ".pdf", ".svg")
_MAX_NAMED = 20  # classes of an RDM, layers of a table: beyond, names are too small
_RDMS = 4  # drawn of a network
_ALIKE = 0.95  # median correlation of small copies; two digits of a class have 0.85


class Layer(NamedTuple):
    """What N images are to a layer: `centered_gram` and `dissimilarity`, `(N, N)`."""

    gram: np.ndarray
    rdm: np.ndarray


def centered_gram(features: np.ndarray) -> np.ndarray:
    """Returns the products of images' features, less each unit's mean.

    Args:
      features: `(N, ...)` of any float dtype.

    Returns:
      `(N, N) float64`; all 0 if the features are the same for all images.
    """
    rows = features.reshape(len(features), -1).astype(np.float64)
    rows -= rows[:1].copy()  # so that what is constant becomes 0 to the last digit
    rows -= rows.mean(axis=0)
    return rows @ rows.T


def cka(gram: np.ndarray, other: np.ndarray) -> float:
    """Returns linear CKA of two layers, from their `centered_gram`.

    `<K, L> / (|K| |L|)`; from the features, whose products may be far larger, it is the
    same as `|YᵀX|² / (|XᵀX| |YᵀY|)`.

    Returns:
      In [0, 1]; NaN if either layer is the same for all images.
    """
    norms = float(np.linalg.norm(gram) * np.linalg.norm(other))
    return float(np.vdot(gram, other)) / norms if norms else float("nan")


def linear_cka(features: np.ndarray, other: np.ndarray) -> float:
    """Returns linear CKA of two layers' features, `(N, ...)` of the same N images."""
    return cka(centered_gram(features), centered_gram(other))


def dissimilarity(features: np.ndarray) -> np.ndarray:
    """Returns the RDM: 1 - Pearson's correlation over units, for each pair of images.

    Args:
      features: `(N, ...)` of any float dtype.

    Returns:
      `(N, N) float64` in [0, 2]; NaN for an image whose units are all equal, as where
      no ReLU answers.
    """
    rows = features.reshape(len(features), -1).astype(np.float64)
    rows -= rows[:, :1].copy()
    rows -= rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(length > 0, length, np.nan)
    return 1 - np.clip(rows @ rows.T, -1, 1)


def rank_correlation(rdm: np.ndarray, other: np.ndarray) -> float:
    """Returns Spearman's correlation of two RDMs, over pairs of images.

    Returns:
      In [-1, 1]; pairs that are NaN in either are left out. NaN if none are left, or
      all of one are equal.
    """
    above = np.triu_indices(len(rdm), 1)
    pairs = np.stack([rdm[above], other[above]])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if not pairs.size or not np.ptp(pairs, axis=1).all():
        return float("nan")
    return float(spearmanr(*pairs).statistic)


_MEASURES: dict[str, Callable[[Layer, Layer], float]] = {
    "linear CKA": lambda one, other: cka(one.gram, other.gram),
    "Spearman's correlation of RDMs": lambda one, other: rank_correlation(
        one.rdm, other.rdm
    ),
}


def read_layers(
    network: TrainedModel, images: np.ndarray, names: str
) -> dict[str, Layer]:
    """Returns layers by name, in order; memory holds the features of one at a time.

    Args:
      network: The trained model.
      images: `(N, h, w, C) uint8`.
      names: Of layers, or patterns of them, with commas between them.

    Raises:
      InputError: There is no such layer.
    """
    found = {}
    for name in choose_layers(network.layer_names, names, "--layers"):
        features = network.features(images, [name])[name]
        found[name] = Layer(centered_gram(features), dissimilarity(features))
        where = f"{name} of {network.workdir.name}"
        if not found[name].gram.any():
            cli.warn(f"{where} is the same for all images; its CKA is not defined")
        elif flat := int(np.isnan(found[name].rdm.diagonal()).sum()):
            cli.warn(f"{where}: RDM without {flat} images whose units are all equal")
    return found


def read_examples(
    network: TrainedModel, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels of the first test examples."""
    split = network.open_split("test", options.data_dir, options.manual_dir)
    found = list(network.predict_split(split, options.examples))
    images = np.concatenate([batch.image for batch in found])
    labels = np.concatenate([batch.label for batch in found])
    if len(labels) < 3:
        raise InputError(f"RUN: its test split must have 3 images; got {len(labels)}")
    return images, labels


def _check_same(networks: Sequence[TrainedModel], examples: Sequence[tuple]) -> None:
    (one, other), ((images, labels), (others, their_labels)) = networks, examples
    if (
        one.spec.class_names != other.spec.class_names
        or not np.array_equal(labels, their_labels)
        or not _are_alike(images, others)
    ):
        raise InputError(
            f"RUN: the two must have the same test examples; those of {one.spec.name} "
            f"and {other.spec.name} differ; give runs of one data set"
        )


def _are_alike(images: np.ndarray, others: np.ndarray) -> bool:
    """Whether these are the same pictures, which may be kept at another size."""
    if images.shape == others.shape:
        return np.array_equal(images, others)
    small = [np.stack([*map(_thumbnail, every)]) for every in (images, others)]
    one, other = (rows - rows.mean(axis=1, keepdims=True) for rows in small)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    correlation = (one * other).sum(axis=1) / np.maximum(lengths, 1e-9)
    known = correlation[lengths > 0]
    return not len(known) or float(np.median(known)) > _ALIKE


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns 8×8 gray levels of `(h, w, C) uint8`, in a row."""
    gray = Image.fromarray(image.mean(axis=2).astype(np.uint8))
    return np.asarray(gray.resize((8, 8), Image.Resampling.BOX), float).reshape(-1)


def _draw(
    networks: Sequence[tuple[str, dict[str, Layer]]],
    tables: dict[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """Draws tables as heat maps, and below some RDMs of each network.

    Tables have the first network's layers in rows and the last's in columns.
    """
    heights = [6.0] + [3.4] * len(networks)
    figure = Figure((14, sum(heights)), layout="constrained", dpi=100)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    top, *below = parts[:, 0]
    (name, rows), (other, columns) = networks[0], networks[-1]
    for axes, (title, values) in zip(top.subplots(1, 2), tables.items(), strict=True):
        picture = _draw_table(axes, values, list(rows), list(columns))
        axes.set(title=title, ylabel=name, xlabel=other)
        top.colorbar(picture, ax=axes, shrink=0.8)
    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    for part, (name, layers) in zip(below, networks, strict=True):
        part.suptitle(f"RDMs of {name}: {len(labels)} test images, sorted by class")
        places = np.linspace(0, len(layers) - 1, min(_RDMS, len(layers)))
        shown = [list(layers)[round(place)] for place in places]
        grid = part.subplots(1, len(shown), squeeze=False)[0]
        for axes, layer in zip(grid, shown, strict=True):
            part.colorbar(axes.imshow(layers[layer].rdm), ax=axes, shrink=0.8)
            axes.set(title=layer, xticks=[], yticks=[])
            if len(found) <= _MAX_NAMED:
                names = [class_names[label][:14] for label in found]
                axes.set_yticks(first + (counts - 1) / 2, names, fontsize=8)
    return figure


def _draw_table(
    axes: Axes, values: np.ndarray, rows: list[str], columns: list[str]
) -> AxesImage:
    """Draws values from 0, or -1, to 1; gray where there is none."""
    low, colors = (-1, "RdBu_r") if (values < 0).any() else (0, "viridis")
    axes.set_facecolor("0.85")
    picture = axes.imshow(values, cmap=colors, vmin=low, vmax=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    for (row, column), value in np.ndenumerate(values):
        if max(values.shape) <= _MAX_NAMED and np.isfinite(value):
            is_dark = np.dot(picture.to_rgba(value)[:3], (0.3, 0.6, 0.1)) < 0.5
            text = axes.text(column, row, f"{value:.2f}", ha="center", va="center")
            text.set(color="white" if is_dark else "black", fontsize=8)
    return picture


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser("rsa", __doc__)
    parser.prog = "python examples/rsa.py"
    add = parser.add_argument
    add("runs", type=cli.path, nargs="+", metavar="RUN", help=cli.CHECKPOINT_HELP)
    layers = "layers, or patterns of them, after commas (default: conv*,fc*)"
    add("--layers", default="conv*,fc*", metavar="NAMES", help=layers)
    count = "number of test images, from the first on (default: 500)"
    add("--examples", type=cli.positive_int, default=500, metavar="N", help=count)
    output = f"the picture: {', '.join(_ENDINGS)} (default: rsa.png)"
    add("--output", type=cli.path, default="rsa.png", metavar="FILE", help=output)
    cli.add_data_arguments(parser)
    options = parser.parse_args(argv)
    options.output = expand_home(options.output, "--output")
    check_output(options.output, _ENDINGS, "--output")
    if len(options.runs) > 2:
        raise InputError(f"RUN must be one or two; got {len(options.runs)}")
    if options.examples < 3:
        raise InputError(f"--examples must be at least 3; got {options.examples}")
    return options


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints CKA of layers, and draws the picture that the arguments ask for."""
    options = _parse(argv)
    models = [load(run) for run in options.runs]
    for line in (line for model in models for line in model.skipped):
        cli.warn(f"{line}; skipped")
    examples = [read_examples(model, options) for model in models]
    if len(models) > 1:
        _check_same(models, examples)
    orders = [np.argsort(labels, kind="stable") for _, labels in examples]  # by class
    examples = [(x[i], y[i]) for (x, y), i in zip(examples, orders, strict=True)]
    networks = [
        (str(run)[-40:], read_layers(model, images, options.layers))
        for run, model, (images, _) in zip(options.runs, models, examples, strict=True)
    ]
    rows, columns, labels = networks[0][1], networks[-1][1], examples[0][1]
    tables = {
        title: np.array(
            [[measure(x, y) for y in columns.values()] for x in rows.values()]
        )
        for title, measure in _MEASURES.items()
    }
    class_names = [models[0].class_name(k) for k in range(labels.max() + 1)]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"text.parse_math": False}), atomic_write(options.output) as path:
        figure = _draw(networks, tables, labels, class_names)
        figure.savefig(path, format=options.output.suffix[1:].lower())
    wide = max(map(len, [*rows, *columns, "0.00"]))
    print(f"images    {len(labels):,} of {models[0].spec.name}, test")
    print(" ".join([f"{'CKA':{wide}}", *(f"{name:>{wide}}" for name in columns)]))
    for name, values in zip(rows, tables["linear CKA"], strict=True):
        print(" ".join([f"{name:{wide}}", *(f"{x:{wide}.2f}" for x in values)]))
    print(f"picture   {options.output}")


if __name__ == "__main__":
    main()
