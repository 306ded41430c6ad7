"""The errors that the program answers with a line instead of a traceback.

Any other exception is a fault of the program and keeps its traceback.
"""

import argparse
import sys
from typing import NoReturn


class InputError(ValueError):
    """What the user gave cannot be used.

    Its text is one line: the field, its value, what is allowed, the remedy.
    """


class RunError(RuntimeError):
    """The run cannot go on: a full disk, a loss that is not finite.

    Its text is one line: what happened, what is kept, what to do.
    """


class Parser(argparse.ArgumentParser):
    """A parser of arguments that answers a mistake with a line."""

    def error(self, message: str) -> NoReturn:
        """Leaves with it."""
        sys.exit(f"error: {message}")
