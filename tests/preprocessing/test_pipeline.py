import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data.statistics import KRIZHEVSKY, measure
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.normalize import SCALES
from alexnet_jax.preprocessing.pipeline import create_pipeline, scale_and_resize


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
            create_pipeline(scale, lambda: measure([image]), size)(jnp.asarray(image))
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
        made = create_pipeline("standard", lambda: measure([image]), 4)(
            jnp.asarray(image)
        )
        np.testing.assert_allclose(made, 0.0, atol=1e-2)

    def test_an_unknown_scale(self):
        with pytest.raises(InputError, match="data.scale must be one of .*'zscore'"):
            create_pipeline("zscore", lambda: measure([self.images()]), 6)


def settings(**leaves):
    augment = default_config().augment
    augment.update(leaves)
    return augment


def pipeline(scale="unit", size=8, statistics=KRIZHEVSKY, **leaves):
    return create_pipeline(scale, lambda: statistics, size, settings(**leaves))


def coordinates(count, side=12, width=None):
    """Images whose channels say where a pixel lies: row, column, and the image."""
    image = np.zeros((count, side, width or side, 3), np.uint8)
    image[..., 0] = np.arange(side)[None, :, None]
    image[..., 1] = np.arange(width or side)[None, None, :]
    image[..., 2] = (np.arange(count) % 256)[:, None, None]
    return image


def draw(made, image, place=0, key=0):
    seen = jax.jit(made.augmented)(image, jax.random.key(key), place)
    assert seen.dtype == jnp.float32
    return np.asarray(seen)


def places_of(seen):
    """Row, column and whether mirrored, `(B, 3)`, of crops of `coordinates`."""
    seen = np.rint(seen * 255).astype(int)
    mirrored = seen[:, 0, 0, 1] > seen[:, 0, -1, 1]
    return np.stack([seen[:, 0, 0, 0], seen[:, 0].min(axis=1)[:, 1], mirrored], axis=1)


class TestCrops:
    @pytest.mark.heavy
    def test_a_crop_is_a_piece_of_the_image_perhaps_mirrored(self):
        image = coordinates(2000)
        made = pipeline(canvas=12, crop="random", mirror=True)
        seen = draw(made, image)
        found = places_of(seen)
        for index, (row, column, mirrored) in enumerate(found[:50]):
            piece = image[index, row : row + 8, column : column + 8]
            piece = piece[:, ::-1] if mirrored else piece
            np.testing.assert_allclose(seen[index], piece / 255, atol=1e-6)
        # 5 × 5 places, mirrored or not.
        assert len(np.unique(found, axis=0)) == 50
        assert abs(found[:, 2].mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)
        # All three are drawn apart from each other.
        assert np.abs(np.corrcoef(found.T) - np.eye(3)).max() < 0.1

    @pytest.mark.heavy
    def test_a_draw_is_the_keys_and_the_places(self):
        image = coordinates(64)
        made = pipeline(canvas=12, crop="random", mirror=True, color=0.1)
        whole = draw(made, image)
        np.testing.assert_array_equal(draw(made, image), whole)
        part = draw(made, image[16:48], place=16)
        np.testing.assert_allclose(part, whole[16:48], atol=1e-6)
        assert not np.allclose(draw(made, image, key=1), whole)

    @pytest.mark.slow
    def test_shared_crops(self):
        leaves = {"canvas": 12, "crop": "random", "mirror": True, "shared": 32}
        image = coordinates(320)
        found = places_of(draw(pipeline(**leaves), image))
        chunks = found.reshape(10, 32, 3)
        assert (chunks == chunks[:, :1]).all()
        assert len(np.unique(chunks[:, 0], axis=0)) > 5
        # A chunk lies in the global batch, not in a device's share.
        shifted = places_of(draw(pipeline(**leaves), image[16:64], place=16))
        np.testing.assert_array_equal(shifted, found[16:64])
        # Colours are each image's own.
        black = np.zeros_like(image)
        colors = draw(pipeline(color=0.1, **leaves), black)[:, 0, 0]
        assert len(np.unique(colors, axis=0)) == 320

    @pytest.mark.heavy
    def test_small_images_are_enlarged_before_they_are_cropped(self):
        image = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 1), np.uint8)
        large = np.asarray(scale_and_resize(image, 12))
        seen = draw(pipeline(canvas=12, crop="random"), image)
        for crop, whole in zip(seen, large, strict=True):
            pieces = [whole[r : r + 8, c : c + 8] for r in range(5) for c in range(5)]
            assert min(np.abs(crop - piece).max() for piece in pieces) < 1e-6
        centre = pipeline(canvas=12)(jnp.asarray(image))
        np.testing.assert_allclose(centre, large[:, 2:10, 2:10], atol=1e-6)

    @pytest.mark.heavy
    def test_without_chance_training_sees_what_evaluation_sees(self):
        image = coordinates(3)
        for leaves in ({}, {"canvas": 12}):
            made = pipeline("pixels", **leaves)
            np.testing.assert_array_equal(
                draw(made, image), jax.jit(made)(jnp.asarray(image))
            )

    @pytest.mark.heavy
    def test_resized_boxes_come_from_the_stored_image(self):
        image = np.full((40, 12, 12, 3), 200, np.uint8)
        image[:, :, 6:] = 0
        seen = draw(pipeline(crop="random_resized", canvas=10), image)
        assert seen.shape == (40, 8, 8, 3)
        light = seen.mean((1, 2, 3)) * 255 / 200
        assert light.min() < 0.1 and light.max() > 0.9  # one side or the other
        flat = draw(pipeline(crop="random_resized"), np.full_like(image, 51))
        np.testing.assert_allclose(flat, 0.2, atol=1e-6)


