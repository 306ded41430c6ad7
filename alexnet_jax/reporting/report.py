"""The report of runs: a self-contained page; its figures as PNG files, if wanted."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from alexnet_jax.atomic import is_made_by, move_aside, write_file
from alexnet_jax.config import (
    default_config,
    flatten_config,
    shown_values,
    side_pair,
)
from alexnet_jax.data import DataSpec
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.tables import (
    Summary,
    describe_model,
    layer_table,
    short_name,
)
from alexnet_jax.models import create_configured
from alexnet_jax.reporting.command import command_of
from alexnet_jax.reporting.curves import draw_curves
from alexnet_jax.reporting.files import MAKER, to_bytes
from alexnet_jax.reporting.html import (
    Heading,
    anchor_of,
    command,
    contents,
    details,
    document,
    paragraph,
    table,
    terminal_table,
)
from alexnet_jax.reporting.panels import curve_panels
from alexnet_jax.reporting.results import (
    differences_table,
    headline,
    results_table,
    training_words,
)
from alexnet_jax.reporting.sections import Section, filter_sections, prediction_sections
from alexnet_jax.reporting.themes import on_paper
from alexnet_jax.run.imported import Imported
from alexnet_jax.run.place import CURVES_FILE
from alexnet_jax.run.read import Run, read_config, read_runs
from alexnet_jax.terminal.paths import is_same_file
from alexnet_jax.trained import TrainedModel

_MAX_OPEN = 12  # rows of a long table that is shown at once
_MAX_OPEN_RUNS = 2  # whose sections are shown at once


class _Page:
    """A page as it grows: HTML, headings, and the figures of files.

    Attributes:
      figures: What draws each file's figure, by its name without the ending.
    """

    def __init__(self) -> None:
        self.figures: dict[str, Callable[[], Figure]] = {}
        self._blocks: list[str] = []
        self._headings: list[Heading] = []
        self._first: int | None = None  # section's block, before which the contents are
        self._anchors: set[str] = set()

    def heading(
        self, level: int, text: str, prefix: str | None = "", hidden: str = ""
    ) -> None:
        """Adds a heading.

        Args:
          level: From 1.
          text: The heading.
          prefix: What its anchor begins with; None for a heading without one.
          hidden: HTML that a click on the heading shows.
        """
        anchor = self._free_anchor(prefix + text) if prefix is not None else ""
        made = Heading(level, text, anchor)
        self._headings.append(made)
        if level == 2 and self._first is None:
            self._first = len(self._blocks)
        self._blocks.append(details(made, hidden) if hidden else made.to_html())

    def _free_anchor(self, text: str) -> str:
        first = anchor = anchor_of(text) or "part"
        number = 1
        while anchor in self._anchors:
            anchor = f"{first}-{(number := number + 1)}"
        self._anchors.add(anchor)
        return anchor

    def add(self, html: Iterable[str]) -> None:
        """Adds HTML."""
        self._blocks += html

    def html(self) -> str:
        """Returns what was added."""
        return "\n".join(self._blocks)

    def document(self, title: str) -> str:
        """Returns the page, with its contents before the first section."""
        parts = [*self._blocks]
        parts.insert(self._first or 0, contents(self._headings))
        return document(title, parts)


def write_report(
    workdirs: Sequence[Path],
    file: Path,
    *,
    is_named: bool = True,
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
      is_named: Whether its name is the caller's, who wants it replaced.
      images_too: Whether the figures are written beside it, too, as PNG files.
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
    reports = [_RunReport(run, examples, data_dir, manual_dir) for run in runs]
    page = _Page()
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs side by side"
    page.heading(1, title)
    for run in runs:
        page.add(paragraph(note, is_note=True) for note in run.notes())
    if len(runs) == 1:
        page.add(reports[0].head())
    else:
        page.heading(2, "Results")
        page.add([results_table(runs)])
        if found := differences_table(runs):
            page.heading(2, "Differences")
            page.add([found])
    if trained := [run for run in runs if run.started]:
        curves = {run.name: run.started for run in trained}
        page.heading(2, "Learning curves")
        page.add([curve_panels(curves)])
        page.figures["curves"] = lambda: draw_curves(curves)
    for number, report in enumerate(reports, 1):
        _add_run(page, report, number, len(runs))
    figures = {
        file.parent / f"{name}.png": draw
        for name, draw in page.figures.items()
        if images_too
    }
    _clear_strangers([*figures] if is_named else [file, *figures], workdirs)
    write_file(file, page.document(title))
    for path, draw in figures.items():
        with on_paper():
            write_file(path, to_bytes(draw(), "png", MAKER))
    return [*figures]


def _clear_strangers(files: Iterable[Path], workdirs: Sequence[Path]) -> None:
    """Moves aside what no report wrote, of the files that a report replaces.

    Of a single run in its own folder `curves.png` is the run's, which draws it, too.
    """
    for path in files:
        ours = len(workdirs) == 1 and is_same_file(path.parent, workdirs[0])
        if ours and path.name == CURVES_FILE or is_made_by(path, MAKER):
            continue
        if os.path.lexists(path):
            aside = move_aside(path)
            print(f"warning   {path} is of no report of this version; moved to {aside}")


def _add_run(page: _Page, report: "_RunReport", number: int, runs: int) -> None:
    """Adds what is known of a run's network, and notes about what is missing.

    Args:
      page: The page.
      report: The run's.
      number: The run's, from 1.
      runs: How many there are on the page.
    """
    run = report.run
    if runs == 1:
        _add_details(page, report, level=2)
        return
    name = run.name.replace("/", "-")
    if runs <= _MAX_OPEN_RUNS:
        page.heading(2, run.name, f"run-{number}-")
        page.add(report.head())
        _add_details(page, report, 3, f"run-{number}-", f"{name}-")
        return
    # A page of its own behind a click, whose sections the contents leave out.
    inner = _Page()
    inner.add(report.head())
    _add_details(inner, report, 3, None, f"{name}-")
    page.figures |= inner.figures
    page.heading(2, run.name, f"run-{number}-", inner.html())


def _add_details(
    page: _Page,
    report: "_RunReport",
    level: int,
    of_anchors: str | None = "",
    of_files: str = "",
) -> None:
    """Adds the sections of a run.

    Args:
      page: The page.
      report: The run's.
      level: Of the headings.
      of_anchors: What anchors begin with; None for no anchors.
      of_files: What names of files begin with.
    """
    run = report.run

    def heading(text: str) -> None:
        page.heading(level, text, of_anchors)

    if run.imported is not None:
        heading("Imported weights")
        page.add(_origin(run.imported, is_trained=bool(run.rows[0])))
    for found in report.sections():
        if isinstance(found, str):
            page.add([found])
            continue
        heading(found.title)
        page.add([found.html])
        if found.draw is not None:
            page.figures[of_files + found.name] = found.draw
    heading("Layers")
    page.add([report.layers()])
    heading("Config and versions")
    page.add(_config(run))


class _RunReport:
    """What there is to say of one run, and of its network.

    Attributes:
      run: The run, or its seeds.
    """

    def __init__(
        self, run: Run, examples: int, data_dir: str | None, manual_dir: str | None
    ) -> None:
        self.run = run
        self._workdir, self._examples = run.workdirs[0], examples
        self._problems: list[str] = []
        self._network = self._split = None
        self._summary: Summary | InputError
        try:
            self._summary = _summarize(self._workdir)
        except InputError as error:
            self._summary = error
        try:
            self._network = TrainedModel(self._workdir)
        except InputError as error:
            self._problems.append(f"No figures of the network: {error}.")
            return
        try:
            self._split = self._network.open_split("test", data_dir, manual_dir)
        except InputError as error:
            self._problems.append(f"No figures of its predictions: {error}.")

    def head(self) -> Iterator[str]:
        """Yields the run's results, how it was made, and how to make it again."""
        run = self.run
        config = run.record.get("config", {})
        model, data = config.get("model", {}), config.get("data", {})
        name, more = short_name(model.get("name", "-")), ""
        if isinstance(self._summary, Summary):
            more = f"{self._summary.params:,} parameters"
        classes = f"{model.get('num_classes', 10):,} classes"
        source = self._network.spec.name if self._network else data.get("name", "-")
        images = None
        if self._split is not None and data.get("on_broken") != "skip":
            images = self._split.num_examples
        yield headline(
            run, network=(name, more), data=(source, classes), test_images=images
        )
        yield from map(paragraph, training_words(run))
        try:
            config = read_config(self._workdir)
        except InputError:
            return
        if run.imported is None:
            yield paragraph("The command that makes it again:")
            yield command(command_of(config, _seeds(run)))

    def sections(self) -> Iterator[Section | str]:
        """Yields sections about the network, and HTML of what is missing."""
        if len(self.run.workdirs) > 1:
            yield paragraph(f"The figures below show {self._workdir.name}.")
        if self._network is not None:
            for line in self._network.skipped:
                yield paragraph(f"Skipped: {line}.", is_note=True)
            yield from filter_sections(self._network)
        if self._network is not None and self._split is not None:
            try:
                yield from prediction_sections(
                    self._network, self._split, self._examples
                )
            except InputError as error:
                self._problems.append(f"No figures of its predictions: {error}.")
        for problem in self._problems:
            yield paragraph(problem, is_note=True)

    def layers(self) -> str:
        """Returns the table of layers."""
        if isinstance(self._summary, InputError):
            return paragraph(f"Unknown: {self._summary}.", is_note=True)
        caption = (
            f"{self._summary.title}. Receptive fields in pixels; multiply-adds (MACs) "
            "and memory per image"
        )
        made = terminal_table(caption, layer_table(self._summary))
        count = len(self._summary.layers)
        return details(f"{count} layers", made, is_open=count <= _MAX_OPEN)


