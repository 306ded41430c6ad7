"""What a report says of runs in numbers and words: results, lengths, differences."""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.atomic import read_regular
from alexnet_jax.config import default_config, flatten_config, shown_values
from alexnet_jax.inspection.tables import short_name
from alexnet_jax.metrics import METRICS, shown_metrics
from alexnet_jax.reporting.html import facts, table
from alexnet_jax.run.read import Run, percent
from alexnet_jax.run.rows import (
    best_of,
    epoch_of,
    place_of,
    stopped_early,
)
from alexnet_jax.sweep import SWEEP_FILE
from alexnet_jax.terminal.tables import shorten
from alexnet_jax.terminal.text import counted

_MAX_VALUE = 60  # columns of a config's value, where runs are compared


def headline(
    run: Run,
    *,
    network: tuple[str, str],
    data: tuple[str, str],
    test_images: int | None,
) -> str:
    """Returns what a reader wants to know first of a run.

    Args:
      run: The run, or its seeds.
      network: The network's name, and its number of parameters, in words.
      data: The data set's name, and its number of classes, in words.
      test_images: How many images it was tested on; None if unknown.
    """
    pairs: dict[str, tuple[str, str]] = {}
    top1 = [row["test/top1"] for row in run.finals]
    main = "Network"
    if top1:
        main = "Test top-1 accuracy"
        more = ""
        if len(top1) > 1:
            more = f"mean ± standard deviation of {len(top1)} seeds"
        elif test_images is not None:
            more = f"{round(top1[0] * test_images):,} of {test_images:,} images"
        pairs[main] = f"{percent(top1)} %", more
        if (best := _best(run)) is not None:
            pairs["Best test top-1"] = best
    pairs["Network"] = network
    pairs["Data"] = data
    for key in _shown_metrics([run]):
        if key != "top1":
            unit = METRICS[key].unit
            pairs[f"Test {METRICS[key].title}"] = f"{_final(run, key)} {unit}", ""
    if run.started:
        epochs, steps, minutes = _lengths(run)
        length = epochs.replace("in", "in epoch")
        if epochs.isdigit():
            length = counted(int(epochs), "epoch")
        pairs["Length"] = length, f"{steps} steps"
        if minutes is not None:
            each = "each seed, on average" if len(run.started) > 1 else ""
            pairs["Time"] = _duration(minutes), each
    return facts(pairs, main)


def _best(run: Run) -> tuple[str, str] | None:
    if len(run.bests) > 1:
        return f"{percent(run.bests)} %", ""
    (rows,) = run.evaluated
    return f"{percent(run.bests)} %", f"at {place_of(best_of(rows))}"


def _lengths(run: Run) -> tuple[str, str, float | None]:
    """Returns epochs and steps as text, and a seed's minutes, if known.

    Of a run that stopped within an epoch, they say of how many.
    """
    rows = [rows[-1] for rows in run.started]
    seconds = [row["time_s"] for row in rows if "time_s" in row]
    minutes = sum(seconds) / len(seconds) / 60 if seconds else None
    if minutes is not None and not math.isfinite(minutes):
        minutes = None
    if not rows:
        return "0", "0", minutes
    last = max(rows, key=lambda row: row["step"])
    epoch, at_its_end = epoch_of(last)
    steps = f"{last['step']:,}"
    if at_its_end:
        return str(epoch), steps, minutes
    if not (total := run.record.get("config", {}).get("num_epochs")):
        return f"in {epoch}", steps, minutes
    if last["step"] != (end := run.end(last)):
        steps += f" of {end:,}"
    return f"in {epoch} of {total}", steps, minutes


