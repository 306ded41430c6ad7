"""The project's tests on this device: PyTorch's numbers, layers and their gradients."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_OUTCOME = re.compile(r"(\S+::.*) (PASSED|FAILED|ERROR|SKIPPED)\b")


def measure(paths: Sequence[str], platform: str) -> Iterator[dict[str, Any]]:
    """Yields a row for each test that fails, and one that counts.

    Args:
      paths: Files and folders of tests, and other words for pytest.
      platform: `cuda` or `cpu`.

    Raises:
      RuntimeError: The tests could not be run.
    """
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *paths]
    command.append("--continue-on-collection-errors")
    environment = os.environ | {"ALEXNET_JAX_TEST_PLATFORM": platform}
    counts = Counter[str]()
    with subprocess.Popen(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)  # the log has why one fails
            if found := _OUTCOME.match(line):
                name, outcome = found.groups()
                counts[outcome.lower()] += 1
                if outcome in ("FAILED", "ERROR"):
                    yield {"test": name, "ok": False, "words": f"{name} {outcome}"}
    if process.returncode not in (0, 1) or not counts:  # 1 without pytest, too
        raise RuntimeError(f"pytest ended with {process.returncode}")
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    yield {**counts, "words": f"tests on {platform}: {counted}"}
