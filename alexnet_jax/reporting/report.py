"""The report of runs: a self-contained page; its images as PNG files, if wanted."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from alexnet_jax.atomic import write_file
from alexnet_jax.config import (
    default_config,
    flatten_config,
    shown_values,
    side_pair,
)
from alexnet_jax.data import DataSpec
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import describe
from alexnet_jax.inspection.tables import Summary, layer_table
from alexnet_jax.metrics import METRICS, shown_metrics
from alexnet_jax.models import create_configured
from alexnet_jax.reporting.curves import draw_curves, to_png
from alexnet_jax.reporting.html import (
    Image,
    document,
    heading,
    paragraph,
    table,
    terminal_table,
)
from alexnet_jax.reporting.sections import Section, filter_sections, prediction_sections
from alexnet_jax.run.imported import Imported
from alexnet_jax.run.read import Run, percent, read_config, read_runs
from alexnet_jax.run.rows import Row, epoch_of, steps_per_epoch
from alexnet_jax.trained import TrainedModel

Block = str | Image


def write_report(
    workdirs: Sequence[Path],
    file: Path,
    *,
    images_too: bool = False,
    examples: int = 1000,
    data_dir: str | None = None,
    manual_dir: str | None = None,
) -> list[Path]:
    """Writes the page of runs, which holds its images.

    Args:
      workdirs: The folders of the runs; one that holds `seed-N` folders is one run,
        and a sweep's is one for each setting.
      file: The page.
      images_too: Whether the images are written beside it, too, as PNG files.
      examples: Number of test images to predict, from the first on.
      data_dir: As `config.data.data_dir`; the run's own if not given.
      manual_dir: As `config.data.manual_dir`; the run's own if not given.

    Returns:
      The PNG files.

    Raises:
      InputError: A folder holds no run.
    """
    runs = read_runs(workdirs)
    file.parent.mkdir(parents=True, exist_ok=True)
    title = " and ".join(run.name for run in runs)
    blocks: list[Block] = [heading(1, title)]
    for run in runs:
        blocks += [paragraph(note, is_note=True) for note in run.notes()]
    if trained := [run for run in runs if run.started]:
        blocks += [_results(runs), _curves(trained)]
    for run in runs:
        blocks += _run_blocks(run, examples, data_dir, manual_dir, len(runs) > 1)
    body = [block.to_html() if isinstance(block, Image) else block for block in blocks]
    write_file(file, document(title, body))
    if not images_too:
        return []
    images = [block for block in blocks if isinstance(block, Image)]
    for image in images:
        write_file(file.parent / f"{image.name}.png", image.png)
    return [file.parent / f"{image.name}.png" for image in images]


def _results(runs: Sequence[Run]) -> str:
    shown = _shown_metrics(runs)
    fractions = [name for name in shown if METRICS[name].unit == "%"]
    others = [name for name in shown if METRICS[name].unit != "%"]

    def cells(run: Run) -> list[str]:
        config = run.record.get("config", {})
        rows = [rows[-1] for rows in run.started]
        seconds = [row["time_s"] for row in rows if "time_s" in row]
        return [
            run.name,
            config.get("model", {}).get("name", "-"),
            config.get("data", {}).get("name", "-"),
            *_length(run, rows),
            str(len(run.workdirs)),
            *(_final(run, name) for name in fractions),
            percent(run.bests),
            *(_final(run, name) for name in others),
            f"{sum(seconds) / len(seconds) / 60:.1f}" if seconds else "-",
        ]

    columns = ["run", "network", "data", "epochs", "steps", "seeds"]
    columns += [f"test {METRICS[name].title}, %" for name in fractions]
    columns += ["best top-1, %"]
    columns += [f"test {METRICS[name].title}, {METRICS[name].unit}" for name in others]
    columns += ["minutes"]
    caption = "Final results; for several seeds, mean ± standard deviation"
    numbers = range(3, len(columns))
    return table(caption, columns, [cells(run) for run in runs], numbers)


def _length(run: Run, rows: Sequence[Row]) -> tuple[str, str]:
    """Returns how many epochs and steps a run has; of how many, if it goes on."""
    if not rows:
        return "0", "0"
    last = max(rows, key=lambda row: row["step"])
    epoch, at_its_end = epoch_of(last)
    steps = f"{last['step']:,}"
    if at_its_end:
        return str(epoch), steps
    total = run.record.get("config", {}).get("num_epochs")
    of = f" of {total}" if total else ""
    ends = f" of {steps_per_epoch(last) * total:,}" if total else ""
    return f"in {epoch}{of}", f"{steps}{ends}"


def _shown_metrics(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the metrics that any of the runs ends with."""
    titles: set[str] = set()
    for run in runs:
        model = run.record.get("config", {}).get("model", {})
        for row in run.finals:
            titles |= shown_metrics(row, model.get("num_classes", 10)).keys()
    return [name for name, metric in METRICS.items() if metric.title in titles]


