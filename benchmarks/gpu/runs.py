"""Whole runs, a seed after another; the same command again continues one cut short."""

import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.run.rows import read_rows

_SMALL_FILES = ("metrics.jsonl", "config.json", "data.json", "curves.png")


def train(flags: Sequence[str], workdir: Path) -> int:
    """Runs `alexnet_jax.main` and returns its status.

    Of SIGTERM, which the whole process group is sent, this process takes no notice: the
    run saves and ends.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)  # the child has its own way
    command = [sys.executable, "-m", "alexnet_jax.main", *flags]
    command += ["--config.log.tensorboard=False", f"--workdir={workdir}"]
    return subprocess.run(command).returncode


def measure(
    name: str,
    flags: Sequence[str],
    seeds: Sequence[int],
    work: str,
    published: float | None = None,
    *,
    anew: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each seed, and one over all of them.

    Args:
      name: Of the run's folder in `work`.
      flags: Of `alexnet_jax.main`.
      seeds: Of the runs.
      work: Folder of runs; small files are copied to `kept/` in it.
      published: Test accuracy of its source.
      anew: Whether what an earlier suite has trained is removed; else it is continued.

    Raises:
      SystemExit: No seed reached a test.
    """
    workdir, rows = Path(work, "runs", name), []
    if anew:
        shutil.rmtree(workdir, ignore_errors=True)
    continued = workdir.exists()
    start = time.perf_counter()
    status = train([*flags, f"--seeds={','.join(map(str, seeds))}"], workdir)
    wall_s = time.perf_counter() - start
    for seed in seeds:
        folder = workdir / f"seed-{seed}"
        keep(folder, Path(work, "kept", name, folder.name))
        row = summarize(folder)
        if row is None:
            yield {"run": name, "seed": seed, "error": f"no test; status {status}"}
            continue
        rows.append(row)
        yield {"run": name, "seed": seed, "published": published} | row
    if not rows:
        raise SystemExit(f"{name}: no seed reached a test; status {status}")
    yield _mean(name, rows, None if continued else wall_s, status, published)


def summarize(folder: Path) -> dict[str, Any] | None:
    """Returns what a run's rows say of its accuracy and time; None without a test."""
    path = folder / "metrics.jsonl"
    rows = read_rows(path) if path.exists() else []
    tested = [row for row in rows if "test/top1" in row]
    if not tested:
        return None
    config = json.loads((folder / "config.json").read_text())["config"]
    last, windows = tested[-1], [row["images_per_s"] for row in rows]
    return {
        "dtype": config["dtype"],
        "batch_size": config["batch_size"],
        "epoch": last["epoch"],
        "step": last["step"],
        "top1": last["test/top1"],
        "best": max(row["test/top1"] for row in tested),
        "by_epoch": [row["test/top1"] for row in tested],
        "time_s": last["time_s"],
        "eval_s": sum(row["eval_s"] for row in tested),
        "save_s": sum(row.get("save_s", 0.0) for row in rows),
        "images_per_s": statistics.median(windows),
    }


def keep(folder: Path, target: Path) -> None:
    """Copies a run's small files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _SMALL_FILES:
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)


def _mean(
    name: str,
    rows: Sequence[dict[str, Any]],
    wall_s: float | None,
    status: int,
    published: float | None,
) -> dict[str, Any]:
    top1 = [row["top1"] for row in rows]
    found = {
        "seeds": len(rows),
        "top1": statistics.mean(top1),
        "deviation": statistics.stdev(top1) if len(top1) > 1 else 0.0,
        "time_s": statistics.mean(row["time_s"] for row in rows),
        "images_per_s": statistics.median(row["images_per_s"] for row in rows),
        "wall_s": wall_s,
        "status": status,
    }
    first = rows[0]
    text = (
        f"{name}: {found['top1']:.4f} ± {found['deviation']:.4f} test accuracy after "
    )
    text += f"{first['epoch']:.3g} epochs, {found['seeds']} seeds"
    text += "" if published is None else f" (published: {published})"
    text += f"; {found['time_s']:.1f} s a seed from the first step on, of these "
    text += f"{first['eval_s']:.1f} evaluation and {first['save_s']:.1f} saving; "
    text += f"{found['images_per_s']:,.0f} images/s; "
    text += "continued" if wall_s is None else f"{wall_s:.1f} s in all"
    return {"run": name} | found | {"words": text}
