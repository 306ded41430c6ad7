"""Shows runs: a page of curves, filters, answers and mistakes, and its pictures.

  python -m alexnet_jax.report WORKDIR [WORKDIR ...] [--output=FOLDER or FILE.html]

Of one run the page is WORKDIR/report.html. It needs nothing besides itself, no network
either; the same pictures lie beside it as PNG. A WORKDIR that holds seed-0, seed-1, ...
is shown as one, with the spread over its seeds.
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging
from matplotlib.figure import Figure

from alexnet_jax.config import default_config, flatten_config
from alexnet_jax.data import DataSpec
from alexnet_jax.errors import InputError, Parser
from alexnet_jax.evaluate import add_data_arguments
from alexnet_jax.inspection.layers import describe
from alexnet_jax.inspection.tables import Summary, one_table, shape_text
from alexnet_jax.models import create_configured
from alexnet_jax.reporting.curves import draw_curves
from alexnet_jax.reporting.html import (
    Picture,
    heading,
    page,
    paragraph,
    table,
    terminal_table,
)
from alexnet_jax.reporting.sections import Drawn, draw_answers, draw_network
from alexnet_jax.run.read import Run, percent, read_runs
from alexnet_jax.trained import TrainedModel, read_config

Block = str | Picture


def make_report(runs: Sequence[Run], options: argparse.Namespace) -> Iterator[Block]:
    """Yields the page's blocks, its pictures among them."""
    yield heading(1, " and ".join(run.name for run in runs))
    for run in runs:
        for note in run.notes():
            yield paragraph(note, is_note=True)
    yield _results(runs)
    yield _curves(runs)
    for run in runs:
        prefix = "" if len(runs) == 1 else f"{run.name.replace('/', '-')}-"
        if len(runs) > 1:
            yield heading(2, run.name)
        for block in _show_run(run, options, 2 if len(runs) == 1 else 3):
            if isinstance(block, Picture):
                block = block._replace(name=prefix + block.name)
            yield block


def _results(runs: Sequence[Run]) -> str:
    def cells(run: Run) -> list[str]:
        config = run.record.get("config", {})
        rows = [rows[-1] for rows in run.rows]
        losses = [row["test/loss"] for row in run.finals]
        seconds = [row["time_s"] for row in rows if "time_s" in row]
        return [
            run.name,
            config.get("model", {}).get("name", "-"),
            config.get("data", {}).get("name", "-"),
            f"{max(row['epoch'] for row in rows):.4g}",
            f"{max(row['step'] for row in rows):,}",
            str(len(rows)),
            percent([row["test/top1"] for row in run.finals]),
            percent(run.bests),
            f"{sum(losses) / len(losses):.4f}" if losses else "-",
            f"{sum(seconds) / len(seconds) / 60:.1f}" if seconds else "-",
        ]

    columns = ["run", "network", "data", "epochs", "steps", "seeds"]
    columns += ["test top-1, %", "best, %", "test loss", "minutes"]
    caption = "Results at the end; of several seeds the mean and the standard deviation"
    return table(caption, columns, [cells(run) for run in runs], range(3, 10))


def _curves(runs: Sequence[Run]) -> Picture:
    figure = draw_curves({run.name: run.rows for run in runs})
    finals = "; ".join(
        f"{run.name} ends at {percent([row['test/top1'] for row in run.finals])} %"
        for run in runs
    )
    return Picture(
        "curves",
        to_png(figure),
        f"Learning curves, loss and top-1 accuracy. Test top-1: {finals}.",
        "Loss and top-1 accuracy. Training's are means over the steps since the mark "
        "before, of the network as it then was and with dropout.",
    )


