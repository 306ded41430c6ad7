"""What a trained network predicts for picture files, as objects, text or CSV."""

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len

from alexnet_jax.errors import InputError
from alexnet_jax.terminal.tables import shorten
from alexnet_jax.terminal.text import counted, printable, terminal_width
from alexnet_jax.trained import TrainedModel, probabilities

_TOP = 5
_LONG = 250  # columns of a line in a file or a pipe
_SHARE = len("100.0 % ")


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
    pictures = network.read_pictures(paths, invert=invert)
    while batch := list(itertools.islice(pictures, network.batch_size)):
        found: list[dict[str, Any]] = []
        images = []
        for path, picture in batch:
            if isinstance(picture, InputError):
                found.append({"file": str(path), "error": str(picture)})
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
    """Yields a line per readable file, or one per class if it is too long; its notes.

    Names are padded to the longest that is shown; on a terminal that is narrower than
    one, it is cut in its middle.
    """
    classes = network.config.model.num_classes
    shown = [one for one in found if "error" not in one]
    names = [printable(each["class"]) for one in shown for each in one["predictions"]]
    width = max(map(cell_len, names), default=0)
    name_width = max((cell_len(printable(one["file"])) for one in shown), default=0)
    # "  5.0 % NAME" for each, two spaces before it.
    most = max((len(one["predictions"]) for one in shown), default=0)
    line_width = terminal_width()
    in_one_line = name_width + most * (2 + _SHARE + width) <= (line_width or _LONG)
    yield f"checkpoint  {printable(network.workdir)}, step {network.step:,}"
    yield f"data        {printable(network.spec.name)}, {counted(classes, 'class')}"
    for one in shown:
        file = printable(one["file"])
        predictions = [
            f"{100 * prediction['probability']:5.1f} % {printable(prediction['class'])}"
            for prediction in one["predictions"]
        ]
        if in_one_line:
            padded = [_pad(each, _SHARE + width) for each in predictions]
            yield "  ".join([_pad(file, name_width), *padded]).rstrip()
        else:
            yield _cut(file, line_width)
            for each in predictions:
                share, separator, name = each.partition("% ")
                name = _cut(name, line_width and line_width - 2 - _SHARE)
                yield f"  {share}{separator}{name}"
        yield from (f"  note: {note}" for note in one["notes"])


def _cut(text: str, width: int | None) -> str:
    return text if width is None else shorten(text, max(1, width))


def _pad(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


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
