"""Prepares a data set from its original files, for the parts that train on it."""

import time
from collections.abc import Iterator
from typing import Any

from alexnet_jax.data import prepare


def measure(
    name: str, data_dir: str, manual_dir: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the seconds that it took; few, where it was there.

    Args:
      name: The data set's.
      data_dir: Folder of prepared data sets.
      manual_dir: Folder of the original files.
    """
    start = time.perf_counter()
    flags = [f"--manual-dir={manual_dir}"] if manual_dir else []
    prepare.main([name, f"--data-dir={data_dir}", *flags])
    seconds = time.perf_counter() - start
    yield {"prepare_s": seconds, "words": f"{name} prepared in {seconds:.1f} s"}
