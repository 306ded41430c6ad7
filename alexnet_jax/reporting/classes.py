"""A report's tables by class: the confusion matrix, precision, recall."""

from collections.abc import Sequence

import numpy as np

from alexnet_jax.metrics import class_scores
from alexnet_jax.reporting.files import image_png
from alexnet_jax.reporting.html import figure, image, name, table, text

# With more classes the cells of a confusion matrix are too small for names and counts.
MAX_NAMED = 25
_MAX_COUNTED = 12  # on a phone
_WORST, _BEST = 20, 5  # of more classes than MAX_NAMED
_BLUE = (0, 114, 178)


def confusion_html(matrix: np.ndarray, names: Sequence[str], caption: str) -> str:
    """Returns a confusion matrix: a table, or an image where there are many classes.

    Args:
      matrix: `(K, K)` counts, true classes in rows.
      names: Names of the K classes.
      caption: What was predicted, and by what.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    said = f"{caption} True classes in rows, predicted ones in columns; "
    if len(names) > MAX_NAMED:
        said += "the deeper a color, the larger the fraction of its row."
        opacity = (255 * np.sqrt(share)).round().astype(np.uint8)
        blue = np.broadcast_to(np.array(_BLUE, np.uint8), (*share.shape, 3))
        pixels = np.concatenate([blue, opacity[..., None]], axis=-1)
        right, count = int(matrix.trace()), int(matrix.sum())
        alt = (
            f"Confusion matrix of {len(names):,} classes: {right:,} of {count:,} on "
            "the diagonal."
        )
        shown = image(image_png(pixels), alt, kind="pixels")
        return figure(shown, said, "narrow framed")
    said += "colors show fractions of each row."
    head = "".join(f'<th scope="col"><span>{name(each)}</span></th>' for each in names)
    rows = []
    for each, counts, shares in zip(names, matrix, share, strict=True):
        cells = "".join(
            f'<td style="--share: {part:.2f}">{f"{count:,}" if count else ""}</td>'
            for count, part in zip(counts, shares, strict=True)
        )
        rows.append(f'<tr><th scope="row"><span>{name(each)}</span></th>{cells}</tr>')
    kind = "confusion many" if len(names) > _MAX_COUNTED else "confusion"
    lines = "\n".join(rows)
    return (
        f'<table class="{kind}"><caption>{text(said)}</caption>\n'
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table>"
    )


def classes_html(matrix: np.ndarray, names: Sequence[str], of: str) -> str:
    """Returns tables of each class's scores; of many classes the worst and the best.

    Args:
      matrix: As in `confusion_html`.
      names: Names of the K classes.
      of: Which predictions they are of, as a caption goes on.
    """
    scores = class_scores(matrix)

    def percent(value: float) -> str:
        return "-" if np.isnan(value) else f"{100 * value:.1f}"

    def rows(labels: Sequence[int]) -> list[list[str]]:
        return [
            [
                names[label],
                f"{scores.examples[label]:,}",
                percent(scores.precision[label]),
                percent(scores.recall[label]),
                percent(scores.f1[label]),
                f"{names[other]} ({scores.confusions[label]:,})"
                if (other := scores.confused_with[label]) >= 0
                else "-",
            ]
            for label in labels
        ]

    columns = ["class", "images", "precision, %", "recall, %", "F1, %"]
    columns += ["most often confused with (images)"]
    numbers = range(1, 5)
    if len(names) <= MAX_NAMED:
        return table(f"Scores {of}", columns, rows(range(len(names))), numbers)
    seen = np.flatnonzero(scores.examples)
    order = seen[np.argsort(scores.f1[seen], kind="stable")].tolist()
    worst = order[:_WORST]
    best = order[len(worst) :][::-1][:_BEST]
    among = f"of {len(seen):,} classes with images (of {len(names):,}), by F1, {of}"
    found = table(f"The worst {len(worst)} {among}", columns, rows(worst), numbers)
    if best:
        found += table(f"The best {len(best)} of them", columns, rows(best), numbers)
    return found
