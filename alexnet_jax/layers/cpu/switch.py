"""The switch between quick forms and XLA's own."""

import os
from contextlib import AbstractContextManager

import jax

VARIABLE = "ALEXNET_JAX_PLAIN_FORMS"

# A user context of JAX is part of what `jax.jit` knows a trace by.
_plain = jax.make_user_context(os.environ.get(VARIABLE, "") not in ("", "0"))


def plain_forms(plain: bool = True) -> AbstractContextManager[None]:
    """Returns a context in which layers are computed by XLA's own forms on CPUs too.

    Convolution, max-pooling and dense layers then have XLA's rounding and derivatives,
    in training and in prediction. What was compiled outside is compiled again. The
    environment variable `ALEXNET_JAX_PLAIN_FORMS=1` does it for a whole process.

    Args:
      plain: False takes the quick forms in spite of the environment variable.

    Example:
      >>> from alexnet_jax.models import create_model
      >>> model, images = create_model("lenet5"), jnp.zeros((1, 28, 28, 1))
      >>> with plain_forms():
      ...     logits, variables = model.init_with_output(jax.random.key(0), images)
    """
    return _plain(plain)


def takes_plain_forms() -> bool:
    """Whether layers are to be computed by XLA's own forms."""
    return bool(_plain.value)
