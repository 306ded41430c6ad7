"""Prints networks layer by layer, one alone or several side by side.

  python -m alexnet_jax.summary NAME [NAME ...] [--input_shape=224,224,3]
      [--num_classes=1000] [--json]
  python -m alexnet_jax.summary --list       every network, a line each
  python -m alexnet_jax.summary --kernels    large kernels beside stacks of 3×3
  python -m alexnet_jax.summary NAME --parallel.model=2 [--parallel.data=1]
      [--batch_size=128]                     what devices say in a training step
  python -m alexnet_jax.summary NAME --picture=towers.png    its towers, drawn

Without --input_shape and --num_classes each network has its author's. Multiply-adds and
memory are an image's; biases, normalisation and pooling are not counted as
multiply-adds. No weight is allocated.
"""

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

from alexnet_jax.errors import InputError, Parser
from alexnet_jax.inspection.collectives import describe_traffic
from alexnet_jax.inspection.tables import (
    kernel_table,
    list_table,
    one_table,
    shape_text,
    side_by_side,
    summarize,
    traffic_lines,
    traffic_table,
)
from alexnet_jax.models import MODELS
from alexnet_jax.parallel import create_parallel

_MAX_SIDE_BY_SIDE = 4


def _parse_shape(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in re.findall(r"\d+", text))
    if (
        not re.fullmatch(r"[\s\d,x×()\[\]]+", text)
        or len(numbers) not in (3, 4)
        or 0 in numbers
    ):
        raise argparse.ArgumentTypeError(
            "must be height, width and channels, such as 224,224,3, or four numbers "
            f"with the batch before; got {text!r}"
        )
    return numbers if len(numbers) == 4 else (1, *numbers)


def _parse_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text!r}")
    return int(text)


def _draw(names: Sequence[str], options: argparse.Namespace) -> None:
    from alexnet_jax.inspection.tower_diagram import (
        draw_towers,  # matplotlib takes a second
    )

    if len(names) != 1:
        raise InputError("--picture takes one NAME")
    summary = summarize(names[0], options.input_shape, options.num_classes)
    try:
        draw_towers(summary, options.picture)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--picture: {options.picture} cannot be written ({error})"
        ) from error
    print(f"drawn     {options.picture}")


def _print_traffic(
    console: Console, names: Sequence[str], options: argparse.Namespace
) -> None:
    """Prints what devices say to each other; CPU devices stand for any."""
    if len(names) != 1 or options.json or options.list:
        raise InputError("--parallel takes one NAME, and prints no JSON")
    data, model = options.data or 1, options.model or 1
    with contextlib.suppress(RuntimeError):  # the devices are there already
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", data * model)
    summary = summarize(names[0], options.input_shape, options.num_classes)
    parallel = create_parallel(data, model, data * options.batch_size, names[0])
    # The batch is one row's, so that rows do the same work in any number.
    shape = (data * options.batch_size, *summary.input_shape[1:])
    traffic = describe_traffic(parallel, names[0], shape, summary.num_classes)
    console.print(traffic_table(traffic))
    for line in traffic_lines(traffic):
        print(line)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints what the arguments ask for."""
    lines = (__doc__ or "").splitlines()
    parser = Parser(
        prog="python -m alexnet_jax.summary",
        description=lines[0],
        epilog=f"Networks: {', '.join(MODELS)}.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks to print")
    parser.add_argument("--input_shape", type=_parse_shape, metavar="H,W,C")
    parser.add_argument("--num_classes", type=_parse_count, metavar="N")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument("--list", action="store_true", help="a line for every network")
    parser.add_argument(
        "--kernels", action="store_true", help="large kernels beside stacks of 3×3"
    )
    for axis in ("data", "model"):
        parser.add_argument(
            f"--parallel.{axis}", type=_parse_count, metavar="N", dest=axis
        )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the towers")
    parser.add_argument("--batch_size", type=_parse_count, metavar="B", default=128)
    options = parser.parse_args(argv)
    # Numbers are never cut or wrapped, however narrow the terminal or the pipe.
    console = Console(width=max(Console().width, 250), highlight=False)
    if options.kernels:
        console.print(kernel_table())
        return
    names = list(MODELS) if options.list else options.names
    if not names:
        parser.error("name a network, or give --list; try alexnet_paper")
    try:
        if options.picture:
            _draw(names, options)
            return
        if options.data or options.model:
            _print_traffic(console, names, options)
            return
        summaries = [
            summarize(name, options.input_shape, options.num_classes) for name in names
        ]
        if not (options.json or options.list) and len(names) > _MAX_SIDE_BY_SIDE:
            raise InputError(
                f"NAME: at most {_MAX_SIDE_BY_SIDE} stand side by side; got "
                f"{len(names)}; --list has all"
            )
    except InputError as error:
        sys.exit(f"error: {error}")
    if options.json:
        objects = [summary.to_dict() for summary in summaries]
        print(json.dumps(objects, indent=2, ensure_ascii=False))
    elif options.list:
        console.print(list_table(summaries))
    elif len(summaries) == 1:
        summary = summaries[0]
        print(
            f"{summary.name}: input {shape_text(summary.input_shape[1:])}, "
            f"{summary.num_classes} classes"
        )
        console.print(one_table(summary))
    else:
        console.print(side_by_side(summaries))


if __name__ == "__main__":
    main()