def _seeds(run: Run) -> list[int]:
    """Returns the seeds of a run's folders, if these are a seed's each."""
    found = [re.fullmatch(r"(?:.*,)?seed-([0-9]+)", one.name) for one in run.workdirs]
    if len(found) < 2 or not all(found):
        return []
    return [int(one[1]) for one in found if one]


def _summarize(workdir: Path) -> Summary:
    config, spec = read_config(workdir), DataSpec.load(workdir)
    shape = (1, *side_pair(config.data.image_size), spec.image_shape[-1])
    return describe_model(config.model.name, create_configured(config), shape)


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
    if imported.assumed:
        facts.append(["trained on", "not known; the data of the config are assumed"])
    if imported.left_out:
        facts.append(["left out", ", ".join(imported.left_out)])
    yield table("Source", ["", "value"], facts)
    arrays = [[name, *both] for name, both in imported.arrays.items()]
    made = table("Arrays", ["array", "in the file", "changed"], arrays)
    yield details(f"{len(arrays)} arrays", made, is_open=len(arrays) <= _MAX_OPEN)


def _config(run: Run) -> Iterator[str]:
    if not run.record:
        yield paragraph("The run has no readable config.json.", is_note=True)
        return
    defaults = shown_values(flatten_config(default_config()))
    changed, rest = [], []
    values = shown_values(flatten_config(run.record.get("config", {})))
    for key, value in sorted(values.items()):
        default = defaults.get(key)
        default = list(default) if isinstance(default, tuple) else default
        if value == default:
            rest.append([key, str(value)])
        else:
            changed.append([key, str(value), str(default)])
    yield table("Config: what is not the default", ["key", "value", "default"], changed)
    others = table("Config: as the default", ["key", "value"], rest)
    yield details(f"{len(rest)} keys that have their defaults", others)
    versions = {**run.record.get("versions", {})}
    versions["devices"] = ", ".join(run.record.get("devices", []))
    yield table("Versions", ["library", "version"], [*versions.items()])