def to_png(figure: Figure) -> bytes:
    """Returns a figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _show_run(run: Run, options: argparse.Namespace, level: int) -> Iterator[Block]:
    """Yields what there is of a run's network, and notes of what there is not."""
    workdir = run.workdirs[0]
    if len(run.workdirs) > 1:
        yield paragraph(f"The pictures are those of {workdir.name}.")
    try:
        network = TrainedModel(workdir)
    except InputError as error:
        yield paragraph(f"No pictures of the network: {error}.", is_note=True)
    else:
        for line in network.skipped:
            yield paragraph(f"Passed over: {line}.", is_note=True)
        yield from _pictures(draw_network(network), level)
        try:
            split = network.open_split("test", options.data_dir, options.manual_dir)
            yield from _pictures(draw_answers(network, split, options.examples), level)
        except InputError as error:
            yield paragraph(f"No pictures of its answers: {error}.", is_note=True)
    yield heading(level, "The network, layer by layer")
    yield _summary(workdir)
    yield heading(level, "Config and versions")
    yield from _config(run)


def _pictures(drawn: Iterator[Drawn], level: int) -> Iterator[Block]:
    for title, name, figure, alt, caption in drawn:
        yield heading(level, title)
        yield Picture(name, to_png(figure), alt, caption)


def _summary(workdir: Path) -> str:
    try:
        config, inputs = read_config(workdir), DataSpec.load(workdir)
        model, size = create_configured(config), config.data.image_size
        shape = (1, size, size, inputs.image_shape[-1])
        rows = describe(model, shape)
    except InputError as error:
        return paragraph(f"Not known: {error}.", is_note=True)
    summary = Summary(config.model.name, shape, config.model.num_classes, rows)
    caption = (
        f"{summary.name}: input {shape_text(shape[1:])}, {summary.num_classes} "
        "classes. Of an image: multiply-adds (MACs), memory, and what width of it an "
        "output sees, in pixels"
    )
    return terminal_table(caption, one_table(summary))


def _config(run: Run) -> Iterator[str]:
    if not run.record:
        yield paragraph("There is no config.json.", is_note=True)
        return
    defaults = flatten_config(default_config())
    rows = []
    for key, value in flatten_config(run.record.get("config", {})).items():
        usual = defaults.get(key)
        usual = list(usual) if isinstance(usual, tuple) else usual
        rows.append([key, str(value), "" if value == usual else f"not {usual}"])
    yield table("Config", ["key", "value", "default, if another"], sorted(rows))
    versions = {**run.record.get("versions", {})}
    versions["devices"] = ", ".join(run.record.get("devices", []))
    yield table("Versions", ["library", "version"], [*versions.items()])


def _output(options: argparse.Namespace) -> Path:
    """Returns the page's file."""
    if options.output is None:
        if len(options.workdirs) > 1:
            raise InputError("--output is missing: of several runs, where is the page?")
        return options.workdirs[0] / "report.html"
    if options.output.suffix == ".html":
        return options.output
    if options.output.suffix in (".png", ".pdf", ".svg"):
        raise InputError(
            f"--output must be a folder or FILE.html; got {options.output}; the curves "
            "lie beside the page as curves.png"
        )
    return options.output / "report.html"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m alexnet_jax.report",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR")
    parser.add_argument("--output", type=Path, metavar="FOLDER|FILE.html")
    parser.add_argument(
        "--examples",
        type=int,
        default=1000,
        metavar="N",
        help="test images that are predicted, from the first on (1000)",
    )
    add_data_arguments(parser)
    options = parser.parse_args(argv)
    if options.examples < 1:
        parser.error(f"--examples must be at least 1; got {options.examples}")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the page and the pictures of the runs that the arguments name."""
    options = _parse(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax tells each of its steps
    try:
        file = _output(options)
        runs = read_runs(options.workdirs)
        file.parent.mkdir(parents=True, exist_ok=True)
        blocks = list(make_report(runs, options))
        pictures = [block for block in blocks if isinstance(block, Picture)]
        for picture in pictures:
            (file.parent / f"{picture.name}.png").write_bytes(picture.png)
        body = [
            block.to_html() if isinstance(block, Picture) else block for block in blocks
        ]
        file.write_text(page(" and ".join(run.name for run in runs), body))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"page      {file}")
    print(f"pictures  {', '.join(f'{picture.name}.png' for picture in pictures)}")


if __name__ == "__main__":
    main()
