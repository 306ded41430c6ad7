"""Evaluates a checkpoint on its data set: loss, top-1, top-5, accuracy per class.

python -m alexnet_jax.evaluate CHECKPOINT
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax import cli
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
        "data": network.inputs.data,
        "split": name,
        "examples": len(label),
        "views": network.views,
        **measure(logits, label),
        "classes": classes,
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser("alexnet_jax.evaluate", __doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help=cli.CHECKPOINT_HELP)
    add(
        "--split",
        choices=("test", "train"),
        default="test",
        help="the images to evaluate on (default: test)",
    )
    add(
        "--views",
        type=int,
        choices=(1, 10),
        help="average over 1 or 10 views of each image (default: the run's own)",
    )
    add("--json", action="store_true", help="print an object")
    cli.add_data_arguments(parser)
    return parser.parse_args(argv)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the evaluation that the arguments ask for."""
    options = _parse(argv)
    from alexnet_jax.reporting.text import evaluation_text

    network = TrainedModel(options.checkpoint, options.views)
    for line in network.passed_over:
        print(f"warning: {line}; skipped", file=sys.stderr)
    split = network.open_split(options.split, options.data_dir, options.manual_dir)
    found = evaluate(network, split, options.split)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(evaluation_text(found)))


if __name__ == "__main__":
    main()
