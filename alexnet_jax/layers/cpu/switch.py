"""Which form of a layer is computed: a platform's quick one or XLA's own."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
from jax import lax

VARIABLE = "ALEXNET_JAX_PLAIN_FORMS"

# A user context of JAX is part of what `jax.jit` knows a trace by.
_plain = jax.make_user_context(os.environ.get(VARIABLE, "") not in ("", "0"))
_platform = jax.make_user_context("")


def plain_forms(plain: bool = True) -> AbstractContextManager[None]:
    """Returns a context in which layers are computed by XLA's own forms everywhere.

    Convolution, max-pooling and dense layers then have XLA's rounding and derivatives,
    in training and in prediction. What was compiled outside is compiled again. The
    environment variable `ALEXNET_JAX_PLAIN_FORMS=1` does it for a whole process.

    Args:
      plain: False takes the quick forms in spite of the environment variable.

    Examples:
      >>> from alexnet_jax.models import create_model
      >>> model, images = create_model("lenet5"), jnp.zeros((1, 28, 28, 1))
      >>> with plain_forms():
      ...     logits, variables = model.init_with_output(jax.random.key(0), images)
    """
    return _plain(plain)


def takes_plain_forms() -> bool:
    """Whether layers are to be computed by XLA's own forms."""
    return bool(_plain.value)


def forms_of(platform: str) -> AbstractContextManager[None]:
    """Returns a context in which layers take the forms of a platform on any other.

    So that what GPUs compute is tested where there is none. What was compiled outside
    is compiled again.

    Args:
      platform: `cpu`, `cuda` or another of JAX's.
    """
    return _platform(platform)


def by_platform(*args: Any, default: Callable, **forms: Callable) -> Any:
    """`lax.platform_dependent`, which heeds `plain_forms` and `forms_of`.

    Args:
      *args: Of the forms.
      default: The form of every other platform, XLA's own.
      **forms: By JAX's names of platforms, `cpu` and `cuda`.
    """
    if takes_plain_forms():
        return default(*args)
    if _platform.value:
        return forms.get(_platform.value, default)(*args)
    return lax.platform_dependent(*args, default=default, **forms)