def _final(run: Run, name: str) -> str:
    key = f"test/{name}"
    values = [row[key] for row in run.finals if key in row]
    if METRICS[name].unit == "%":
        return percent(values)
    return f"{sum(values) / len(values):.4f}" if values else "-"


def _curves(runs: Sequence[Run]) -> Image:
    figure = draw_curves({run.name: run.started for run in runs})
    finals = "; ".join(
        f"{run.name} ends at {percent([row['test/top1'] for row in run.finals])} %"
        for run in runs
    )
    return Image(
        "curves",
        to_png(figure),
        f"Learning curves of loss and top-1 accuracy. Test top-1: {finals}.",
        "Loss and top-1 accuracy. Training values are means over the steps since the "
        "previous point, with dropout and before each update.",
    )


def _run_blocks(
    run: Run,
    examples: int,
    data_dir: str | None,
    manual_dir: str | None,
    is_one_of_several: bool,
) -> Iterator[Block]:
    """Yields what is known of a run's network, and notes about what is missing."""
    workdir = run.workdirs[0]
    level, prefix = 2, ""
    if is_one_of_several:
        level, prefix = 3, f"{run.name.replace('/', '-')}-"
        yield heading(2, run.name)
    if len(run.workdirs) > 1:
        yield paragraph(f"The figures below show {workdir.name}.")
    if run.imported is not None:
        yield heading(level, "Imported weights")
        yield from _origin(run.imported, is_trained=bool(run.rows[0]))
    try:
        network = TrainedModel(workdir)
    except InputError as error:
        yield paragraph(f"No figures of the network: {error}.", is_note=True)
    else:
        for line in network.skipped:
            yield paragraph(f"Skipped: {line}.", is_note=True)
        yield from _section_blocks(filter_sections(network), level, prefix)
        try:
            split = network.open_split("test", data_dir, manual_dir)
            sections = prediction_sections(network, split, examples)
            yield from _section_blocks(sections, level, prefix)
        except InputError as error:
            yield paragraph(f"No figures of its predictions: {error}.", is_note=True)
    yield heading(level, "Layers")
    yield _summary(workdir)
    yield heading(level, "Config and versions")
    yield from _config(run)


def _origin(imported: Imported, *, is_trained: bool) -> Iterator[str]:
    """Yields where weights come from, and what was done to each array."""
    since = "were trained since" if is_trained else "were not trained here"
    yield paragraph(f"The first weights come from elsewhere; they {since}.")
    facts = [["name", imported.source], ["format", imported.form]]
    if imported.bytes is not None:
        facts.append(["bytes", f"{imported.bytes:,}"])
    if imported.sha256 is not None:
        facts.append(["SHA-256", imported.sha256])
    if imported.mean is not None:
        facts.append(["mean image", imported.mean])
    if imported.left_out:
        facts.append(["left out", ", ".join(imported.left_out)])
    yield table("Source", ["", "value"], facts)
    arrays = [[name, *both] for name, both in imported.arrays.items()]
    yield table("Arrays", ["array", "in the file", "changed"], arrays)


def _section_blocks(
    sections: Iterable[Section], level: int, prefix: str
) -> Iterator[Block]:
    for title, name, figure, alt, caption in sections:
        yield heading(level, title)
        yield Image(prefix + name, to_png(figure), alt, caption)


def _summary(workdir: Path) -> str:
    try:
        config, spec = read_config(workdir), DataSpec.load(workdir)
        model, size = create_configured(config), side_pair(config.data.image_size)
        shape = (1, *size, spec.image_shape[-1])
        rows = describe(model, shape)
    except InputError as error:
        return paragraph(f"Unknown: {error}.", is_note=True)
    summary = Summary(config.model.name, shape, config.model.num_classes, rows)
    caption = (
        f"{summary.title}. Receptive fields in pixels; multiply-adds (MACs) and memory "
        "per image"
    )
    return terminal_table(caption, layer_table(summary))


def _config(run: Run) -> Iterator[str]:
    if not run.record:
        yield paragraph("The run has no readable config.json.", is_note=True)
        return
    defaults = shown_values(flatten_config(default_config()))
    rows = []
    values = shown_values(flatten_config(run.record.get("config", {})))
    for key, value in values.items():
        default = defaults.get(key)
        default = list(default) if isinstance(default, tuple) else default
        rows.append([key, str(value), "" if value == default else str(default)])
    yield table("Config", ["key", "value", "default, if different"], sorted(rows))
    versions = {**run.record.get("versions", {})}
    versions["devices"] = ", ".join(run.record.get("devices", []))
    yield table("Versions", ["library", "version"], [*versions.items()])
