"""Lists a run's checkpoints.

python -m alexnet_jax.checkpoint WORKDIR
"""

import json
import sys
from pathlib import Path

from absl import app, logging

from alexnet_jax.errors import InputError
from alexnet_jax.run.checksums import CHECKSUMS, files_of, find_fault, step_folders


def describe(workdir: Path) -> list[str]:
    """Lists a run's checkpoints: step, accuracy, size, time to write, state.

    Raises:
      InputError: The folder is no run's.
    """
    folders = step_folders(workdir / "checkpoints")
    if not folders:
        raise InputError(f"{workdir} holds no checkpoints; give a run's workdir")
    lines = [f"{'step':>9}  {'test top-1':>10}  {'MB':>8}  {'written in':>10}  state"]
    for step, folder in folders.items():
        fault = find_fault(folder)
        row, seconds = {}, None
        if fault is None:
            row = json.loads((folder / "metrics" / "metrics").read_text())
            seconds = json.loads((folder / CHECKSUMS).read_text())["seconds"]
        accuracy = f"{row['test/top1']:.4f}" if "test/top1" in row else "-"
        size = sum(path.stat().st_size for path in files_of(folder)) / 1e6
        written = "-" if seconds is None else f"{seconds:.2f} s"
        lines.append(
            f"{step:9,}  {accuracy:>10}  {size:8.1f}  {written:>10}  "
            f"{fault or 'intact'}"
        )
    return lines


def main(argv: list[str]) -> None:
    """Prints what `describe` says of WORKDIR."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) != 2:
        sys.exit("usage: python -m alexnet_jax.checkpoint WORKDIR")
    try:
        print("\n".join(describe(Path(argv[1]))))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
