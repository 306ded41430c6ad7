from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from alexnet_jax.layers.cpu.dense import dot_general
from alexnet_jax.layers.cpu.gradient import with_gradient
from alexnet_jax.layers.cpu.relu_pool import relu
from alexnet_jax.layers.cpu.switch import forms_of
from alexnet_jax.layers.normalization import LocalResponseNorm
from tests.helpers import compare, noise


def plain(x, kernel):
    return jnp.tanh(x @ kernel)


def quick(x, kernel, calls=None):
    """`plain` with a backward pass that counts its calls; `kept` has integers."""

    def forward(x, kernel):
        y = plain(x, kernel)
        return y, {"at": (x, kernel), "counts": jnp.zeros_like(y, jnp.int8)}

    def backward(kept, gradient):
        if calls is not None:
            calls.append(gradient)
        return jax.vjp(plain, *kept["at"])[1](gradient)

    return with_gradient(plain, forward, backward)(x, kernel)


def loss(function, x, kernel):
    return (function(x, kernel) ** 2).sum()


X, KERNEL = noise(3, 4), noise(4, 5, seed=1)
DERIVATIVES = {
    "grad": lambda f: jax.grad(partial(loss, f), (0, 1)),
    "grad by one": lambda f: jax.grad(partial(loss, f), 1),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1)),
    "jacrev": lambda f: jax.jacrev(f, (0, 1)),
    "hessian": lambda f: jax.hessian(partial(loss, f), (0, 1)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(partial(loss, f), 1)),
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(partial(loss, f)), 1),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(partial(loss, f)), 1),
    "of each example": lambda f: jax.vmap(
        jax.grad(partial(loss, f), 1), in_axes=(0, None)
    ),
    "of a vmap": lambda f: jax.grad(
        lambda x, kernel: jax.vmap(partial(loss, f), (0, None))(x, kernel).sum(), 1
    ),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(partial(loss, f)), 1),
    "linearize": lambda f: lambda x, k: jax.linearize(f, x, k)[1](x, 2 * k),
}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_every_derivative(name, compiled):
    wrap = jax.jit if compiled else lambda function: function
    got, wanted = (
        wrap(DERIVATIVES[name](function))(X, KERNEL) for function in (quick, plain)
    )
    compare(got, wanted)


@pytest.mark.heavy
def test_reverse_mode_is_the_backward_pass():
    calls = []
    function = partial(quick, calls=calls)
    jax.grad(partial(loss, function), (0, 1))(X, KERNEL)
    assert len(calls) == 1
    jax.jacfwd(function)(X, KERNEL)
    assert len(calls) == 1
    # Of a mapped function, once for all.
    DERIVATIVES["of a vmap"](function)(X, KERNEL)
    assert [call.shape for call in calls[1:]] == [(5,)]


def test_on_several_devices():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def gradient(function, x, kernel):
        return jax.lax.psum(jax.grad(partial(loss, function), 1)(x, kernel), "data")

    got, wanted = (
        jax.jit(
            jax.shard_map(
                partial(gradient, function),
                mesh=mesh,
                in_specs=(split, whole),
                out_specs=whole,
            )
        )(noise(8, 4), KERNEL)
        for function in (quick, plain)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "layer",
    [
        relu,
        LocalResponseNorm("paper", alpha=0.3),
        lambda x: dot_general(x, x[:2].T, (((1,), (0,)), ((), ()))),
    ],
    ids=["relu", "norm", "dense"],
)
def test_forms_of_gpus_have_second_derivatives(layer):
    """Through their barriers, over a batch and in forward mode as well."""

    def loss(x):
        return jnp.sin(layer(x)).sum()

    @jax.jit
    def found(x):
        squared = jax.grad(lambda x: jnp.square(jax.grad(loss)(x)).sum())
        both = jax.vmap(jax.grad(loss))(jnp.stack([x, 2 * x]))
        return squared(x), jax.hessian(loss)(x), both

    x = noise(3, 4)
    wanted = found(x)
    with forms_of("cuda"):
        compare(found(x), wanted)