class TestColors:
    def test_a_million_draws_are_those_of_2012(self):
        black = jnp.zeros((1_000_000, 1, 1, 3), jnp.uint8)
        shift = draw(pipeline(size=1, color=0.1), black)[:, 0, 0] * 255
        np.testing.assert_allclose(shift.std(0), [7.40, 7.20, 7.70], rtol=0.01)
        np.testing.assert_allclose(shift.mean(0), 0, atol=0.05)
        # Along the directions they are independent, of a tenth of the deviations.
        along = np.cov((shift @ KRIZHEVSKY.color_directions).T)
        deviations = KRIZHEVSKY.color_deviations / 10
        np.testing.assert_allclose(np.sqrt(np.diag(along)), deviations, rtol=0.01)
        relative = along / np.outer(deviations, deviations)
        np.testing.assert_allclose(relative, np.eye(3), atol=0.02)

    def test_one_draw_an_image(self):
        image = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
        shift = draw(pipeline(color=0.1), image) - image / 255
        np.testing.assert_allclose(shift, shift[:, :1, :1] + 0 * shift, atol=1e-6)
        assert len(np.unique(shift[:, 0, 0].round(5), axis=0)) == 5

    @pytest.mark.heavy
    def test_it_ends_after_so_many_epochs(self):
        """As if there had never been any: without the division by 1.1, too."""
        image = np.full((2, 8, 8, 3), 100, np.uint8)
        for scale in ("unit", "pixels"):
            made = pipeline(scale, color=0.1, color_epochs=67)
            key = jax.random.key(0)
            last, first_without = (made.augmented(image, key, 0, at) for at in (66, 67))
            without = made(jnp.asarray(image))
            assert abs(last - without).min() > 1e-3 * made.scale.factor
            np.testing.assert_allclose(first_without, without, rtol=1e-5)

    @pytest.mark.parametrize("scale", SCALES)
    def test_only_images_that_vary_about_zero_are_divided(self, scale):
        """So the mean of training images is that of test images on every scale."""
        image = np.random.default_rng(0).integers(120, 256, (9, 8, 8, 3), np.uint8)
        made = pipeline(scale, statistics=measure([image]), color=0.1)
        plain = np.asarray(made(jnp.asarray(image)))
        divided = scale in ("pixels", "caffe", "standard")
        without_shift = plain / 1.1 if divided else plain
        shift = draw(made, image) - without_shift  # one for each image and channel
        atol = 1e-5 * made.scale.factor.max()
        np.testing.assert_allclose(shift, shift[:, :1, :1] + 0 * shift, atol=atol)
        assert shift.std(0).min() > 100 * atol
        mean = plain.mean((0, 1, 2))
        np.testing.assert_allclose(without_shift.mean((0, 1, 2)), mean, atol=atol)

    def test_grey_images_have_one_direction(self):
        image = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
        made = pipeline("standard", statistics=measure([image]), color=0.1)
        plain = np.asarray(made(jnp.asarray(image)))
        shift = draw(made, image) * 1.1 - plain
        # In deviations of all pixels, which is what grey images' direction is.
        np.testing.assert_allclose(shift.std((1, 2, 3)), 0, atol=1e-6)
        assert 0.03 < shift[:, 0, 0, 0].std() < 0.3


