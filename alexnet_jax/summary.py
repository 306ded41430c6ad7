"""Prints the layers of networks, alone or side by side.

  python -m alexnet_jax.summary alexnet_paper
  python -m alexnet_jax.summary alexnet_2012 alexnet_paper    side by side
  python -m alexnet_jax.summary alexnet_half --input-shape=224,224,1
  python -m alexnet_jax.summary --list                        all networks
  python -m alexnet_jax.summary alexnet_paper --parallel.model=2
                                a training step's collectives on two devices
  python -m alexnet_jax.summary alexnet_paper --picture=towers.png
  python -m alexnet_jax.summary runs/mine                     a run's network
  python -m alexnet_jax.summary cfg:layers-145.cfg alexnet_2012
                                a layer file of cuda-convnet, beside ours
  python -m alexnet_jax.summary cfg:layers-145.cfg --code     as a Python class
  python -m alexnet_jax.summary --report layers/              all layer files

Multiply-adds (MACs) and memory are those of one image; biases, normalization
and pooling do not count as multiply-adds. No weights are allocated.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet_jax import cli
from alexnet_jax.errors import InputError

if TYPE_CHECKING:
    from alexnet_jax.inspection.tables import Summary

_MAX_SIDE_BY_SIDE = 4
_BATCH_SIZE = 128
_JSON = "with --json"  # how tables are had in full


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.summary", __doc__)
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        metavar="NAME",
        help="networks, cfg:FILE of cuda-convnet, or folders of runs",
    )
    add("--list", action="store_true", help="print one line for every network")
    add(
        "--input-shape",
        type=cli.image_shape,
        metavar="H,W,C",
        help="shape of an image (default: the author's, or the run's)",
    )
    add(
        "--num-classes",
        type=cli.positive_int,
        metavar="N",
        help="number of logits (default: the author's, or the run's)",
    )
    add("--json", action="store_true", help="print a list of objects")
    add(
        "--params",
        type=cli.path,
        metavar="FILE",
        help="layer-parameter file of cfg:FILE (default: that of its name)",
    )
    add("--code", action="store_true", help="print the class that cfg:FILE becomes")
    add(
        "--report",
        type=cli.path,
        metavar="DIRECTORY",
        help="print one line for every layer file of cuda-convnet there",
    )
    add(
        "--picture",
        type=cli.path,
        metavar="FILE",
        help="draw the two towers of a network; by its ending .png, .pdf or .svg",
    )
    for axis, text in (
        ("data", "devices that share a batch (default: 1)"),
        ("model", "devices that hold a tower each: 1 or 2 (default: 1)"),
    ):
        add(
            f"--parallel.{axis}",
            type=cli.positive_int,
            metavar="N",
            dest=axis,
            help=f"print a training step's collectives: {text}",
        )
    add(
        "--batch-size",
        type=cli.positive_int,
        metavar="B",
        help=f"images per device, with --parallel (default: {_BATCH_SIZE})",
    )
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(argv)
    outputs = {
        "--list": options.list,
        "--report": options.report,
        "--code": options.code,
        "--picture": options.picture,
        "--parallel": options.data or options.model,
    }
    given = [flag for flag, value in outputs.items() if value]
    if len(given) > 1:
        parser.error(f"{' and '.join(given)} exclude each other; give one of them")
    output = given[0] if given else None
    if output in ("--list", "--report"):
        if options.names:
            parser.error(f"{output} takes no NAME; leave out {options.names[0]}")
    elif not options.names:
        parser.error("name a network, or give --list; try alexnet_paper")
    if options.report and (options.input_shape or options.num_classes):
        parser.error("--report takes no --input-shape and no --num-classes")
    if (options.code or options.params) and (
        len(options.names) != 1 or not options.names[0].startswith("cfg:")
    ):
        parser.error("--code and --params take one NAME, cfg:FILE of cuda-convnet")
    if options.code and options.input_shape:
        parser.error("--code and --input-shape exclude each other; give one of them")
    if output in ("--code", "--picture", "--parallel"):
        if options.json:
            parser.error(f"{output} and --json exclude each other; give one of them")
        if len(options.names) != 1:
            parser.error(f"{output} takes one NAME; got {len(options.names)}")
    if options.batch_size and output != "--parallel":
        parser.error("--batch-size is for --parallel; give --parallel.data=2, too")
    if not options.json and len(options.names) > _MAX_SIDE_BY_SIDE:
        parser.error(
            f"NAME: at most {_MAX_SIDE_BY_SIDE} networks fit side by side; got "
            f"{len(options.names)}; --list shows all"
        )
    return options


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the summaries that the arguments ask for."""
    options = _parse(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.inspection import tables
    from alexnet_jax.models import MODELS, is_network
    from alexnet_jax.terminal.paths import check_output, expand
    from alexnet_jax.terminal.tables import print_lines, print_table

    if options.report:
        _print_report(options)
        return
    names = list(MODELS) if options.list else options.names
    if options.picture:
        picture = expand(options.picture, "--picture")
        check_output(picture, (".png", ".pdf", ".svg"), "--picture")
    if options.data or options.model:
        _print_collectives(options)
        return
    summaries = [_summarize(name, options) for name in names]
    if options.code:
        _print_code(summaries[0])
    elif options.picture:
        from alexnet_jax.inspection.tower_diagram import draw_towers

        draw_towers(summaries[0], picture)
        print(f"picture   {options.picture}")
    elif options.json:
        objects = [summary.to_dict() for summary in summaries]
        cli.print_json(objects)
    elif options.list:
        print_table(tables.list_table(summaries), _JSON)
    elif len(summaries) == 1:
        print_lines([summaries[0].title])
        print_table(tables.layer_table(summaries[0]), _JSON)
    else:
        print_table(tables.side_by_side(summaries, names), _JSON)
    if not (options.code or options.picture or options.json or options.list):
        pairs = zip(names, summaries, strict=True)
        _print_rates([one for name, one in pairs if is_network(name)])


def _print_rates(summaries: "Sequence[Summary]") -> None:
    """Prints how layers learn, if a layer-parameter file says so.

    Of a run it does not: its config may say otherwise.
    """
    from alexnet_jax.config import is_cfg

    if not any(is_cfg(summary.name) for summary in summaries):
        return
    from alexnet_jax.inspection import rates
    from alexnet_jax.terminal.tables import print_lines, print_table

    table = rates.rates_table(summaries)
    if table is not None:
        print()
        print_table(table)
        print_lines(rates.stages(summaries))


def _print_code(summary: "Summary") -> None:
    from alexnet_jax.models.cuda_convnet import CfgNetwork
    from alexnet_jax.models.cuda_convnet.code import print_class

    model = summary.network(num_classes=summary.num_classes)
    assert isinstance(model, CfgNetwork)
    print(print_class(model))


def _print_report(options: argparse.Namespace) -> None:
    from alexnet_jax.inspection import experiments
    from alexnet_jax.terminal.bar import spinner
    from alexnet_jax.terminal.paths import expand
    from alexnet_jax.terminal.tables import print_lines, print_table

    with spinner("reading"):
        rows = experiments.read_experiments(expand(options.report, "--report"))
    if options.json:
        cli.print_json([row.to_dict() for row in rows])
        return
    print_table(experiments.experiments_table(rows), _JSON)
    refused = [row for row in rows if row.params_refused]
    print_lines([experiments.totals(rows)])
    print_lines(f"{row.name}: {row.params_refused}" for row in refused)


def _summarize(name: str, options: argparse.Namespace) -> "Summary":
    """Describes a registered network, or that of a run's folder or checkpoint.

    Raises:
      InputError: It is neither, or an option does not go with it.
    """
    from alexnet_jax.inspection import tables
    from alexnet_jax.models import create_configured, is_network

    if is_network(name) or not (os.sep in name or os.path.isdir(name)):
        params = None if options.params is None else str(options.params)
        return tables.summarize(name, options.input_shape, options.num_classes, params)
    if options.picture or options.data or options.model:
        raise InputError(
            f"--picture and --parallel take the name of a network, not a run ({name})"
        )
    from alexnet_jax.config import side_pair
    from alexnet_jax.data.spec import DataSpec  # of data sets, Orbax: a second
    from alexnet_jax.run.read import read_config
    from alexnet_jax.terminal.paths import expand

    workdir = expand(Path(name), "NAME")
    if workdir.parent.name == "checkpoints":
        workdir = workdir.parent.parent
    config = read_config(workdir)
    channels = DataSpec.load(workdir).image_shape[-1]
    shape = options.input_shape or (1, *side_pair(config.data.image_size), channels)
    if options.num_classes:
        config.model.num_classes = options.num_classes
    return tables.describe_model(config.model.name, create_configured(config), shape)


def _print_collectives(options: argparse.Namespace) -> None:
    from alexnet_jax.inspection import collectives
    from alexnet_jax.terminal.bar import spinner
    from alexnet_jax.terminal.tables import print_lines, print_table

    summary = _summarize(options.names[0], options)
    layout = options.data or 1, options.model or 1
    with spinner("compiling"):
        batch_size = options.batch_size or _BATCH_SIZE
        step = collectives.simulate_collectives(summary, *layout, batch_size)
    print_table(collectives.collectives_table(step))
    print_lines(collectives.collectives_totals(step))


if __name__ == "__main__":
    main()
