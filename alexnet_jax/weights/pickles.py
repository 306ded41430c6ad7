"""Pickles of which nothing is run: they get what a table offers, and no more."""

import pickle
from collections.abc import Mapping
from typing import IO, Any

from alexnet_jax.weights.source import HoldsCode


class DataUnpickler(pickle.Unpickler):
    """Loads a pickle whose every name is looked up in a table and never imported.

    A pickle can set attributes of what it is given. So a table holds functions that
    were made for this one file, strings, and types that cannot be changed.
    """

    def __init__(self, file: IO[bytes], offered: Mapping[str, Any]) -> None:
        """Takes the file and what `MODULE.NAME` stands for."""
        super().__init__(file, encoding="latin1")  # strings of Python 2
        self._offered = offered

    def find_class(self, module: str, name: str) -> Any:
        """Returns what the table offers.

        Raises:
          HoldsCode: It has no such name.
        """
        try:
            return self._offered[f"{module}.{name}"]
        except KeyError:
            raise HoldsCode(f"{module}.{name}") from None