class TestMeans:
    """What is subtracted, on a mean image that tells places apart."""

    def statistics(self):
        mean = np.random.default_rng(1).random((12, 12, 3)) * 200
        return dataclasses.replace(KRIZHEVSKY, mean_image=mean)

    @pytest.mark.slow
    def test_2012_takes_the_central_window_from_whatever_crop(self):
        image, found = coordinates(20), self.statistics()
        leaves = {"canvas": 12, "crop": "random", "mirror": True}
        pieces = draw(pipeline(**leaves), image) * 255
        seen = draw(pipeline("pixels", statistics=found, **leaves), image)
        expected = pieces - found.mean_image[2:10, 2:10]
        np.testing.assert_allclose(seen, expected, atol=1e-3)
        # The mean goes before colour comes, and both are divided by 1.1.
        made = pipeline("pixels", statistics=found, color=0.1, **leaves)
        shift = draw(made, image) * 1.1 - expected
        np.testing.assert_allclose(shift, shift[:, :1, :1] + 0 * shift, atol=1e-3)
        centre = pipeline("pixels", statistics=found, **leaves)(jnp.asarray(image))
        expected = (image - found.mean_image)[:, 2:10, 2:10]
        np.testing.assert_allclose(centre, expected, atol=1e-3)

    @pytest.mark.heavy
    def test_caffe_moves_the_mean_with_the_crop_and_turns_the_channels(self):
        image, found = coordinates(20), self.statistics()
        leaves = {"canvas": 12, "crop": "random", "mirror": True}
        places = places_of(draw(pipeline(**leaves), image))
        seen = draw(pipeline("caffe", statistics=found, **leaves), image)
        for index, (row, column, mirrored) in enumerate(places):
            piece = (image[index] - found.mean_image)[:, :, ::-1]
            piece = piece[row : row + 8, column : column + 8]
            piece = piece[:, ::-1] if mirrored else piece
            np.testing.assert_allclose(seen[index], piece, atol=1e-3)

    def test_torchvisions_figures(self):
        image = coordinates(4, side=8)
        seen = pipeline("torchvision")(jnp.asarray(image))
        mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        np.testing.assert_allclose(seen, (image / 255 - mean) / deviation, atol=1e-5)

    def test_figures_of_other_channels_are_refused(self):
        with pytest.raises(
            InputError, match="data.scale has statistics of 3 channels; "
        ):
            pipeline("torchvision").check_channels(1)
        with pytest.raises(InputError, match="augment.color has .* images have 1: "):
            pipeline(color=0.1).check_channels(1)
        pipeline("caffe", color=0.1).check_channels(3)


class TestViews:
    def test_they_are_the_ten_of_2012(self):
        image = coordinates(2, side=13)
        view = pipeline(canvas=13).views(jnp.asarray(image))
        seen = np.stack([view(index) for index in range(10)])
        found = places_of(seen[:, 0])
        five = [[0, 0], [0, 5], [2, 2], [5, 0], [5, 5]]
        assert found[:, :2].tolist() == five + five
        assert found[:, 2].tolist() == [0] * 5 + [1] * 5
        np.testing.assert_array_equal(seen[2], pipeline(canvas=13)(jnp.asarray(image)))

    def test_of_a_constant_image_they_are_equal(self):
        image = jnp.full((1, 12, 12, 3), 77, jnp.uint8)
        view = pipeline("torchvision", canvas=12).views(image)
        seen = np.stack([view(index) for index in range(10)])
        np.testing.assert_array_equal(seen, np.broadcast_to(seen[:1], seen.shape))


