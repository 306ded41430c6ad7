"""Libraries of extras, which are imported when a format asks for them."""

import importlib
from typing import Any

from alexnet_jax.errors import InputError


def require(library: str, extra: str) -> Any:
    """Imports a library.

    Args:
      library: Its name.
      extra: The extra of this package that brings it.

    Raises:
      InputError: It is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise InputError(
            f"{library} is not installed, which this format is written with; run: "
            f"pip install 'alexnet_jax[{extra}]'"
        ) from error
