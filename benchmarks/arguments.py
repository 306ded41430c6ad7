"""Arguments that several benchmarks take."""

import argparse
import importlib.util
from collections.abc import Mapping

from alexnet_jax import cli
from alexnet_jax.errors import InputError


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


def check_modules(extra: str, *names: str) -> None:
    """Checks that a benchmark's libraries are there, before it does anything.

    Args:
      extra: The package's extra that has them.
      names: Of the modules that it imports.

    Raises:
      InputError: One is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"this benchmark needs the module {name}, which is not installed; "
                f"pip install -e '.[{extra}]'"
            )
