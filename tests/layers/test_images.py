import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.layers.images import GaussianBlur, Subsample, mirror
from tests.helpers import noise


def blur_by_hand(x, size, deviation):
    """Pixel by pixel over the square, in float64."""
    x, reach = np.float64(x), size // 2
    line = [np.exp(-((n - reach) ** 2) / (2 * deviation**2)) for n in range(size)]
    canvas = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    made = np.zeros_like(x)
    for i in range(size):
        for j in range(size):
            part = canvas[:, i : i + x.shape[1], j : j + x.shape[2]]
            made += line[i] * line[j] * part
    return made / sum(line) ** 2


@pytest.mark.heavy
@pytest.mark.parametrize(("size", "deviation"), [(3, 0.5), (9, 9)])
def test_blur(size, deviation):
    x, weight = np.asarray(noise(2, 10, 9, 3)), np.asarray(noise(2, 10, 9, 3, seed=1))
    layer = GaussianBlur(size, deviation)
    made = layer(jnp.asarray(x))
    np.testing.assert_allclose(made, blur_by_hand(x, size, deviation), atol=1e-5)
    # The filter is symmetric, so what it does to the gradient is the same.
    gradient = jax.grad(lambda x: (layer(x) * weight).sum())(jnp.asarray(x))
    np.testing.assert_allclose(
        gradient, blur_by_hand(weight, size, deviation), atol=1e-5
    )
    assert layer.weights.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.heavy
def test_blur_of_bfloat16_is_summed_in_float32():
    x = noise(1, 6, 6, 2).astype(jnp.bfloat16)
    layer = GaussianBlur(5, 1.0)
    made = layer(x)
    assert made.dtype == jnp.bfloat16
    exact = layer(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(made, exact)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("size", "stride", "kept"),
    [(6, 2, (1, 3, 5)), (7, 3, (0, 3, 6)), (6, 3, (1, 4)), (5, 4, (0, 4)),
     (8, 5, (1, 6)), (3, 3, (1,)), (3, 5, (1,)), (4, 1, (0, 1, 2, 3))],
)  # fmt: skip
def test_subsample(size, stride, kept):
    count = (size + stride - 1) // stride
    first = (size - stride * (count - 1)) // 2
    assert [first + stride * n for n in range(count)] == list(kept)
    x = noise(2, size, size + stride, 3)  # a column more is kept
    columns = [(size + stride - stride * count) // 2 + stride * n for n in range(count)]
    columns.append(columns[-1] + stride)
    made = Subsample(stride)(x)
    np.testing.assert_array_equal(made, x[:, list(kept)][:, :, columns])


def test_mirror():
    x = noise(2, 3, 4, 2)
    made = mirror(x)
    for j in range(4):
        np.testing.assert_array_equal(made[:, :, j], x[:, :, 3 - j])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: GaussianBlur(4, 1.0), r"size must be one of \(3, 5, 7, 9\); got 4"),
        (lambda: GaussianBlur(3, 0.0), "deviation must be greater than 0; got 0.0"),
        (lambda: Subsample(0), "stride must be at least 1; got 0"),
    ],
)
def test_values_out_of_range(make, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        make()
