"""Gradients of our own that leave forward mode to JAX."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Backward = Callable[[Any, jax.Array], Sequence[jax.Array]]


def with_gradient(
    function: Callable, forward: Callable, backward: Backward
) -> Callable:
    """Returns a function with another reverse-mode gradient.

    As `jax.custom_vjp`, of which nothing can be taken in forward mode; here `jax.jvp`,
    `jax.jacfwd` and `jax.hessian` derive `function`, and its derivatives of any order.

    Args:
      function: Arrays, floating, to an array.
      forward: The same arrays to the same array and what `backward` needs.
      backward: That and the gradient by the result, to a gradient for each argument.
    """

    @jax.custom_jvp
    @wraps(function)
    def call(*args: jax.Array) -> jax.Array:
        return function(*args)

    @call.defjvp
    def _(args: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        y, kept = forward(*args)
        leaves, tree = jax.tree.flatten(kept)

        def by_leaves(leaves: Any, gradient: jax.Array) -> Sequence[jax.Array]:
            return backward(jax.tree.unflatten(tree, leaves), gradient)

        operands = *args, *leaves, *tangents
        settings = {"function": function, "backward": by_leaves, "count": len(args)}
        return y, _tangent_p.bind(*operands, **settings)

    return call


# The tangent of `function` at `count` arguments, which `backward` transposes. Its
# operands are the arguments, what is kept, and the arguments' tangents.
_tangent_p = Primitive("tangent_with_gradient")


def _split(operands: Sequence[Any], count: int) -> tuple[Any, Any, Any]:
    args, kept, tangents = operands[:count], operands[count:-count], operands[-count:]
    return tuple(args), tuple(kept), tuple(tangents)


def _push(*operands: jax.Array, function: Callable, count: int, **_: Any) -> jax.Array:
    args, _, tangents = _split(operands, count)
    return jax.jvp(function, args, tangents)[1]


def _shape(*operands: Any, function: Callable, count: int, **_: Any) -> Any:
    return jax.typeof(jax.eval_shape(function, *operands[:count]))


def _jvp(primals: Any, tangents: Any, **settings: Any) -> tuple[jax.Array, jax.Array]:
    def push(args: Any, inner: Any) -> jax.Array:
        return jax.jvp(settings["function"], args, inner)[1]

    args, _, inner = _split(primals, settings["count"])
    by_args, _, by_inner = _split(
        [ad.instantiate_zeros(tangent) for tangent in tangents], settings["count"]
    )
    return jax.jvp(push, (args, inner), (by_args, by_inner))


def _transpose(
    gradient: Any, *operands: Any, backward: Backward, count: int, **_: Any
) -> list[Any]:
    _, kept, tangents = _split(operands, count)
    gradients: Sequence[Any] = backward(kept, ad.instantiate_zeros(gradient))
    wanted = [ad.is_undefined_primal(tangent) for tangent in tangents]
    found = [one if w else None for one, w in zip(gradients, wanted, strict=True)]
    return [None] * (len(operands) - count) + found


def _batch(
    operands: Sequence[Any],
    axes: Sequence[Any],
    *,
    function: Callable,
    backward: Backward,
    count: int,
) -> tuple[jax.Array, int]:
    placed = list(zip(operands, axes, strict=True))
    size = next(x.shape[axis] for x, axis in placed if axis is not None)
    front = [batching.bdim_at_front(x, axis, size) for x, axis in placed]
    mapped = jax.vmap(lambda kept, gradient: tuple(backward(kept, gradient)))
    settings = {"function": jax.vmap(function), "backward": mapped, "count": count}
    return _tangent_p.bind(*front, **settings), 0


_tangent_p.def_impl(_push)
_tangent_p.def_abstract_eval(_shape)
ad.primitive_jvps[_tangent_p] = _jvp
ad.primitive_transposes[_tangent_p] = _transpose
batching.primitive_batchers[_tangent_p] = _batch
mlir.register_lowering(_tangent_p, mlir.lower_fun(_push, multiple_results=False))
