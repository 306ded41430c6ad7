"""Figures of a data set: measured, kept, published."""

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.d2l import DataModule
from alexnet_jax.d2l.batches import to_batches
from alexnet_jax.d2l.loaders import loaders
from alexnet_jax.data import create_data
from alexnet_jax.data.statistics import (
    FILE_NAME,
    KRIZHEVSKY,
    Statistics,
    load_or_measure,
    load_stored,
    measure,
)
from alexnet_jax.data.statistics.__main__ import main
from alexnet_jax.errors import InputError


def same(one, other):
    for name in Statistics.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


@pytest.fixture(scope="module")
def images():
    """2,300 images whose channels depend on each other."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 100, (2300, 5, 4, 3))
    image[..., 1] += image[..., 0]
    image[:, 2] += 50
    return image.astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_what_is_measured(images, dtype):
    given = images if dtype == np.uint8 else images / 255
    found = measure([given[:1500], given[1500:]])
    wide = images.astype(np.float64)
    pixels = wide.reshape(-1, 3)
    np.testing.assert_allclose(found.mean_image, wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, pixels.std(0), rtol=1e-9)
    assert (np.diff(found.color_deviations) > 0).all()
    scaled = found.color_directions * found.color_deviations
    covariance = np.cov(pixels, rowvar=False, bias=True)
    np.testing.assert_allclose(scaled @ scaled.T, covariance, rtol=1e-9, atol=1e-9)


def test_bytes_are_measured_alike_in_any_order(images):
    same(measure([images]), measure(np.split(images[::-1], 23)))


def test_a_channel_that_never_varies():
    found = measure([np.full((7, 3, 3, 1), 9, np.uint8)])
    assert (found.mean, found.deviation, found.color_deviations) == (9, 0, 0)


def test_krizhevskys_figures():
    assert KRIZHEVSKY.mean_image.shape == (256, 256, 3)
    np.testing.assert_allclose(KRIZHEVSKY.mean_image.mean((0, 1)), KRIZHEVSKY.mean)
    central = KRIZHEVSKY.mean_image[16:240, 16:240]
    np.testing.assert_allclose(
        central.mean((0, 1)), [127.226, 118.587, 103.448], rtol=1e-9
    )
    # A draw of deviation 0.1 for each direction moves the channels by a tenth of this.
    np.testing.assert_allclose(KRIZHEVSKY.deviation, [74.0, 72.0, 77.0], rtol=1e-3)
    product = KRIZHEVSKY.color_directions.T @ KRIZHEVSKY.color_directions
    np.testing.assert_allclose(product, np.eye(3), atol=1e-7)


def test_what_the_command_kept(images, tmp_path):
    assert load_stored(tmp_path) is None
    found = measure([images])
    found.save(tmp_path / FILE_NAME)
    same(load_stored(tmp_path), found)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    content = (tmp_path / FILE_NAME).read_bytes()
    for damaged in (content[:200], b"", b"no archive"):
        (tmp_path / FILE_NAME).write_bytes(damaged)
        with pytest.raises(InputError, match="statistics: .*npz cannot be read") as e:
            load_stored(tmp_path)
        assert "\n" not in str(e.value)


def test_they_are_measured_once(images, tmp_path, capsys):
    path, passes = tmp_path / "here.npz", []

    def parts():
        passes.append(1)
        return [images]

    found = load_or_measure(path, parts)
    assert capsys.readouterr().out == (
        f"measuring the training images in {tmp_path}, once\n"
    )
    same(load_or_measure(path, parts), found)
    assert len(passes) == 1 and capsys.readouterr().out == ""
    path.write_bytes(b"damaged")
    same(load_or_measure(path, parts), found)
    same(Statistics.load(path), found)
    assert len(passes) == 2 and [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written(images, tmp_path, capsys):
    path = tmp_path / "gone" / "here.npz"
    same(load_or_measure(path, lambda: [images]), measure([images]))
    assert "cannot be written (No such file or dir" in capsys.readouterr().out


def test_nothing_to_measure():
    with pytest.raises(InputError, match="^data.on_broken: no training image is left"):
        measure([])


def test_they_say_where_they_come_from(images, tmp_path):
    assert measure([images]).source == "measured on the training images"
    KRIZHEVSKY.save(tmp_path / "kept.npz")
    kept = Statistics.load(tmp_path / "kept.npz")
    assert kept.source == "published for ImageNet (Krizhevsky)"


def test_the_command_measures_a_data_set(data_dir, capsys):
    main(["digits", f"--data-dir={data_dir}"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("image       8×8×1")
    assert any(line.startswith("measured    1,500 images in ") for line in shown)
    config = default_config().data
    config.name, config.data_dir = "digits", str(data_dir)
    data = create_data(config, batch_size=9, eval_batch_size=9, seed=0)
    assert shown[-1] == f"written     {data.folder / FILE_NAME}"
    same(load_stored(data.folder), data.spec.statistics)
    assert shown[1] == f"mean        {data.spec.statistics.mean[0]:10.4f}"


def test_the_command_answers_mistakes_with_a_line(data_dir, monkeypatch, error_line):
    line = error_line(main, "nope")
    assert line.startswith("error: data.name must be one of ") and "'nope'" in line

    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Statistics, "save", full)
    line = error_line(main, "digits", f"--data-dir={data_dir}")
    assert "cannot be written (No space left on device)" in line


def test_a_users_loader_is_measured_too(images):
    class Module(DataModule):
        def train_dataloader(self):
            return [(images[:9] / np.float32(255), np.arange(9) % 3)]

        val_dataloader = train_dataloader

    train, _ = to_batches(Module(), 10, loaders(Module()))
    assert (train.num_examples, train.image_shape) == (9, (5, 4, 3))
    np.testing.assert_allclose(
        train.statistics().mean_image, images[:9].mean(0), rtol=1e-6
    )
