"""A process of a suite: writes what a module measures, a JSON line a result.

  python -m benchmarks.gpu.part NAME MODULE KEYWORDS RESULTS

The module's `measure` yields results, or returns the only one.
"""

import importlib
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

MAX_BYTES = 8_000_000  # of a suite's results


def plain(value: Any) -> Any:
    """Returns a result as JSON has it: five digits, words for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def write(path: Path, row: dict[str, Any]) -> None:
    """Appends a result, at once: a process that is killed afterwards loses nothing."""
    line = json.dumps(plain(row), ensure_ascii=False) + "\n"
    with path.open("ab", buffering=0) as file:
        if file.tell() + len(line) < MAX_BYTES:
            file.write(line.encode())


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the results so far; a line that was cut off is none."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _end_with(parent: int) -> None:
    """Ends this process and its group once the suite is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def main(name: str, module: str, keywords: str, results: str) -> None:
    """Measures, as the words of the command line say."""
    if os.getpgrp() == os.getpid():  # as the runner starts it
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    found = importlib.import_module(module).measure(**json.loads(keywords))
    for row in [found] if isinstance(found, dict) else found:
        write(Path(results), {"part": name} | row)


if __name__ == "__main__":
    main(*sys.argv[1:])
