"""Libraries that formats are written with, imported when one asks for them."""

import importlib
import importlib.util
from typing import Any

from alexnet_jax.errors import InputError

# Libraries by format, and what pip installs them with.
_NEEDED = {
    "torch": ("torch", "alexnet_jax[torch]"),
    "onnx": ("onnx", "alexnet_jax[onnx]"),
    "stablehlo": ("flatbuffers", "flatbuffers"),  # of `jax.export`
}
_PACKAGES = dict(_NEEDED.values()) | {"onnxruntime": "alexnet_jax[onnx]"}


def check_installed(form: str) -> None:
    """Checks that a format's library is there, without the time of importing it.

    Args:
      form: The format's name.

    Raises:
      InputError: It is not installed.
    """
    library, _ = _NEEDED.get(form, (None, None))
    if library and importlib.util.find_spec(library) is None:
        raise _missing(library)


def require(library: str) -> Any:
    """Imports a library that not everybody has.

    Args:
      library: Its name.

    Raises:
      InputError: It is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise _missing(library) from error


def _missing(library: str) -> InputError:
    return InputError(
        f"{library} is not installed, which this format is written with; run: "
        f"pip install '{_PACKAGES[library]}'"
    )
