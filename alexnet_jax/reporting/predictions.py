"""What a trained network predicts for picture files, as objects, text or CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.data.pictures import read_picture
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.text import printable
from alexnet_jax.trained import TrainedModel, probabilities

_TOP = 5


def predict_files(
    network: TrainedModel, paths: Sequence[Path], invert: bool = False
) -> Iterator[dict[str, Any]]:
    """Yields an object for each file, in order.

    Args:
      network: The trained model.
      paths: Picture files.
      invert: Whether to exchange light and dark first.

    Yields:
      `file`, and either `notes` and `predictions`, the five most probable classes, or
      `error`, if the file cannot be read.
    """
    size, data = network.batch_size, network.config.data
    for start in range(0, len(paths), size):
        found: list[dict[str, Any]] = []
        images = []
        for path in paths[start : start + size]:
            try:
                picture = read_picture(
                    path, network.spec, invert, data.fit, data.resize
                )
            except InputError as error:
                found.append({"file": str(path), "error": str(error)})
                continue
            images.append(picture.image)
            found.append({"file": str(path), "notes": list(picture.notes)})
        if images:
            rows = iter(probabilities(network.logits(np.stack(images))))
            for one in found:
                if "error" not in one:
                    one["predictions"] = _most_probable(network, next(rows))
        yield from found


def _most_probable(network: TrainedModel, row: np.ndarray) -> list[dict[str, Any]]:
    order = np.argsort(-row, kind="stable")[:_TOP]
    return [
        {"class": network.class_name(int(label)), "probability": float(row[label])}
        for label in order
    ]


def predictions_text(
    network: TrainedModel, found: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """Yields a line per readable file, and its notes."""
    classes = network.config.model.num_classes
    names = [printable(network.class_name(label)) for label in range(classes)]
    width = max(map(len, names))
    name_width = max((len(printable(one["file"])) for one in found), default=0)
    yield f"checkpoint  {printable(network.workdir)}, step {network.step:,}"
    yield f"data        {printable(network.spec.name)}, {classes} classes"
    for one in found:
        if "error" in one:
            continue
        predictions = "  ".join(
            f"{100 * prediction['probability']:5.1f} % "
            f"{printable(prediction['class']):<{width}}"
            for prediction in one["predictions"]
        )
        yield f"{printable(one['file']):<{name_width}}  {predictions}".rstrip()
        yield from (f"  note: {note}" for note in one["notes"])


def predictions_csv(found: Sequence[dict[str, Any]]) -> str:
    """Returns a header and a row per file."""
    ranks = range(1, _TOP + 1)
    columns = [f"{name}_{rank}" for rank in ranks for name in ("class", "probability")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", *columns, "notes", "error"])
    for one in found:
        predictions = one.get("predictions", [])
        cells = [cell for prediction in predictions for cell in prediction.values()]
        cells += [""] * (len(columns) - len(cells))
        notes = "; ".join(one.get("notes", ()))
        writer.writerow([one["file"], *cells, notes, one.get("error", "")])
    return file.getvalue()
