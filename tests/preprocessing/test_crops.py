"""Where views lie: drawn evenly, never outside, and the ten of 2012."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.preprocessing import crops
from alexnet_jax.preprocessing.pipeline import scale_and_resize


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def test_offsets_cover_33_by_33_places_evenly():
    count = 300_000
    draw = jax.jit(jax.vmap(crops.draw_offset, (0, None)), static_argnums=1)
    offsets = np.asarray(draw(keys(count), 32))
    found = np.zeros((33, 33))
    np.add.at(found, (offsets[:, 0], offsets[:, 1]), 1)
    expected = count / 33**2
    chi_square = np.square(found - expected).sum() / expected
    freedom = 33**2 - 1
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.heavy
def test_boxes_are_torchvisions():
    draw = jax.jit(jax.vmap(lambda key: crops.draw_box(key, 256, 200)))
    top, left, height, width = np.asarray(draw(keys(20_000))).T
    assert top.min() == left.min() == 0
    assert (top + height).max() == 256 and (left + width).max() == 200
    # Sides are whole pixels: area and ratio are a little off what was drawn.
    area, ratio = height * width / (256 * 200), width / height
    assert 0.078 < area.min() < 0.085 and 0.9 < area.max() <= 1.0
    assert 0.74 < ratio.min() < 0.76 and 1.31 < ratio.max() < 1.35
    small = area < 0.3  # these always fit, so that nothing was drawn anew
    assert np.median(area[small]) == pytest.approx((0.08 + 0.3) / 2, rel=0.02)
    assert np.log(ratio[small]).mean() == pytest.approx(0, abs=0.01)
    # The corner is uniform in what is free.
    free = 256 - height
    assert (top / np.maximum(free, 1)).mean() == pytest.approx(0.5, abs=0.01)


def test_what_fits_nowhere_is_the_whole_image():
    box = jax.jit(lambda key: crops.draw_box(key, 1, 40))(jax.random.key(0))
    assert box.tolist() == [0, 0, 1, 40]


def test_resampling_a_box():
    """All of an image; a part at its own size; a part stretched."""
    image = np.random.default_rng(0).random((20, 20, 3), np.float32)
    resample = jax.jit(crops.resample, static_argnums=2)
    whole = resample(image, jnp.array([0, 0, 20, 20]), 10)
    np.testing.assert_allclose(whole, scale_and_resize(image[None], 10)[0], atol=1e-6)
    part = resample(image, jnp.array([3, 5, 10, 10]), 10)
    np.testing.assert_allclose(part, image[3:13, 5:15], atol=1e-6)
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], image.shape)
    part = resample(ramp, jnp.array([4, 0, 5, 20]), 10)
    expected = 4 + (np.arange(10) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(part[:, 3, 0], expected, atol=1e-5)


def test_the_ten_views():
    offsets, mirrored = crops.fixed_views(32)
    five = [[0, 0], [0, 32], [16, 16], [32, 0], [32, 32]]
    assert offsets.tolist() == five + five
    assert mirrored.tolist() == [False] * 5 + [True] * 5


@pytest.mark.heavy
def test_offsets_of_a_rectangle_cover_each_direction():
    draw = jax.jit(jax.vmap(crops.draw_offset, (0, None)), static_argnums=1)
    offsets = np.asarray(draw(keys(70_000), (6, 9)))
    found = np.zeros((7, 10))
    np.add.at(found, (offsets[:, 0], offsets[:, 1]), 1)
    assert found.min() > 800 and found.max() < 1200  # of 1,000
    for margin, expected in {(0, 9): (0, 9), (4, 0): (4, 0)}.items():
        offsets = np.asarray(draw(keys(500), margin))
        assert (offsets.min(axis=0) == 0).all()
        assert tuple(offsets.max(axis=0)) == expected
    same = np.asarray(draw(keys(100), (32, 32)))
    np.testing.assert_array_equal(same, draw(keys(100), 32))


def test_the_ten_views_of_a_rectangle():
    offsets, _ = crops.fixed_views((3, 32))
    five = [[0, 0], [0, 32], [1, 16], [3, 0], [3, 32]]
    assert offsets.tolist() == five + five
