"""AlexNet in JAX and Flax.

    import alexnet_jax as aj

    aj.list_models()  # ['alexnet_d2l', 'alexnet_paper', ...]
    model = aj.create_model("alexnet_paper", num_classes=10, width=0.25)
    print(aj.summarize("alexnet_paper"))  # its layers, in numbers

    config = aj.default_config()
    config.data.name, config.model.name = "digits", "lenet5"
    config.data.image_size = 28
    aj.train_and_evaluate(config, "runs/mine")

    trained = aj.load("runs/mine")
    trained.evaluate()["top1"]

`from alexnet_jax import d2l` has the book's names. Everything is imported at first use:
`import alexnet_jax` alone loads no JAX.
"""

import importlib
import os
import re
import sys
from typing import Any

__version__ = "0.2.0"

__all__ = [
    "Classifier",
    "__version__",
    "create_model",
    "default_config",
    "list_models",
    "load",
    "summarize",
    "train_and_evaluate",
]

# Where each name is defined; `__init__.pyi` has their types.
_MODULES = {
    "Classifier": "alexnet_jax.models",
    "create_model": "alexnet_jax.models",
    "default_config": "alexnet_jax.config",
    "list_models": "alexnet_jax.models",
    "load": "alexnet_jax.trained",
    "summarize": "alexnet_jax.inspection.tables",
    "train_and_evaluate": "alexnet_jax.train",
}


def _starts_a_command() -> bool:
    """Whether this process was started as `alexnet`, or as `python -m alexnet_jax...`.

    Another module's `-m` is its own.
    """
    first = getattr(sys, "argv", [""])[:1]
    if first == ["-m"]:
        return any(re.fullmatch(r"alexnet_jax(\..+)?", word) for word in sys.orig_argv)
    return [os.path.basename(word) for word in first] == ["alexnet"]


if _starts_a_command():
    # Its imports take seconds: signals end it in one line from the first of them on.
    from alexnet_jax.terminal.signals import end_at_once

    end_at_once()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
