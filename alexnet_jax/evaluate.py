"""Measures a checkpoint on a split of its data: loss, top-1, top-5, each class.

python -m alexnet_jax.evaluate CHECKPOINT [--split=test] [--views=10] [--json]

CHECKPOINT is a run's workdir, whose newest intact checkpoint is taken, or
WORKDIR/checkpoints/STEP.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from alexnet_jax.errors import InputError, Parser
from alexnet_jax.trained import TrainedModel

_TOP = 5


def measure(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Measures answers.

    Args:
      logits: `(N, K) float32`.
      label: `(N,) int32`.

    Returns:
      `loss` (mean cross-entropy, nats), `top1` and `top5`, fractions.
    """
    right = np.take_along_axis(logits, label[:, None], axis=1)
    lead = logits.max(axis=1, keepdims=True).astype(np.float64)
    spread = np.log(np.exp(logits - lead).sum(axis=1, keepdims=True))
    # Ties count for the class of the lower label, as `argmax` has it.
    before = np.arange(logits.shape[1]) < label[:, None]
    rank = (logits > right).sum(axis=1) + ((logits == right) & before).sum(axis=1)
    return {
        "loss": float((spread + lead - right).mean()),
        "top1": float((rank < 1).mean()),
        "top5": float((rank < _TOP).mean()),
    }


def confusion(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Counts answers `(K, K)`: true classes in rows, predicted ones in columns."""
    classes = logits.shape[1]
    places = label.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def evaluate(network: TrainedModel, split: Any, name: str) -> dict[str, Any]:
    """Measures a network on a split.

    Returns:
      What `--json` prints.
    """
    answers = [(one.logits, one.label) for one in network.ask(split)]
    logits, label = map(np.concatenate, zip(*answers, strict=True))
    matrix = confusion(logits, label)
    classes = []
    for place, row in enumerate(matrix):
        others = np.where(np.arange(len(row)) == place, -1, row)
        worst = int(others.argmax())
        is_mistaken = others[worst] > 0
        classes.append(
            {
                "class": network.class_name(place),
                "examples": int(row.sum()),
                "top1": float(row[place] / row.sum()) if row.any() else None,
                "mistaken_for": network.class_name(worst) if is_mistaken else None,
                "mistaken": max(int(others[worst]), 0),
            }
        )
    return {
        "workdir": str(network.workdir),
        "step": network.step,
        "data": network.inputs.name,
        "split": name,
        "examples": len(label),
        "views": network.views,
        **measure(logits, label),
        "classes": classes,
    }


def _lines(found: dict[str, Any]) -> list[str]:
    width = max(len("class"), *(len(one["class"]) for one in found["classes"]))
    lines = [
        f"checkpoint  {found['workdir']}, step {found['step']:,}",
        f"data        {found['data']}, {found['split']}: {found['examples']:,} images, "
        f"{found['views']} view{'s' * (found['views'] > 1)} of each",
        f"loss        {found['loss']:.4f} nats",
        f"top-1       {100 * found['top1']:.2f} %",
        f"top-5       {100 * found['top5']:.2f} %",
        "",
        f"{'class':<{width}}  images  top-1, %  most often taken for",
    ]
    for one in found["classes"]:
        share = "-" if one["top1"] is None else f"{100 * one['top1']:.1f}"
        other = "-"
        if one["mistaken_for"] is not None:
            other = f"{one['mistaken_for']}, {one['mistaken']:,} times"
        lines.append(
            f"{one['class']:<{width}}  {one['examples']:>6,}  {share:>8}  {other}"
        )
    return lines


def add_data_arguments(parser: Parser) -> None:
    """Adds where the data lies, if not where the run had it."""
    for name, text in (
        ("--data-dir", "folder of prepared data sets"),
        ("--manual-dir", "folder that holds the original files"),
    ):
        parser.add_argument(name, metavar="DIR", help=f"{text}; the run's if not given")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the arguments name."""
    parser = Parser(
        prog="python -m alexnet_jax.evaluate",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 10),
        help="of each image, averaged; as the run did if not given",
    )
    parser.add_argument("--json", action="store_true", help="print an object")
    add_data_arguments(parser)
    options = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax tells each of its steps
    try:
        network = TrainedModel(options.checkpoint, options.views)
        for line in network.passed_over:
            print(f"warning: {line}; passed over", file=sys.stderr)
        split = network.open_split(options.split, options.data_dir, options.manual_dir)
        found = evaluate(network, split, options.split)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))


if __name__ == "__main__":
    main()