def _rounded(value: float) -> str:
    """Returns a number with two digits, and all of those before the point."""
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _duration(minutes: float) -> str:
    if minutes < 2:
        return counted(round(60 * minutes), "second")
    return f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def results_table(runs: Sequence[Run]) -> str:
    """Returns a row for each of several runs."""
    shown = _shown_metrics(runs)
    fractions = [key for key in shown if METRICS[key].unit == "%"]
    others = [key for key in shown if METRICS[key].unit != "%"]

    def cells(run: Run) -> list[str]:
        config = run.record.get("config", {})
        epochs, steps, minutes = _lengths(run)
        return [
            run.name,
            short_name(config.get("model", {}).get("name", "-")),
            config.get("data", {}).get("name", "-"),
            epochs,
            steps,
            str(len(run.workdirs)),
            *(_final(run, key) for key in fractions),
            percent(run.bests),
            *(_final(run, key) for key in others),
            "-" if minutes is None else _rounded(minutes),
        ]

    columns = ["run", "network", "data", "epochs", "steps", "seeds"]
    columns += [f"test {METRICS[key].title}, %" for key in fractions]
    columns += ["best top-1, %"]
    columns += [f"test {METRICS[key].title}, {METRICS[key].unit}" for key in others]
    columns += ["minutes"]
    caption = "Final results; for several seeds, mean ± standard deviation"
    return table(caption, columns, [*map(cells, runs)], range(3, len(columns)))


def _shown_metrics(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the metrics that any of the runs ends with."""
    titles: set[str] = set()
    for run in runs:
        model = run.record.get("config", {}).get("model", {})
        for row in run.finals:
            titles |= shown_metrics(row, model.get("num_classes", 10)).keys()
    return [key for key, metric in METRICS.items() if metric.title in titles]


def _final(run: Run, metric: str) -> str:
    key = f"test/{metric}"
    values = [row[key] for row in run.finals if key in row]
    if METRICS[metric].unit == "%":
        return percent(values)
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{deviation}"


def differences_table(runs: Sequence[Run]) -> str:
    """Returns the keys of the config in which runs differ; "" if there are none."""
    known = [run for run in runs if run.record]
    flat = [shown_values(flatten_config(run.record.get("config", {}))) for run in known]
    defaults = shown_values(flatten_config(default_config()))
    keys = sorted({key for values in flat for key in values} - {"name"})

    def shown(values: dict[str, Any], key: str) -> str:
        value = values.get(key, defaults.get(key))
        # JSON has lists.
        said = str(tuple(value) if isinstance(value, list) else value)
        return shorten(said, _MAX_VALUE)

    rows = [[key, *(shown(values, key) for values in flat)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return ""
    lines = [["key", *(run.name for run in known)], *rows]
    if len(rows) <= len(known):  # a table grows downward
        lines = [*map(list, zip(*lines, strict=True))]
        lines[0][0] = "run"
    return table("Keys of the config in which the runs differ", lines[0], lines[1:])


def training_words(run: Run) -> Iterator[str]:
    """Yields sentences on early stopping, averaged parameters, the rate, a sweep."""
    config = run.record.get("config", {})
    optim = config.get("optim", {})
    optim = optim if isinstance(optim, dict) else {}
    patience = run.patience
    if patience is not None and not any(
        stopped_early(rows, patience) for rows in run.started
    ):
        yield (
            f"Early stopping waited for {patience} evaluated epochs without a better "
            "test top-1, which did not come."
        )
    if optim.get("ema") is not None:
        yield (
            "Test results are those of an exponential moving average of the "
            f"parameters, with decay {optim['ema']}."
        )
    has_rate = any("learning_rate" in row for rows in run.started for row in rows)
    if run.started and optim and not has_rate:
        if optim.get("params") is not None and optim.get("learning_rate") is None:
            yield (
                "There is no curve of the learning rate: a layer-parameter file gives "
                "each array its own."
            )
        else:
            yield "There is no curve of the learning rate: the run did not record it."
    yield from _sweep_words(run.workdirs[0])


def _sweep_words(workdir: Path) -> Iterator[str]:
    try:
        record = json.loads(read_regular(workdir.parent / SWEEP_FILE))
        (mine,) = (one["values"] for one in record if one["folder"] == workdir.name)
        keys = list(mine)
        record = [one for one in record if list(one["values"]) == keys]
        failed = sum("error" in one for one in record)
        setting = ", ".join(f"{key}={value}" for key, value in mine.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    if keys == ["seed"]:
        return
    ill = f", of which {failed} failed" if failed else ""
    yield (
        f"The run is one of a sweep of {len(record)}{ill}, over {' and '.join(keys)}: "
        f"{setting}."
    )
