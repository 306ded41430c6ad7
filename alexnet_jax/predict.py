"""Says what pictures show.

  python -m alexnet_jax.predict CHECKPOINT IMAGE [IMAGE ...] [--invert] [--json | --csv]

CHECKPOINT is a run's workdir, whose newest intact checkpoint is taken, or
WORKDIR/checkpoints/STEP; IMAGE a picture file of any kind, or a folder of them. The
network is fed as it was in training. What cannot be read is named, the rest done.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from alexnet_jax.data.pictures import list_files, read_picture
from alexnet_jax.errors import InputError, Parser
from alexnet_jax.trained import TrainedModel, probabilities

_TOP = 5


def predict(
    network: TrainedModel, paths: Sequence[Path], invert: bool = False
) -> Iterator[dict[str, Any]]:
    """Yields what `--json` prints of each file, in order.

    Args:
      network: An opened checkpoint.
      paths: Picture files.
      invert: Turn light to dark before the network sees it.
    """
    size = network.batch_size
    for start in range(0, len(paths), size):
        found: list[dict[str, Any]] = []
        images = []
        for path in paths[start : start + size]:
            try:
                picture = read_picture(path, network.spec, invert)
            except InputError as error:
                found.append({"file": str(path), "error": str(error)})
                continue
            images.append(picture.image)
            found.append({"file": str(path), "notes": list(picture.notes)})
        if images:
            answers = iter(probabilities(network.logits(np.stack(images))))
            for one in found:
                if "error" not in one:
                    one["predictions"] = _best(network, next(answers))
        yield from found


def _best(network: TrainedModel, chances: np.ndarray) -> list[dict[str, Any]]:
    order = np.argsort(-chances, kind="stable")[:_TOP]
    return [
        {"class": network.class_name(int(label)), "probability": float(chances[label])}
        for label in order
    ]


def _text(network: TrainedModel, found: list[dict[str, Any]]) -> Iterator[str]:
    """Yields a line a file: its name, and class and probability of the likeliest."""
    classes = network.config.model.num_classes
    width = max(len(network.class_name(label)) for label in range(classes))
    name_width = max((len(one["file"]) for one in found), default=0)
    yield f"checkpoint  {network.workdir}, step {network.step:,}"
    yield f"data        {network.spec.name}, {classes} classes"
    for one in found:
        answers = "  ".join(
            f"{100 * answer['probability']:5.1f} % {answer['class']:<{width}}"
            for answer in one.get("predictions", ())
        )
        if answers:
            yield f"{one['file']:<{name_width}}  {answers}".rstrip()
            yield from (f"  note: {note}" for note in one["notes"])


def _write_csv(found: list[dict[str, Any]]) -> None:
    places = range(1, _TOP + 1)
    columns = [
        f"{name}_{place}" for place in places for name in ("class", "probability")
    ]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", *columns, "notes", "error"])
    for one in found:
        answers = one.get("predictions", [])
        cells = [cell for answer in answers for cell in answer.values()]
        cells += [""] * (len(columns) - len(cells))
        notes = "; ".join(one.get("notes", ()))
        writer.writerow([one["file"], *cells, notes, one.get("error", "")])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m alexnet_jax.predict",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument(
        "--invert", action="store_true", help="turn light to dark, for dark on light"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects")
    form.add_argument("--csv", action="store_true", help="print a row a file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Says what the pictures show that the arguments name."""
    options = _parse(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax tells each of its steps
    try:
        paths = list_files(options.images)
        network = TrainedModel(options.checkpoint)
        for line in network.skipped:
            print(f"warning: {line}; passed over", file=sys.stderr)
        found = list(predict(network, paths, options.invert))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif options.csv:
        _write_csv(found)
    else:
        print("\n".join(_text(network, found)))
    broken = [one["error"] for one in found if "error" in one]
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
