import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.augment import make_prepare, scale_and_resize
from alexnet_jax.data.statistics import measure
from alexnet_jax.errors import InputError


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


class TestScales:
    """What a network is fed, over a training set of two channels."""

    def images(self, dtype=np.uint8):
        generator = np.random.default_rng(0)
        image = generator.integers(0, 200, (1100, 6, 6, 2), np.uint8)
        image[..., 1] //= 4
        return image if dtype == np.uint8 else (image / 255).astype(dtype)

    def prepare(self, scale, size=6, dtype=np.uint8):
        image = self.images(dtype)
        return np.asarray(
            make_prepare(scale, lambda: measure([image]), size)(jnp.asarray(image))
        )

    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_pixels_lose_their_mean_image(self, dtype):
        image = self.images().astype(np.float64)
        expected = image - image.mean(0)
        made = self.prepare("pixels", dtype=dtype)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, expected, atol=1e-3)

    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_standard_has_mean_0_and_deviation_1(self, dtype):
        made = self.prepare("standard", dtype=dtype)
        np.testing.assert_allclose(made.mean((0, 1, 2)), 0.0, atol=1e-4)
        np.testing.assert_allclose(made.std((0, 1, 2)), 1.0, rtol=1e-4)

    def test_unit_is_as_stored(self):
        np.testing.assert_allclose(self.prepare("unit"), self.images() / 255, rtol=1e-6)

    @pytest.mark.parametrize("scale", ["pixels", "standard"])
    def test_scaling_and_upsampling_trade_places(self, scale):
        small = jnp.asarray(self.prepare(scale)[:5])
        large = self.prepare(scale, size=24)[:5]
        np.testing.assert_allclose(
            scale_and_resize(small, 24), large, atol=1e-3 if scale == "pixels" else 1e-5
        )

    def test_a_channel_that_never_varies_is_0(self):
        image = np.full((3, 4, 4, 1), 7, np.uint8)
        made = make_prepare("standard", lambda: measure([image]), 4)(jnp.asarray(image))
        np.testing.assert_allclose(made, 0.0, atol=1e-2)

    def test_an_unknown_scale(self):
        with pytest.raises(InputError, match="data.scale must be one of .*'zscore'"):
            make_prepare("zscore", lambda: measure([self.images()]), 6)
