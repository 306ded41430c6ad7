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

from absl import logging

from alexnet_jax.errors import InputError, Parser
from alexnet_jax.trained import TrainedModel


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
        for line in network.skipped:
            print(f"warning: {line}; passed over", file=sys.stderr)
        found = network.evaluate(options.split, options.data_dir, options.manual_dir)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))


if __name__ == "__main__":
    main()
