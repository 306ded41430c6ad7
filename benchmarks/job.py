"""Times the whole job, from the command to the shell's prompt, cold and warm.

  .venv/bin/python -m benchmarks.job -- --config=experiments/fashion.py

All after `--` goes to `alexnet_jax.main`. The first start finds no compiled code, the
second has that of the first. So with the decoded images (`*-decoded.npz`), if there
were none in the data's folder.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_jax import cli


def measure(flags: list[str], workdir: Path, caches: Path) -> dict[str, Any]:
    """Runs the job once.

    Returns:
      Seconds from the command to the first step, and of these for compiling; from then
      on seconds of training steps, of evaluation and of all else; the share of that
      rest in steps and rest; the most host memory of any start so far, in GB.
    """
    command = [sys.executable, "-m", "alexnet_jax.main", *flags]
    command += [f"--workdir={workdir}"]
    environment = os.environ | {"XDG_CACHE_HOME": str(caches)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # it would go first
    start = time.perf_counter()
    first_step = compile_s = 0.0
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            if line.startswith("compiled"):
                first_step = time.perf_counter() - start
                compile_s = float(line.split()[2])
    if process.returncode:
        sys.exit(process.returncode)
    rest = time.perf_counter() - start - first_step
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    config = json.loads((workdir / "config.json").read_text())["config"]
    steps = evaluation = done = 0.0
    for row in rows:
        steps += (row["step"] - done) * config["batch_size"] / row["images_per_s"]
        done = row["step"]
        evaluation += row.get("eval_s", 0.0)
    rest -= steps + evaluation
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    return {
        "first_step_after_s": first_step,
        "compile_s": compile_s,
        "steps_s": steps,
        "evaluation_s": evaluation,
        "rest_s": rest,
        "rest_share": rest / (steps + rest),
        "memory_gb": peak,
    }


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints an object a start."""
    parser = cli.Parser("benchmarks.job", __doc__)
    add = parser.add_argument
    add("flags", nargs="+", help="flags of alexnet_jax.main, after --")
    options = parser.parse_args(argv)
    for flag in ("--seeds", "--sweep", "--workdir"):
        if any(word.split("=")[0] == flag for word in options.flags):
            parser.error(
                f"{flag} is not taken: the job is one run, in a folder of its own"
            )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            workdir = Path(folder, name)
            found[name] = measure(options.flags, workdir, Path(folder, "caches"))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
