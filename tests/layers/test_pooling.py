import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.cpu.switch import forms_of, plain_forms
from alexnet_jax.layers.pooling import (
    CeilPool,
    adaptive_avg_pool,
    avg_pool,
    avg_pool_3x3,
    ceil_pool,
    max_pool,
    max_pool_2x2,
    max_pool_ceil,
)
from tests.helpers import noise


@pytest.mark.parametrize("size", [3, 4, 5, 6, 13, 54])
def test_max_pools(size):
    x = np.asarray(noise(2, size, size, 3))
    full = (size - 3) // 2 + 1
    assert max_pool(jnp.asarray(x)).shape == (2, full, full, 3)
    ceil = -(-(size - 3) // 2) + 1
    expected = np.array(
        [
            [
                x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
                for j in range(ceil)
            ]
            for i in range(ceil)
        ]
    ).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(max_pool_ceil(jnp.asarray(x)), expected)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), expected[:, :full, :full])


@pytest.mark.parametrize("size", [3, 4, 5])
def test_pools_of_the_ablations(size):
    """Windows that hang over the end see what there is."""
    x = np.asarray(noise(2, size, size, 3))

    def windows(width, count, reduce):
        return np.array(
            [
                [
                    reduce(x[:, 2 * i : 2 * i + width, 2 * j : 2 * j + width], (1, 2))
                    for j in range(count)
                ]
                for i in range(count)
            ]
        ).transpose(2, 0, 1, 3)

    expected = windows(2, -(-size // 2), np.max)
    np.testing.assert_array_equal(max_pool_2x2(jnp.asarray(x)), expected)
    expected = windows(3, -(-(size - 3) // 2) + 1, np.mean)
    np.testing.assert_allclose(avg_pool_3x3(jnp.asarray(x)), expected, atol=1e-6)
    narrow = avg_pool_3x3(jnp.ones((1, 4, 4, 2), jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16 and (narrow == 1).all()


@pytest.mark.heavy
def test_average_pools():
    x = noise(2, 6, 6, 3)
    expected = x.reshape(2, 3, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(avg_pool(x), expected, atol=1e-6)
    assert adaptive_avg_pool(x) is x
    repeated = adaptive_avg_pool(noise(1, 1, 1, 4))
    assert repeated.shape == (1, 6, 6, 4) and (repeated == repeated[:, :1, :1]).all()
    wide = adaptive_avg_pool(noise(1, 12, 18, 2))
    halves = noise(1, 12, 18, 2).reshape(1, 6, 2, 6, 3, 2).mean((2, 4))
    np.testing.assert_allclose(wide, halves, atol=1e-6)


def pool_by_hand(pool, x, gradient=None):
    """Window by window; with a gradient, the input's, to the first of equal maxima."""
    counts = [
        -(-(length - pool.start - pool.size) // pool.stride) + 1
        for length in x.shape[1:3]
    ]
    made = np.empty((len(x), *counts, x.shape[-1]), np.float64)
    back = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(made.shape):
        top, left = (pool.start + pool.stride * place for place in (i, j))
        rows = range(max(top, 0), min(top + pool.size, x.shape[1]))
        columns = range(max(left, 0), min(left + pool.size, x.shape[2]))
        places = [(n, row, column, c) for row in rows for column in columns]
        seen = np.array([x[place] for place in places], np.float64)
        made[n, i, j, c] = seen.max() if pool.kind == "max" else seen.mean()
        if gradient is not None and pool.kind == "max":
            back[places[int(seen.argmax())]] += gradient[n, i, j, c]
        elif gradient is not None:
            for place in places:
                back[place] += gradient[n, i, j, c] / len(places)
    return made, back


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "forms"),
    [("max", "cpu"), ("max", "cuda"), ("max", "tpu"), ("avg", "cpu")],
)
@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ((3, 1, -1), (5, 4)),
        ((5, 3, -2), (9, 8)),
        ((1, 1), (2, 3)),
        ((4, 4, -3), (4, 9)),
        ((12, 5), (14, 13)),
    ],
)
def test_pools_of_any_window(settings, size, kind, forms):
    pool = CeilPool(kind, *settings)
    # Half of the units are 0, as after ReLU: windows with several maxima.
    x = np.maximum(np.asarray(noise(2, *size, 2)), 0)
    made, _ = pool_by_hand(pool, x)
    weight = np.asarray(noise(*made.shape, seed=1))
    with forms_of(forms):
        run = jax.jit(lambda x, by: (pool(x), jax.vjp(pool, x)[1](by)[0]))
        y, gradient = run(x, weight)
    np.testing.assert_allclose(y, made, rtol=1e-5, atol=1e-6)
    expected = pool_by_hand(pool, x, weight)[1]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_plain_forms_of_pools_are_the_same():
    pool, x = CeilPool("max", 4, 3, -1), noise(2, 9, 9, 3)
    with plain_forms():
        plain = pool(x)
    np.testing.assert_array_equal(pool(x), plain)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_of_bfloat16(kind):
    x = noise(1, 7, 7, 3).astype(jnp.bfloat16)
    pool = CeilPool(kind, 4, 3)
    made = pool(x)
    assert made.dtype == jnp.bfloat16
    exact = pool(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(made, exact)


@pytest.mark.parametrize(
    ("settings", "function"),
    [
        (("max", 3, 2), max_pool_ceil),
        (("max", 2, 2), max_pool_2x2),
        (("avg", 3, 2), avg_pool_3x3),
    ],
)
def test_windows_for_which_there_is_a_function(settings, function):
    assert ceil_pool(*settings) is function
    assert ceil_pool(*settings, -1) == CeilPool(*settings, -1)
    x = noise(1, 6, 7, 2)
    np.testing.assert_array_equal(CeilPool(*settings)(x), function(x))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (("maxabs", 3, 2), r"kind must be one of \('max', 'avg'\); got 'maxabs'"),
        (("max", 0, 1), "size must be at least 1; got 0"),
        (("max", 3, 4), "stride must be from 1 to the size, 3; got 4"),
        (("avg", 3, 0), "stride must be from 1 to the size, 3; got 0"),
        (("avg", 3, 2, 1), "start must be from -2 to 0, .* sees the image; got 1"),
        (("max", 3, 2, -3), "start must be from -2 to 0, .* sees the image; got -3"),
    ],
)
def test_windows_out_of_range(settings, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        ceil_pool(*settings)
