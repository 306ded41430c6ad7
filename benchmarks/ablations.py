"""The paper's ablations, variant by variant and seed by seed, and their table.

  python -m benchmarks.ablations --config.model.width=0.25 --config.data.image_size=128

trains each variant of experiments/ablations.py in WORKDIR/VARIANT/seed-N, all of them
with the first seed, then with the next; what begins with `--config.` goes to every run.
The same command continues after an interruption. After each run WORKDIR/table.md is
rewritten; `--table` only writes the table.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax import cli
from alexnet_jax.sweep import parse_seeds
from alexnet_jax.terminal.paths import expand

Rows = list[dict[str, Any]]
Runs = dict[str, dict[int, Rows]]  # by variant and seed

CONFIG = "experiments/ablations.py"
# What each gained or lost in the released runs, in points of top-1 / top-5 accuracy on
# ImageNet, ten views (layer-params-145.cfg, -145-half, -147, -148 and -150).
PUBLISHED = {
    "baseline": "",
    "no_lrn": "-1.37 / -1.15",
    "pool_2x2": "-0.39 / -0.30",
    "one_tower": "-1.70 / -1.23",
    "no_links": "-1.16 / -1.12",
    "tanh": "-",
    "no_dropout": "-",
    "batch_norm": "-",
    "average_pool": "-",
}
_LEARNED = 0.75  # the paper's figure 1 asks for 25 % training error


def read_runs(workdir: Path) -> Runs:
    """Returns the rows of every run in a folder that has come to its end."""
    runs: Runs = {}
    for variant in PUBLISHED:
        for folder in workdir.glob(f"{variant}/seed-*"):
            seed = folder.name.removeprefix("seed-")
            rows = [*_finished_rows(folder)]
            if rows and seed.isdecimal():
                runs.setdefault(variant, {})[int(seed)] = rows
    return runs


def _finished_rows(folder: Path) -> Iterator[dict[str, Any]]:
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    config = json.loads((folder / "config.json").read_text())["config"]
    stop = config["num_train_steps"]
    last = rows[-1] if rows else {"step": 0, "epoch": 0.0}
    if last["epoch"] >= config["num_epochs"] or (stop and last["step"] >= stop):
        yield from rows


def make_table(runs: Runs) -> str:
    """Returns test accuracies and gradient norms as Markdown.

    A difference is the mean of the differences of equal seeds, which see the same
    images in the same order, ± its standard error.
    """
    tops = {
        variant: {seed: 100 * rows[-1]["test/top1"] for seed, rows in by_seed.items()}
        for variant, by_seed in runs.items()
    }
    lines = [
        "| variant | seeds | test top-1, % | minus baseline, points | steps to 25 % "
        "training error | ImageNet, points of top-1 / top-5 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = tops.get("baseline", {})
    for variant, published in PUBLISHED.items():
        if variant not in runs:
            continue
        own = tops[variant]
        gaps = [own[seed] - base[seed] for seed in sorted(own) if seed in base]
        cells = [
            f"`{variant}`",
            str(len(own)),
            _with_spread([*own.values()]),
            "" if variant == "baseline" else _with_spread(gaps, of_mean=True),
            _steps_to_learn(runs[variant].values()),
            published,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_gradients(runs)]) + "\n"


def _with_spread(values: Sequence[float], *, of_mean: bool = False) -> str:
    """Returns the mean ± the standard deviation, or ± the mean's standard error."""
    if not values:
        return "-"
    text = f"{statistics.mean(values):.2f}"
    if len(values) > 1:
        spread = statistics.stdev(values) / (len(values) ** 0.5 if of_mean else 1.0)
        text += f" ± {spread:.2f}"
    return text


def _steps_to_learn(seeds: Any) -> str:
    steps = []
    for rows in seeds:
        learned = (row["step"] for row in rows if row["train/top1"] >= _LEARNED)
        steps.append(next(learned, None))
    if None in steps:
        return "never" if set(steps) == {None} else f"{steps.count(None)} × never"
    return f"{statistics.mean(steps):.0f}"


def _gradients(runs: Runs) -> Iterator[str]:
    """Yields a table of each layer's gradient, the median over a run's rows."""
    logged = {
        variant: [rows for rows in by_seed.values() if "grad/conv1" in rows[-1]]
        for variant, by_seed in runs.items()
    }
    logged = {variant: seeds for variant, seeds in logged.items() if seeds}
    if not logged:
        return
    names = [name for name in next(iter(logged.values()))[0][-1] if "grad/" in name]
    layers = [name.removeprefix("grad/") for name in names]
    yield "| norm of the kernel's gradient | " + " | ".join(layers) + " |"
    yield "| --- |" + " ---: |" * len(layers)
    for variant, seeds in logged.items():
        norms = [
            statistics.mean(
                statistics.median(row[name] for row in rows if name in row)
                for rows in seeds
            )
            for name in names
        ]
        yield f"| `{variant}` | " + " | ".join(f"{n:.2g}" for n in norms) + " |"


def run_all(
    workdir: Path, variants: Sequence[str], seeds: Sequence[int], settings: list[str]
) -> int:
    """Trains every variant with each seed; returns how many runs failed."""
    failed = 0
    for seed in seeds:
        for variant in variants:
            folder = workdir / variant / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "alexnet_jax.main"]
            command += [f"--config={CONFIG}:{variant}", f"--workdir={folder}"]
            command += [*settings, f"--config.seed={seed}"]
            print(f"run       {variant}, seed {seed}", flush=True)
            with (folder / "log.txt").open("a") as log:
                process = subprocess.run(command, stdout=log, stderr=log, check=False)
            if process.returncode not in (0, 1):  # a signal, not a fault of the run
                sys.exit(process.returncode)
            failed += process.returncode
            (workdir / "table.md").write_text(make_table(read_runs(workdir)))
    return failed


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line and runs."""
    parser = cli.Parser("benchmarks.ablations", __doc__)
    add = parser.add_argument
    add(
        "--workdir",
        type=cli.path,
        default=Path("runs/ablations"),
        help="folder of the runs (default: runs/ablations)",
    )
    add(
        "--variants",
        default=",".join(PUBLISHED),
        help="variants to train (default: all)",
    )
    add("--seeds", default="0,1,2", help="seeds of each variant (default: 0,1,2)")
    add("--table", action="store_true", help="write the table without training")
    options, settings = parser.parse_known_args(argv)
    variants = options.variants.split(",")
    if unknown := [name for name in variants if name not in PUBLISHED]:
        parser.error(
            f"--variants must be among {', '.join(PUBLISHED)}; got {unknown[0]!r}"
        )
    if strange := [word for word in settings if not word.startswith("--config.")]:
        parser.error(f"unexpected argument {strange[0]!r}")
    failed, workdir = 0, expand(options.workdir, "--workdir")
    if not options.table:
        seeds = parse_seeds(options.seeds.split(","))
        failed = run_all(workdir, variants, seeds, settings)
    table = make_table(read_runs(workdir))
    (workdir / "table.md").write_text(table)
    print(table)
    if failed:
        sys.exit(f"{failed} runs failed; each one's log.txt says why")


if __name__ == "__main__":
    main()
