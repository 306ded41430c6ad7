"""Calls that XLA neither inlines nor fuses across."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def opaque(function: Callable) -> Callable:
    """Returns a function of arrays that XLA calls, and does not inline.

    On a CPU XLA removes `lax.optimization_barrier` and then fuses all it can: it
    computes small arrays many times instead of once, and keeps large ones for that. Of
    a call, only arguments and results are kept in memory.

    `jnp.where` and its like are calls of their own, which may become opaque as well
    when JAX derives or divides the function: so it uses `jax.lax`.

    Source: the attribute `inlineable` in XLA's `call_inliner.cc`. An XLA that ignores
    it computes the same, in more time and memory.
    """

    @wraps(function)
    def whole(*args: jax.Array) -> Any:
        with set_xla_metadata(inlineable=None):  # what it calls may be inlined in it
            return function(*args)

    @wraps(function)
    def call(*args: jax.Array) -> Any:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(whole)(*args)

    return call


def pullback(function: Callable) -> Callable:
    """Returns the gradients' function: `(*args, gradient)` to one for each argument."""

    def gradients(*args: jax.Array) -> Any:
        *at, gradient = args
        return jax.vjp(function, *at)[1](gradient)

    return gradients
