import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.augment import scale_and_resize


def bilinear(image, size):
    """Half-pixel-centred bilinear upsampling in float64, written out."""

    def matrix(length):
        source = (np.arange(size) + 0.5) * length / size - 0.5
        low = np.floor(source).astype(int)
        weight = source - low
        matrix = np.zeros((size, length))
        np.add.at(matrix, (np.arange(size), low.clip(0, length - 1)), 1 - weight)
        np.add.at(matrix, (np.arange(size), (low + 1).clip(0, length - 1)), weight)
        return matrix

    height, width = image.shape[1:3]
    rows = np.einsum("oh,bhwc->bowc", matrix(height), image / 255)
    return np.einsum("ow,bhwc->bhoc", matrix(width), rows)


# Where the ratio is no whole number, float32 rounds the sampling positions.
@pytest.mark.parametrize(
    ("height", "size", "atol"), [(28, 224, 1e-6), (8, 224, 1e-6), (28, 67, 2e-6)]
)
def test_upsampling_is_bilinear(height, size, atol):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (3, height, height, 2), np.uint8)
    resized = jax.jit(scale_and_resize, static_argnums=1)(image, size)
    assert resized.dtype == jnp.float32
    np.testing.assert_allclose(resized, bilinear(image, size), atol=atol)
    library = jax.image.resize(
        image.astype(np.float32) / np.float32(255), resized.shape, "bilinear"
    )
    np.testing.assert_allclose(resized, library, atol=1e-6)


def test_the_stored_size_is_only_scaled():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    scaled = scale_and_resize(jnp.asarray(image), 16)
    np.testing.assert_allclose(scaled.ravel(), np.arange(256) / 255, rtol=1e-6)