class TestRectangles:
    ALL = {"canvas": 12, "crop": "random", "mirror": True, "color": 0.1, "shared": 3}

    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize(
        "leaves", [{}, ALL, {"canvas": 12, "crop": "random_resized"}]
    )
    def test_a_pair_of_equal_sides_is_the_square(self, scale, leaves):
        """What is compiled is the same to the letter."""
        image, key = coordinates(3, 9, 14), jax.random.key(2)
        pairs = leaves | {"canvas": [12, 12]} if leaves else {}
        squares = pipeline(scale, 8, **leaves), pipeline(scale, (8, 8), **pairs)

        def lowered(made):
            def all_of(image, key):
                view = made.views(image)(jnp.int32(3))
                return made(image), made.augmented(image, key, 1), view

            return jax.jit(all_of).lower(image, key).as_text()

        assert lowered(squares[0]) == lowered(squares[1])

    @pytest.mark.heavy
    @pytest.mark.parametrize(
        ("size", "canvas"), [((8, 5), (10, 12)), ((10, 8), (10, 12)), ((6, 9), (8, 9))]
    )
    def test_random_crops_are_everywhere(self, size, canvas):
        image = coordinates(3000, *canvas)
        made = pipeline(size=size, canvas=canvas, crop="random", mirror=True)
        seen = draw(made, image)
        assert seen.shape == (3000, *size, 3)
        rows, columns = (a - b + 1 for a, b in zip(canvas, size, strict=True))
        found = places_of(seen)
        assert {*map(tuple, found.tolist())} == {
            (row, column, mirrored)
            for row in range(rows)
            for column in range(columns)
            for mirrored in (0, 1)
        }
        for crop, whole, (row, column, mirrored) in zip(
            seen, image, found, strict=True
        ):
            cut = whole[row : row + size[0], column : column + size[1]]
            expected = cut[:, ::-1] if mirrored else cut
            np.testing.assert_array_equal(np.rint(crop * 255), expected)

    def test_ten_views(self):
        image = coordinates(2, 11, 16)
        made = pipeline(size=(8, 9), canvas=(11, 16))
        view = made.views(jnp.asarray(image))
        seen = np.stack([view(index) for index in range(10)])
        assert seen.shape == (10, 2, 8, 9, 3)
        five = [[0, 0], [0, 7], [1, 3], [3, 0], [3, 7]]
        cuts = [image[:, r : r + 8, c : c + 9] for r, c in five]
        expected = np.stack(cuts + [cut[:, :, ::-1] for cut in cuts])
        np.testing.assert_array_equal(np.rint(seen * 255), expected)
        np.testing.assert_array_equal(seen[2], made(jnp.asarray(image)))

    @pytest.mark.slow
    def test_a_part_of_random_size_is_stretched(self):
        """Rows and columns are read evenly, each from its own range."""
        image = coordinates(200, 40, 60)
        seen = draw(pipeline(size=(10, 20), crop="random_resized"), image) * 255
        assert seen.shape == (200, 10, 20, 3)
        inner = seen[:, 2:-2, 2:-2]
        for axis, channel, limit in ((1, 0, 40), (2, 1, 60)):
            steps = np.diff(inner[..., channel], axis=axis)
            assert (steps > 0).all() and np.ptp(steps, axis=(1, 2)).max() < 0.35
            assert -0.5 <= inner[..., channel].min() < inner[..., channel].max() < limit

    @pytest.mark.heavy
    @pytest.mark.parametrize("scale", ["pixels", "caffe"])
    def test_the_mean_image_is_that_of_the_canvas(self, scale):
        """A stored rectangle's mean is subtracted where the crop lies, or centrally."""
        image = np.random.default_rng(0).integers(0, 256, (5, 11, 16, 3), np.uint8)
        statistics = measure([image])
        leaves = {"canvas": (11, 16), "crop": "random"}
        made = pipeline(scale, (8, 9), statistics, **leaves)
        centered = image - statistics.mean_image
        expected = centered[:, 1:9, 3:12]
        if scale == "caffe":
            expected = expected[..., ::-1]
        np.testing.assert_allclose(made(jnp.asarray(image)), expected, atol=1e-3)
        resized = pipeline(scale, (8, 9), statistics, crop="random_resized")
        assert draw(resized, image).shape == (5, 8, 9, 3)
