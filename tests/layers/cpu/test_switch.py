import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers.conv import Conv
from alexnet_jax.layers.cpu import switch
from alexnet_jax.layers.cpu.switch import (
    by_platform,
    forms_of,
    plain_forms,
    takes_plain_forms,
)
from alexnet_jax.layers.dense import Dense, flatten
from alexnet_jax.layers.pooling import max_pool
from alexnet_jax.layers.sequential import join_layers
from tests.helpers import count_convolutions, noise


class Ours(nn.Module):
    @nn.compact
    def __call__(self, x):
        conv = Conv(16, (5, 5), strides=2, feature_group_count=2, name="conv")
        layers = [conv, nn.relu, max_pool, flatten, Dense(3, name="dense")]
        for layer in join_layers(layers):
            x = layer(x)
        return x


class Linens(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(16, (5, 5), strides=2, feature_group_count=2, name="conv")(x)
        x = nn.max_pool(nn.relu(x), (3, 3), (2, 2))
        return nn.Dense(3, name="dense")(flatten(x))


@pytest.mark.slow
def test_plain_forms_are_xlas_to_the_bit():
    x = noise(2, 17, 17, 32)
    variables = Linens().init(jax.random.key(0), x)

    def program(network):
        def gradient(variables, x):
            return jax.grad(lambda v: jnp.square(network.apply(v, x)).sum())(variables)

        return jax.jit(gradient)(variables, x)

    with plain_forms():
        got = program(Ours())
    jax.tree.map(np.testing.assert_array_equal, got, program(Linens()))


@pytest.mark.heavy
def test_what_was_compiled_before_is_compiled_again():
    conv, x = Conv(16, (3, 3)), noise(1, 9, 9, 16)
    variables = conv.init(jax.random.key(1), x)
    assert count_convolutions(conv, variables, x) == 0
    with plain_forms():
        assert takes_plain_forms()
        assert count_convolutions(conv, variables, x) == 1
        with plain_forms(False):
            assert count_convolutions(conv, variables, x) == 0
    assert not takes_plain_forms()
    assert count_convolutions(conv, variables, x) == 0


@pytest.mark.heavy
def test_the_environment_variable():
    def starts_with(value):
        program = "from alexnet_jax.layers.cpu.switch import *; "
        program += "print(takes_plain_forms(), end=' '); "
        program += "exec('with plain_forms(False): print(takes_plain_forms())')"
        env = os.environ | {switch.VARIABLE: value}
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True
        )
        return done.stdout.split()

    assert starts_with("1") == ["True", "False"]
    assert starts_with("0") == starts_with("") == ["False", "False"]


def test_the_forms_of_another_platform():
    @jax.jit
    def named(x):
        forms = {"cpu": lambda x: x + 1, "cuda": lambda x: x + 2}
        return by_platform(x, default=lambda x: x + 3, **forms)

    def answers():
        return int(named(jnp.int32(0)))

    assert answers() == 1
    for platform, answer in (("cuda", 2), ("tpu", 3), ("cpu", 1)):
        with forms_of(platform):
            assert answers() == answer
            with plain_forms():
                assert answers() == 3
    assert answers() == 1
