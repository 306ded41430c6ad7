"""Arguments that several benchmarks take."""

import argparse
from collections.abc import Mapping

from alexnet_jax import cli


def add_counts(
    parser: argparse.ArgumentParser, counts: Mapping[str, tuple[int, str]]
) -> None:
    """Adds flags that take an integer of at least 1.

    Args:
      parser: The benchmark's.
      counts: By flag, the default and what `--help` says of it.
    """
    for flag, (default, words) in counts.items():
        parser.add_argument(
            flag,
            type=cli.positive_int,
            default=default,
            help=f"{words} (default: {default})",
        )
