import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.layers.conv import CEIL, Conv
from alexnet_jax.layers.cpu import winograd
from tests.helpers import assert_close, count_convolutions, noise


def value_and_gradients(conv, variables, x):
    y, backward = jax.vjp(conv.apply, variables, x)
    (kernel_and_bias, to_x) = backward(noise(*y.shape, seed=2))
    return y, kernel_and_bias, to_x


# (image, kernel, stride, padding, groups): d2l's and the paper's, and odd ones.
CASES = {
    "conv1": ((29, 29, 1), 11, 4, 1, 1),
    "conv1 of the paper": ((33, 29, 3), 11, 4, CEIL, 1),
    "conv2": ((13, 13, 16), 5, 1, 2, 1),
    "conv2 in groups": ((9, 13, 32), 5, 1, 2, 2),
    "conv3": ((12, 12, 16), 3, 1, 1, 1),
    "no padding": ((7, 5, 16), 5, 1, "VALID", 1),
    "padding on one side": ((6, 7, 16), 3, 1, ((0, 2), (1, 0)), 1),
    "smaller than a tile": ((3, 4, 16), 3, 1, 0, 1),
}


QUICK = ["smaller than a tile", "padding on one side"]
HEAVY = ["conv2", "conv3"]
MARKS = dict.fromkeys(CASES, [pytest.mark.slow]) | dict.fromkeys(QUICK, [])
MARKS |= dict.fromkeys(HEAVY, [pytest.mark.heavy])


@pytest.mark.heavy
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=MARKS[case]) for case in CASES]
)
def test_agrees_with_xla(monkeypatch, case):
    """Value and gradients, 2 images of 5 at a time: the last part is padded."""
    monkeypatch.setattr(winograd, "_parts", lambda *_: 3)
    shape, kernel, stride, padding, groups = CASES[case]
    x = noise(5, *shape)
    conv = Conv(
        32, (kernel, kernel), stride, padding=padding, feature_group_count=groups
    )
    exact = conv.clone(precision="highest")
    variables = exact.init(jax.random.key(1), x)
    assert count_convolutions(conv, variables, x) == 0
    assert count_convolutions(exact, variables, x) == groups
    assert count_convolutions(conv, variables, x, platform="cuda") == 1
    got = value_and_gradients(conv, variables, x)
    wanted = value_and_gradients(exact, variables, x)
    jax.tree.map(lambda *pair: assert_close(*pair, share=1e-4), got, wanted)


def test_parts_fit_the_workspace():
    mega = 10**6
    sizes = ((128, 1), (128, 3), (3, 300), (0, 1))
    counts = [winograd._parts(batch, mega * each) for batch, each in sizes]
    assert counts == [1, 2, 3, 1]


@pytest.mark.heavy
def test_a_part_leaves_its_workspace_to_the_next(monkeypatch):
    conv, x = Conv(32, (3, 3)), noise(8, 24, 24, 32)
    variables = conv.init(jax.random.key(1), x)

    def planned(parts):
        monkeypatch.setattr(winograd, "_parts", lambda *_: parts)
        # A function of its own: JAX remembers what it traced.
        forward = jax.jit(lambda variables, x: conv.apply(variables, x))
        compiled = forward.lower(variables, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert planned(8) < planned(1) / 2


def test_no_image():
    x = noise(0, 9, 9, 16)
    conv = Conv(16, (3, 3))
    variables = conv.init(jax.random.key(1), x)
    assert conv.apply(variables, x).shape == (0, 9, 9, 16)


@pytest.mark.parametrize(
    ("outputs", "size", "step"),
    [((54, 54), 3, 6), ((55, 55), 3, 5), ((26, 26), 5, 4), ((13, 13), 3, 5)],
)
def test_the_step_needs_the_fewest_multiplications(outputs, size, step):
    assert winograd._best_step(outputs, size) == step


@pytest.mark.slow
def test_several_images_at_a_time_are_one_by_one():
    x = noise(3, 9, 9, 16)
    conv = Conv(16, (3, 3))
    variables = conv.init(jax.random.key(1), x)
    alone = jnp.concatenate([conv.apply(variables, one[None]) for one in x])
    assert_close(conv.apply(variables, x), alone, share=1e-6)
    mapped = jax.vmap(conv.apply, in_axes=(None, 0))(variables, x[:, None])
    assert_close(mapped[:, 0], alone, share=1e-6)
